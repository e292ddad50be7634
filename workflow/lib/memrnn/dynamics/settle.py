"""What kind of points the slow points are: eigenvalues, fixed points near by, relaxation, and what noise does there.

Everything is computed in float64, under the held mean input but for the noisy roll-outs. A state is differentiated in
its own coordinates (h, or h and c); speeds and distances are in what the speed is measured in (h, or h and tanh c).

Nothing here trusts a second-order search: left alone, it leaves the memory for whatever fixed point it can reach. Here
it goes down the speed in short steps, inside a box that holds every fixed point, and what it finds counts for a slow
point if it lies near by and is read out alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memrnn.dynamics import newton
from memrnn.dynamics.jacobian import singly
from memrnn.dynamics.newton import EDGE, FIXED, LEAST, LEFT
from memrnn.models.cell import Cell, State, squared_change

# Of Newton's steps: the least derivative of an observed coordinate in their scaling, and the numbers in one batch of
# second derivatives.
LEAST_SCALE, NUMBERS_AT_ONCE = 1e-3, 2_000_000
AT_BOUND, LED_OUT, RESTLESS = "least speed at the bound", "c leads out", "c not at rest"
OUTCOMES = (*newton.OUTCOMES, AT_BOUND, LED_OUT, RESTLESS)  # of `settle`
LOST, CUT = "lost the read-out", "cut to the box"


class Settled(NamedTuple):
    """Where Newton's steps from some points ended.

    Attributes:
        state: h, or (h, c), each (networks, points, units).
        residual: change of the state itself in one step, (networks, points); never below the speed.
        slope: ||J'g|| / (||J|| ||g||), (networks, points), with J the Jacobian of g: of the speed's gradient, which is
            J'g / ||g||, and the largest that it could be. 0 at a least speed; arbitrary at a fixed point.
        steps: taken or tried, (networks, points), int64.
        outcome: index in `OUTCOMES`, (networks, points), int64.
    """

    state: State
    residual: Tensor
    slope: Tensor
    steps: Tensor
    outcome: Tensor


# ------------------------------------------------------------------------------------- fixed points and least speeds


def settle(
    cell: Cell, weights: Any, drive: Tensor, start: State, steps: int, tolerance: float, distance: float
) -> Settled:
    """Follow the speed down from every point to a fixed point, to a least speed, or out of the neighbourhood.

    Newton's method on ||g||^2 / 2 within a trust region (Nocedal & Wright 2006, chapter 4), where g is the change that
    is observed in one step of the network, so that ||g|| is the speed. The matrix of second derivatives is exact: where
    there is no fixed point, J'J alone, as of Gauss and Newton, crawls and never tells a least speed from slowness. A
    step goes where the quadratic model is least within a radius, and is taken if it lowers ||g||; the radius follows
    how well the model did, and is a quarter of `distance` at most, so that no point leaps out of its neighbourhood.
    States stay in the box of `Cell.reach`, outside which no fixed point lies: the search runs in angles u, with
    coordinates box * sin(u). A point has ended

    - at a fixed point, if ||g|| is below the tolerance;
    - at a least speed, if the model finds no state within the largest radius at which ||g||^2 / 2 were lower by more
      than the share `newton.STALL`: its gradient J'g vanishes and no direction leads on, though g is not 0;
    - outside, if it is further away from its start than `distance`;
    - undecided, if none of these came true in the steps it had.

    The steps never raise the speed, but the box can: a start outside it, as c of an LSTM may be, is cut to it.

    The speed of an LSTM does not see c where tanh is flat. A point at rest is therefore led on by the steps that are
    left, with the change of the state itself in the place of g, to the c that belongs to it: then that is its fixed
    point. If that leads out of the neighbourhood, or to no rest, it stays where it was, and the outcome says so
    (`LED_OUT`, `RESTLESS`): c creeps on there, unseen.

    Args:
        weights: of the cell, float64.
        drive: held, (networks, 1, gates * units).
        start: h, or (h, c), each (networks, points, units).
        steps: at most, refused ones included.
        tolerance: ||g|| below which a point is at rest.
        distance: in what the speed is measured in.
    """
    ends = [_settle(cell, *single, steps, tolerance, distance) for single in singly(weights, drive, start)]
    flat, *others, left, outcome = (torch.stack(parts) for parts in zip(*ends, strict=True))
    return Settled(parts_of(flat, start), *others, steps - left, outcome)


def _settle(
    cell: Cell, weights: Any, drive: Tensor, start: State, steps: int, tolerance: float, distance: float
) -> tuple[Tensor, ...]:
    """`settle` for one network: states (points, n), residuals, slopes, steps left and outcomes (points,)."""
    box = torch.cat(cell.reach(weights, drive), -1)[0]  # (1, n)
    bounded = box.isfinite()
    width = torch.where(bounded, box, 1)

    def joined(state: State) -> Tensor:
        return torch.cat(state, -1)[0]

    def parted(flat: Tensor) -> State:
        return parts_of(flat.unsqueeze(0), start)

    def placed(u: Tensor) -> Tensor:
        return torch.where(bounded, width * torch.sin(u), u)

    def observed(s: Tensor) -> Tensor:
        return joined(cell.observe(parted(s)))

    def after(s: Tensor) -> Tensor:
        return joined(cell.step(weights, parted(s), drive))

    def observed_change(u: Tensor) -> Tensor:
        s = placed(u)
        return observed(after(s)) - observed(s)

    def change(u: Tensor) -> Tensor:
        s = placed(u)
        return after(s) - s

    def unit(u: Tensor) -> Tensor:
        """Lengths that steps of u are counted in, (points, n): about as they are observed, well away from the box."""
        s = placed(u)
        seen = torch.func.jvp(observed, (s,), (torch.ones_like(s),))[1].clamp(min=LEAST_SCALE) * width
        return torch.where(bounded, seen.clamp(min=distance / 5), seen)  # less than a quarter turn in a step

    def descend(u: Tensor, left: Tensor, residual: Callable[[Tensor], Tensor], origin: Tensor) -> tuple[Tensor, ...]:
        def outside(u: Tensor) -> Tensor:
            return (observed(placed(u)) - origin).norm(dim=-1) > distance

        return newton.descend(u, left, residual, _derivatives, unit, outside, tolerance, distance / 4)

    s, origin = joined(start), observed(joined(start))
    # At the box itself no slope is felt.
    u = torch.where(bounded, torch.asin((s / width).clamp(EDGE - 1, 1 - EDGE)), s)
    left = torch.full_like(s[:, 0], steps, dtype=torch.int64)
    u, left, outcome = descend(u, left, observed_change, origin)
    (still,) = torch.where(outcome == OUTCOMES.index(FIXED))
    if len(still) and len(start) > 1:
        led, left[still], led_to = descend(u[still], left[still], change, origin[still])
        rests = led_to == OUTCOMES.index(FIXED)
        u[still[rests]] = led[rests]
        outcome[still[~rests]] = OUTCOMES.index(RESTLESS)
        outcome[still[led_to == OUTCOMES.index(LEFT)]] = OUTCOMES.index(LED_OUT)
    touches = (bounded & (torch.cos(u).square() < 2 * EDGE)).any(-1)
    outcome[touches & (outcome == OUTCOMES.index(LEAST))] = OUTCOMES.index(AT_BOUND)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: observed_change(one.unsqueeze(0)).squeeze(0)))(u)
    slope = _relative_slope(jacobian / unit(u).unsqueeze(1), observed_change(u))
    return placed(u), change(u).norm(dim=-1), slope, left, outcome


def _derivatives(s: Tensor, residual: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Gradient (points, n) and second derivatives (points, n, n) of ||residual||^2 / 2, automatically."""

    def gradient(one: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.func.grad(lambda one: residual(one.unsqueeze(0)).square().sum() / 2)(one)
        return slope, slope

    at_once = max(1, NUMBERS_AT_ONCE // s.shape[1] ** 2)
    second, slope = torch.func.vmap(torch.func.jacfwd(gradient, has_aux=True), chunk_size=at_once)(s)
    return slope, (second + second.mT) / 2


def _relative_slope(jacobian: Tensor, g: Tensor) -> Tensor:
    """||J'g|| / (||J|| ||g||) of (points, n, n) and (points, n); 0 where g is 0."""
    size = torch.linalg.matrix_norm(jacobian, 2) * g.norm(dim=-1)
    return (jacobian.mT @ g.unsqueeze(2)).squeeze(2).norm(dim=-1) / size.clamp(min=torch.finfo(size.dtype).tiny)


def parts_of(flat: Tensor, like: State) -> State:
    """Parts of a state from their concatenation (networks, points, n)."""
    return flat.split([part.shape[-1] for part in like], -1)


def cut_to_box(cell: Cell, weights: Any, drive: Tensor, state: State) -> State:
    return tuple(part.clamp(-most, most) for part, most in zip(state, cell.reach(weights, drive), strict=True))


def observed_distance(cell: Cell, state: State, other: State) -> Tensor:
    return squared_change(cell, other, state).sqrt()
