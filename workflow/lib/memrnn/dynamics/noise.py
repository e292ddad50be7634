"""Drift and diffusion of noisy states away from a point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import seen_noise


def drift_and_diffusion(
    networks: Networks, images: ImageSet, points: State, along: Tensor, trials: int, steps: int
) -> tuple[Tensor, Tensor]:
    """How noise carries states away from the points, along one direction.

    Trials start at the point and run under noise as in the task, every pixel N(images.mean, images.std^2), trigger 0.
    With y_t = w (s_t - s_0) the displacement along the direction after t steps,

        drift     = |mean of y_T| / T, T the last step,
        diffusion = half the slope of the line through the origin that fits the variance of y_t over trials at
                    t = 1, ..., T best (least squares): variance = 2 * diffusion * t for a random walk.

    Args:
        points: h, or (h, c), each (networks, points, units), float64.
        along: w, complex, (networks, points, n); see `slowest`. Of a complex direction the modulus of the mean and
            the variance of both parts together count.
        trials: per point, at least 2. Each network draws from its own stream.
        steps: T.
    Returns:
        drift, per step, and diffusion, per step, in the lengths of `along`, each (networks, points); NaN where
        `along` is.
    """
    number = points[0].shape[1]
    generators = [streams.generator(seed, "spectrum", "noise", device=networks.device) for seed in networks.seeds]
    state = tuple(part.repeat_interleave(trials, 1) for part in points)
    # w (s - s0) as a difference of two projections would lose digits
    origin = torch.cat(points, -1).unsqueeze(2)  # (networks, points, 1, n)
    weighted = torch.zeros_like(points[0][..., 0])
    for t in range(1, steps + 1):
        state = networks.step(state, seen_noise(networks, generators, number * trials, images.mean, images.std))
        moved = torch.cat(state, -1).unflatten(1, (number, trials)) - origin
        y = torch.einsum("npti,npi->npt", moved.to(along), along)
        mean = y.mean(-1, keepdim=True)
        weighted += t * (y - mean).abs().square().sum(-1) / (trials - 1)
    slope = weighted / math.fsum(t * t for t in range(1, steps + 1))
    return mean.squeeze(-1).abs() / steps, slope / 2
