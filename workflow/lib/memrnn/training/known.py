"""What is known before networks are trained on: themselves, their images, and states at which a penalty may act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from memrnn.data.images import ImageSet
from memrnn.dynamics.relax import relax
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import mean_input


@dataclass(frozen=True)
class Known:
    """What a penalty is made of; all tensors lie where training runs.

    Attributes:
        trained: the networks before they are trained on.
        images: what they were trained with.
        centroids, points: starts and ends of the search for slow points, each h, or (h, c), (networks, classes, units).
        relaxed_steps: see `relaxed`.
    """

    trained: Networks
    images: ImageSet
    centroids: State
    points: State
    relaxed_steps: int

    def states(self, at: str) -> State:
        """States of a place of `PLACES`, h, or (h, c), each (networks, classes, units)."""
        with torch.no_grad():
            return PLACES[at](self)


def relaxed(known: Known) -> State:
    """Where the noise-free networks are `relaxed_steps` steps after the centroids."""
    mean = mean_input(known.trained, known.images)
    return relax(known.trained, known.centroids, mean, known.relaxed_steps, 0).state


# A new place is a function here, its name below and among the choices of the penalties that act at places.
PLACES: dict[str, Callable[[Known], State]] = {
    "centroids": lambda known: known.centroids,
    "points": lambda known: known.points,
    "relaxed": relaxed,
}
