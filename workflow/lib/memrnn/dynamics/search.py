"""Slow points: where memories sit, found by lowering the speed from given states with Adam (docs/method.md, Search).

It takes any differentiable one-step map, and cells and layers of `torch.nn` (docs/finder.md). Where a budget of steps
is no part of the question, `finder` is the quicker way to fixed points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memrnn.dynamics.maps import StepMap, as_map, bound_of, check_map, check_state, unwrap
from memrnn.models.cell import SquaredSpeed, State, squared_distance, squared_speed_gradient

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam


class SlowPoints(NamedTuple):
    """Where a search ended.

    Attributes:
        state: as the start was given: a tensor (..., units), or a tuple of such.
        speed: at that state, (...); per step, neither squared nor halved.
        distance: from the start, (...), Euclidean, in what the speed is measured in.
        steps: of the descent that the point took, (...), int64.
        converged: whether its speed reached the tolerance, (...); never without a tolerance.
        at_bound: whether a number of the state lies at its bound, (...), which may then be what holds the point.
    """

    state: Tensor | State
    speed: Tensor
    distance: Tensor
    steps: Tensor
    converged: Tensor
    at_bound: Tensor


def search(
    step: StepMap | torch.nn.Module,
    start: Tensor | State,
    inputs: Any = None,
    *,
    search_steps: int | Sequence[int],
    learning_rate: float = 1e-3,
    drop_step: int = 40_000,
    drop_factor: float = 0.1,
    bound: float | str | None = "auto",
    observe: Callable[[State], State] | None = None,
    tolerance: float | None = None,
) -> SlowPoints | list[SlowPoints]:
    """Slow points of any differentiable map, found by lowering the speed from given states.

    Adam goes down S^2, the squared distance that a state moves in one step under held inputs. Points do not interact,
    as long as the map treats them one by one: Adam works on each coordinate alone. The defaults are the published
    search's, whose 100,000 steps are a definition rather than a convergence: speeds go on sinking along slow
    directions, so a budget is part of any result.

    Args:
        step: `step(state, inputs) -> state after one step`, or `step(state)` without inputs; or a cell or layer of
            `torch.nn`, called as it wants to be.
        start: states, (..., units): a tensor, or a tuple of tensors as the map takes them, the first of which is h; of
            a layer (layers, points, units), as it returns its last state. Not changed. Leading axes reach the map as
            one.
        inputs: what the map is given beside the state, at every step the same. A tensor (..., inputs) is broadcast over
            the states, so that the map sees a row for each.
        search_steps: budget, or several in increasing order: numbers of steps after which the states are kept.
        learning_rate: of Adam, up to step `drop_step`; times `drop_factor` from there on.
        bound: after each step h is clipped to [-bound, bound]; further parts of a state are free. "auto": 1 for torch's
            GRU, LSTM and tanh RNN, whose h cannot rest beyond it, none for others. None: no clipping.
        observe: the tensors in which speed and distance are measured, as a function of the state. Default: the state
            itself; for an LSTM of torch, h and tanh c.
        tolerance: a point stays where it is from the first state on whose speed is not above it, and the search ends
            when all stay. A stopped point's speed thus differs by at most `tolerance` from any lower one. None: no
            point stops.
    Returns:
        the points at one budget, or a list with those at each.
    Raises:
        ValueError: a start lies beyond the bound; a start or a speed is not finite, at first or later; the map cannot
            be searched (`maps.check_map`); a setting is out of range.
    """
    several = not isinstance(search_steps, Integral)  # as of numpy
    budgets = [int(budget) for budget in search_steps] if several else [int(search_steps)]
    _check_settings(budgets, learning_rate, tolerance)
    state, bare = check_state(start)
    step = unwrap(step)
    layered = isinstance(step, torch.nn.RNNBase) and state[0].ndim == 3
    if not layered:
        axes, state = state[0].shape[:-1], tuple(part.reshape(-1, part.shape[-1]) for part in state)
    else:
        axes = state[0].shape[1:-1]
    rows = _rows(inputs, axes)
    one_step = as_map(step, state[0] if bare else state, inputs, state[0].dtype)
    rows = one_step.cast(rows)
    flat = one_step.pack(state)
    limit = bound_of(bound, one_step, flat)
    bounds = (torch.inf if limit is None else limit, *[torch.inf] * (len(state) - 1))
    check_map(one_step, flat, rows)
    sizes = one_step.sizes

    def move(parts: State) -> State:
        return one_step(torch.cat(parts, -1), rows).split(sizes, -1)

    observe = observe or (squash if one_step.lstm else tuple)
    parts = flat.split(sizes, -1)
    _check_observation(observe, parts)
    found = slow_points(
        lambda parts: squared_speed_gradient(move, observe, parts), observe, parts, budgets, learning_rate, drop_step,
        drop_factor, bounds, tolerance,
    )  # fmt: skip
    bad = int((~torch.stack([part.speed for part in found]).isfinite().all(0)).sum())
    if bad:
        raise ValueError(
            f"step: the speed of {bad} of {len(flat)} states was not finite on the way, expected numbers. Leave these "
            "starts out, give a `bound`, or lower learning_rate."
        )

    def restored(parts: State) -> Tensor | State:
        whole = one_step.unpack(torch.cat(parts, -1))
        if layered:
            return whole
        return whole.reshape(*axes, -1) if bare else tuple(part.reshape(*axes, -1) for part in whole)

    points = [SlowPoints(restored(part.state), *(each.reshape(axes) for each in part[1:])) for part in found]
    return points if several else points[0]


def squash(state: State) -> State:
    """h and tanh c of an LSTM's state: c itself has no bound."""
    h, c = state
    return h, torch.tanh(c)


def slow_points(
    squared_speed: SquaredSpeed,
    observe: Callable[[State], State],
    start: State,
    budgets: Sequence[int],
    learning_rate: float,
    drop_step: int,
    drop_factor: float,
    bounds: Sequence[float],
    tolerance: float | None,
) -> list[SlowPoints]:
    """`search` by a function that gives S^2 and its gradient; bounds as for `lower`."""
    found = lower(squared_speed, start, budgets, learning_rate, drop_step, drop_factor, bounds, tolerance)
    with torch.no_grad():
        return [
            SlowPoints(
                part.state,
                part.squared.sqrt(),
                squared_distance(observe(start), observe(part.state)).sqrt(),
                part.steps,
                part.converged,
                torch.stack([(p.abs() >= most).any(-1) for p, most in zip(part.state, bounds, strict=True)]).any(0),
            )
            for part in found
        ]


class Lowered(NamedTuple):
    """Points after some steps of the descent; see `SlowPoints`."""

    state: State
    squared: Tensor
    steps: Tensor
    converged: Tensor


@torch.no_grad()
def lower(
    squared_speed: SquaredSpeed,
    start: State,
    budgets: Sequence[int],
    learning_rate: float,
    drop_step: int,
    drop_factor: float,
    bounds: Sequence[float],
    tolerance: float | None,
) -> list[Lowered]:
    """The descent itself: Adam on S^2 of every point, whose states are kept at each budget.

    Args:
        bounds: modulus to which each part of the state is clipped after a step; inf for none.
    """
    state = tuple(part.clone() for part in start)
    moments = [(torch.zeros_like(part), torch.zeros_like(part), torch.empty_like(part)) for part in state]
    converged = torch.zeros(start[0].shape[:-1], dtype=torch.bool, device=start[0].device)
    taken = torch.zeros_like(converged, dtype=torch.int64)
    found: list[Lowered] = []
    for step in range(max(budgets) + 1):
        squared, gradient = squared_speed(state)
        taken.masked_fill_(~converged, step)
        if tolerance is not None:
            converged |= squared <= tolerance**2
        over = step == max(budgets) or (tolerance is not None and bool(converged.all()))
        for _ in [budget for budget in budgets if budget == step or (over and budget > step)]:
            kept = (tuple(part.clone() for part in state), squared.clone(), taken.clone(), converged.clone())
            found.append(Lowered(*kept))
        if over:
            break
        before = state if tolerance is None else tuple(part.clone() for part in state)
        # Adam, with both corrections of bias in one factor of the step.
        root = (1 - BETAS[1] ** (step + 1)) ** 0.5
        size = learning_rate * (1 if step < drop_step else drop_factor) * root / (1 - BETAS[0] ** (step + 1))
        for part, slope, (mean, square, room) in zip(state, gradient, moments, strict=True):
            mean.lerp_(slope, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
            part.addcdiv_(mean, torch.sqrt(square, out=room).add_(EPSILON * root), value=-size)
        for part, bound in zip(state, bounds, strict=True):
            if bound < torch.inf:
                part.clamp_(-bound, bound)
        if tolerance is not None:
            for part, old in zip(state, before, strict=True):
                torch.where(converged.unsqueeze(-1), old, part, out=part)
    return found


def _rows(inputs: Any, axes: torch.Size) -> Any:
    """Inputs for each state, (points, inputs), if they are a tensor."""
    if not isinstance(inputs, Tensor) or not inputs.ndim:
        return inputs
    expected = (*axes, inputs.shape[-1])
    try:
        return inputs.expand(expected).reshape(-1, inputs.shape[-1])
    except RuntimeError as error:
        raise ValueError(
            f"inputs: found the shape {tuple(inputs.shape)}, expected one that broadcasts to {expected}: a row for "
            "each state."
        ) from error


def _check_settings(budgets: list[int], learning_rate: float, tolerance: float | None) -> None:
    if not budgets or any(later <= earlier for earlier, later in pairwise([0, *budgets])):
        raise ValueError(f"search_steps: found {budgets}, expected numbers of steps from 1 on, in increasing order.")
    for name, value in {"learning_rate": learning_rate, "tolerance": tolerance}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: found {value}, expected a positive number.")


def _check_observation(observe: Callable[[State], State], parts: State) -> None:
    leaves = tuple(part.detach().requires_grad_() for part in parts)
    with torch.enable_grad():
        seen = observe(leaves)
        shape = tuple(squared_distance(seen, seen).shape)
    if shape != tuple(parts[0].shape[:-1]):
        raise ValueError(
            f"observe: found speeds of shape {shape}, expected {tuple(parts[0].shape[:-1])}. It must return a tuple of "
            "tensors (points, numbers)."
        )
    if not any(part.requires_grad for part in seen):
        raise ValueError("observe: found a speed without gradient, expected differentiable operations of torch.")
