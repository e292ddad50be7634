"""What is known before networks are trained on: themselves, their images, and states at which a penalty may act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.dynamics.relax import relax
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import after_noise, mean_input


@dataclass(frozen=True)
class Known:
    """What a penalty is made of; all tensors lie where training runs.

    Attributes:
        trained: the networks before they are trained on.
        images: what they were trained with.
        centroids, points: starts and ends of the search for slow points, each h, or (h, c), (networks, classes, units).
        relaxed_steps: see `relaxed`.
        latest_image: last step at which a trial may show its image, counted from 0.
    """

    trained: Networks
    images: ImageSet
    centroids: State
    points: State
    relaxed_steps: int
    latest_image: int

    def states(self, at: str) -> State:
        """States of a place of `PLACES`, h, or (h, c), each (networks, classes, units)."""
        with torch.no_grad():
            return PLACES[at](self)


def relaxed(known: Known) -> State:
    """Where the noise-free networks are `relaxed_steps` steps after the centroids."""
    mean = mean_input(known.trained, known.images)
    return relax(known.trained, known.centroids, mean, known.relaxed_steps, 0).state


def before_image(known: Known) -> State:
    """States that trials pass before they show an image, after 1 to `latest_image` steps of noise, evenly spread.

    Raises:
        ValueError: every trial begins with its image.
    """
    networks, images, latest = known.trained, known.images, known.latest_image
    if latest < 1:
        raise ValueError(
            "a trial has no step before its image; for penalties at before_image expected task.steps at least "
            "task.min_delay + 2"
        )
    when = torch.linspace(1, latest, len(images.classes), device=networks.device).round().view(1, -1, 1)
    generators = [streams.generator(seed, "regularise", "before_image") for seed in networks.seeds]
    count, units, _ = networks.readout.shape
    state = networks.cell.initial_state(count, when.shape[1], units, networks.readout)
    return after_noise(networks, generators, state, when, images.mean, images.std)


# A new place is a function here, its name below and among the choices of the penalties that act at places.
PLACES: dict[str, Callable[[Known], State]] = {
    "centroids": lambda known: known.centroids,
    "points": lambda known: known.points,
    "relaxed": relaxed,
    "before_image": before_image,
}
