"""Hidden states of held-out trials through a long noisy delay, in the plane of their principal components."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import seen, seen_noise

COMPONENTS = ("pc1", "pc2", "pc3")
KEPT = 40  # steps of a trajectory that the table keeps, about
DECIMALS = 4  # of its coordinates, whose differences are of the order of 1
TRAJECTORY, SLOW_POINT, CENTROID, SHARE = "trajectory", "slow_point", "centroid", "share"
NONE = -1  # label, trial or step of what has none


def portrait(
    networks: Networks, images: ImageSet, points: State, centroids: State, delay: int, trials: int
) -> pd.DataFrame:
    """Trajectories of the first network, its slow points and centroids, along their main directions.

    A trial starts from the zero state, sees a held-out image at step 0 and then `delay` frames of noise. Principal
    components are those of the hidden states h after every step of every trial, also of steps that the table leaves
    out; a component points to where the unit with its largest weight grows.

    Args:
        points, centroids: h, or (h, c), each (networks, classes, units).
        trials: per class; the held-out images of a class take turns.
    Returns:
        rows phase, seed, what, label, trial, step, pc1, pc2, pc3: of `trajectory` every few steps, the first and the
        last among them; of `slow_point` and `centroid` one per class (trial and step -1); and one of `share`, the share
        of the variance along each component (label -1, too). Coordinates are distances from the mean state.
    """
    seed = networks.seeds[0]
    hidden = _trajectories(networks, images, delay, trials)  # (steps, trials of all classes, units)
    mean = hidden.mean((0, 1))
    axes, shares = _components((hidden - mean).flatten(0, 1))
    kept = sorted({*range(0, delay + 1, max(1, delay // KEPT)), delay})
    frames = [
        _frame((hidden[step] - mean) @ axes).assign(
            what=TRAJECTORY,
            label=[label for label in range(len(images.classes)) for _ in range(trials)],
            trial=list(range(trials)) * len(images.classes),
            step=step,
        )
        for step in kept
    ]
    for what, state in ((SLOW_POINT, points), (CENTROID, centroids)):
        placed = (state[0][0].cpu().double() - mean) @ axes
        frames.append(_frame(placed).assign(what=what, label=range(len(placed)), trial=NONE, step=NONE))
    frames.append(_frame(shares.unsqueeze(0)).assign(what=SHARE, label=NONE, trial=NONE, step=NONE))
    rows = pd.concat(frames).assign(phase=networks.phases[0], seed=seed)
    rows = rows[["phase", "seed", "what", "label", "trial", "step", *COMPONENTS]]
    return rows.sort_values(["what", "label", "trial", "step"], ignore_index=True)


def _frame(coordinates: Tensor) -> pd.DataFrame:
    return pd.DataFrame(coordinates.numpy(), columns=list(COMPONENTS)).round(DECIMALS) + 0.0  # no negative zeros


def _trajectories(networks: Networks, images: ImageSet, delay: int, trials: int) -> Tensor:
    """h of the first network after the image and after every frame of noise, (delay + 1, classes * trials, units)."""
    seed, device = networks.seeds[0], networks.device
    choice = streams.generator(seed, "portraits", "images")
    noise = [streams.generator(seed, "portraits", "noise", device=device)]
    shown = images.test_images[images.turns("test", choice, trials)].to(device)
    first = networks.only(0)
    hidden = []
    with torch.no_grad():
        state = first.cell.initial_state(1, len(shown), first.readout.shape[1], shown)
        for step in range(delay + 1):
            x = seen_noise(first, noise, len(shown), images.mean, images.std) if step else seen(first, shown[None])
            state = first.cell.advance(first.weights, state, x)
            hidden.append(state[0][0].cpu().double())
    return torch.stack(hidden)


def _components(centred: Tensor) -> tuple[Tensor, Tensor]:
    """First principal axes of states (states, units) whose mean is 0, as columns, and their shares of the variance.

    With fewer units than components, the last ones are zero.
    """
    values, vectors = torch.linalg.eigh(centred.mT @ centred)  # ascending
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    count = min(len(COMPONENTS), len(values))
    largest = vectors.abs().argmax(0, keepdim=True)
    vectors = vectors * vectors.gather(0, largest).sign()
    axes, shares = centred.new_zeros(len(values), len(COMPONENTS)), centred.new_zeros(len(COMPONENTS))
    axes[:, :count] = vectors[:, :count]
    shares[:count] = values[:count] / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return axes, shares
