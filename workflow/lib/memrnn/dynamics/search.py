"""Slow points: where memories sit, found by lowering the speed from each class's centroid (section 7).

`search` stands alone: it takes any differentiable one-step map, and cells of `torch.nn` (docs/slow_points.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memrnn.models.cell import SquaredSpeed, State, check_state, squared_distance, squared_speed_gradient
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam

StepMap = Callable[[Any, Any], Any]  # step(state, inputs) -> state, a tensor or a tuple of tensors


class SlowPoints(NamedTuple):
    """Where a search ended.

    Attributes:
        state: as the start was given: a tensor (..., units), or a tuple of such.
        speed: at that state, (...); per step, neither squared nor halved.
        distance: from the start, (...), Euclidean, in what the speed is measured in.
        steps: of the descent that the point took, (...), int64.
        converged: whether its speed reached the tolerance, (...); never without a tolerance.
    """

    state: Tensor | State
    speed: Tensor
    distance: Tensor
    steps: Tensor
    converged: Tensor


def search(
    step: StepMap | torch.nn.Module | Networks,
    start: Tensor | State,
    inputs: Any,
    *,
    search_steps: int | Sequence[int],
    learning_rate: float = 1e-3,
    drop_step: int = 40_000,
    drop_factor: float = 0.1,
    bound: float | None = 1.0,
    observe: Callable[[State], State] | None = None,
    tolerance: float | None = None,
) -> SlowPoints | list[SlowPoints]:
    """Slow points of any differentiable map, found by lowering the speed from given states.

    Adam goes down S^2, the squared distance that a state moves in one step under held inputs. Points do not interact,
    as long as the map treats them one by one: Adam works on each coordinate alone. The defaults are the published
    search's, whose 100,000 steps are a definition rather than a convergence: speeds go on sinking along slow
    directions, so a budget is part of any result.

    Args:
        step: `step(state, inputs) -> state after one step`; or a `torch.nn` GRUCell, RNNCell or LSTMCell, called as it
            wants to be, whose parameters get no gradient; or `Networks`, with the closed-form gradient of their cell.
        start: states, (..., units): a tensor, or a tuple of tensors as the map takes them, the first of which is h. Not
            changed.
        inputs: what the map is given beside the state, at every step the same. For a `torch.nn` cell (..., inputs),
            broadcast over the states; for `Networks` (networks, 1, inputs).
        search_steps: budget, or several in increasing order: numbers of steps after which the states are kept.
        learning_rate: of Adam, up to step `drop_step`; times `drop_factor` from there on.
        bound: after each step h is clipped to [-bound, bound], what a GRU's or LSTM's h can reach; further parts of a
            state are free. None: no clipping. Of `Networks`, the cell's own bounds are kept instead.
        observe: the tensors in which speed and distance are measured, as a function of the state. Default: the state
            itself; for an LSTM, `torch.nn.LSTMCell` or ours, h and tanh c.
        tolerance: a point stays where it is from the first state on whose speed is not above it, and the search ends
            when all stay. A stopped point's speed thus differs by at most `tolerance` from any lower one. None: no
            point stops.
    Returns:
        the points at one budget, or a list with those at each.
    Raises:
        ValueError: a start or its speed is not finite; the map changes a state's shape or type, or has no gradient; a
            setting is out of range.
    """
    several = not isinstance(search_steps, Integral)  # as of numpy
    budgets = [int(budget) for budget in search_steps] if several else [int(search_steps)]
    state = (start,) if isinstance(start, Tensor) else tuple(start)
    _check_settings(budgets, learning_rate, bound, tolerance)
    _check_start(state)
    bounds = (torch.inf if bound is None else bound, *[torch.inf] * (len(state) - 1))
    if isinstance(step, Networks):
        if observe is not None:
            raise ValueError("found `observe` beside Networks, whose cell says what is observed. Leave it out.")
        check_state(step.cell, step.weights, state, inputs)
        observe, squared_speed = step.cell.observe, ensemble_speed(step, inputs, state[0].shape[1])
        bounds = step.cell.bounds
    else:
        observe = observe or (CELLS["lstm"].observe if isinstance(step, torch.nn.LSTMCell) else tuple)
        move = _one_step(step, inputs, start)
        _check_map(move, observe, state)

        def squared_speed(state: State) -> tuple[Tensor, State]:
            return squared_speed_gradient(move, observe, state)

    found = lower(squared_speed, state, budgets, learning_rate, drop_step, drop_factor, bounds, tolerance)
    with torch.no_grad():
        origin = observe(state)
        points = [
            SlowPoints(
                part.state[0] if isinstance(start, Tensor) else part.state,
                part.squared.sqrt(),
                squared_distance(origin, observe(part.state)).sqrt(),
                part.steps,
                part.converged,
            )
            for part in found
        ]
    return points if several else points[0]


@torch.no_grad()
def ensemble_speed(networks: Networks, x: Tensor, points: int) -> SquaredSpeed:
    """S^2 and its gradient in an ensemble under held inputs (networks, 1, inputs)."""
    return networks.cell.squared_speed(networks.weights, networks.drive(x), points)


class _Lowered(NamedTuple):
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
) -> list[_Lowered]:
    """The descent itself: Adam on S^2 of every point, whose states are kept at each budget.

    Args:
        bounds: modulus to which each part of the state is clipped after a step; inf for none.
    """
    state = tuple(part.clone() for part in start)
    moments = [(torch.zeros_like(part), torch.zeros_like(part), torch.empty_like(part)) for part in state]
    converged = torch.zeros(start[0].shape[:-1], dtype=torch.bool, device=start[0].device)
    taken = torch.zeros_like(converged, dtype=torch.int64)
    found: list[_Lowered] = []
    for step in range(max(budgets) + 1):
        squared, gradient = squared_speed(state)
        taken.masked_fill_(~converged, step)
        if tolerance is not None:
            converged |= squared <= tolerance**2
        over = step == max(budgets) or (tolerance is not None and bool(converged.all()))
        for _ in [budget for budget in budgets if budget == step or (over and budget > step)]:
            kept = (tuple(part.clone() for part in state), squared.clone(), taken.clone(), converged.clone())
            found.append(_Lowered(*kept))
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


def _one_step(step: StepMap | torch.nn.Module, inputs: Any, start: Tensor | State) -> Callable[[State], State]:
    """One step of a map under held inputs, as a function of a tuple of tensors whatever the map takes and gives."""
    if isinstance(step, torch.nn.RNNCellBase):
        return _cell_step(step, inputs, start)
    if isinstance(step, torch.nn.RNNBase):
        name = type(step).__name__
        raise ValueError(
            f"step: found a torch.nn.{name}, which runs whole sequences, expected a map of one step. Copy the layer's "
            f"weights (weight_ih_l0, ...) into a torch.nn.{name}Cell."
        )
    bare = isinstance(start, Tensor)

    def move(state: State) -> State:
        after = step(state[0] if bare else state, inputs)
        return (after,) if isinstance(after, Tensor) else tuple(after)

    return move


def _cell_step(cell: torch.nn.RNNCellBase, inputs: Tensor, start: Tensor | State) -> Callable[[State], State]:
    """The same of a cell of `torch.nn`, which takes its inputs first and states (batch, units) only."""
    state = (start,) if isinstance(start, Tensor) else start
    parts = 2 if isinstance(cell, torch.nn.LSTMCell) else 1
    points, name = state[0].shape[:-1], type(cell).__name__
    found, expected = [tuple(part.shape) for part in state], [(*points, cell.hidden_size)] * parts
    if found != expected:
        raise ValueError(
            f"start: found states of shape {found}, expected {expected} for a torch.nn.{name} with "
            f"{cell.hidden_size} units. " + ("Give a tuple (h, c)." if parts == 2 else "Give a tensor h.")
        )
    try:
        x = inputs.expand(*points, cell.input_size).reshape(-1, cell.input_size)
    except RuntimeError as error:
        raise ValueError(
            f"inputs: found the shape {tuple(inputs.shape)}, expected one that broadcasts to "
            f"{(*points, cell.input_size)}: states, and the inputs of the torch.nn.{name}."
        ) from error
    parameters = {key: values.detach() for key, values in cell.named_parameters()}

    def move(state: State) -> State:
        flat = tuple(part.reshape(-1, cell.hidden_size) for part in state)
        after = torch.func.functional_call(cell, parameters, (x, flat if parts == 2 else flat[0]))
        return tuple(part.view(*points, -1) for part in (after if parts == 2 else (after,)))

    return move


def _check_settings(budgets: list[int], learning_rate: float, bound: float | None, tolerance: float | None) -> None:
    if not budgets or any(later <= earlier for earlier, later in pairwise([0, *budgets])):
        raise ValueError(f"search_steps: found {budgets}, expected numbers of steps from 1 on, in increasing order.")
    for name, value in {"learning_rate": learning_rate, "bound": bound, "tolerance": tolerance}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: found {value}, expected a positive number.")


def _check_start(state: State) -> None:
    if not state:
        raise ValueError("start: found an empty tuple, expected a tensor or a tuple of tensors, h first.")
    for part in state:
        if not part.is_floating_point():
            raise ValueError(f"start: found {part.dtype}, expected floating-point numbers. Convert it, as by .float().")
        if part.shape[:-1] != state[0].shape[:-1] or not part.ndim:
            shapes = [tuple(each.shape) for each in state]
            raise ValueError(f"start: found the shapes {shapes}, expected (..., units) with the same points in each.")
        if not part.isfinite().all():
            bad, points = int((~part.isfinite().all(-1)).sum()), part[..., 0].numel()
            raise ValueError(
                f"start: {bad} of {points} states are not finite; a search cannot use them. Leave them out."
            )


def _check_map(move: Callable[[State], State], observe: Callable[[State], State], state: State) -> None:
    """Try the map once, where the search will start."""
    with torch.enable_grad():
        leaves = tuple(part.detach().requires_grad_() for part in state)
        after = move(leaves)
        found, expected = ([(tuple(part.shape), part.dtype) for part in parts] for parts in (after, state))
        if found != expected:
            raise ValueError(
                f"step: found states of shape and type {found} after a step from {expected}, expected no change. "
                "Inputs must broadcast to the states, and the map must keep units and type."
            )
        squared = squared_distance(observe(leaves), observe(after))
    if squared.shape != state[0].shape[:-1]:
        raise ValueError(
            f"observe: found speeds of shape {tuple(squared.shape)}, expected {tuple(state[0].shape[:-1])}. "
            "It must return a tuple of tensors (..., units)."
        )
    if not squared.requires_grad:
        raise ValueError(
            "step: found a speed without gradient, expected a map made of differentiable operations of torch."
        )
    if not squared.isfinite().all():
        bad = int((~squared.isfinite()).sum())
        raise ValueError(
            f"step: the speed of {bad} of {squared.numel()} starts is not finite; look at the map and its inputs."
        )
