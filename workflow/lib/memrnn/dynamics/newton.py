"""Newton's method on the speed of many states at once: towards fixed points, and down to least speeds.

Points are rows and never act on each other. Nothing here knows what the map is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# Of `descend`: the share of ||r||^2 / 2 that is not worth a step; the curvature, as a share of the largest, that is
# rounding; how near a bound, as a share of it, a coordinate starts at most.
STALL, FLAT, EDGE = 1e-6, 1e-10, 1e-6
# Of `solve`: the damping at the start, the least, and the one at which steps are too short to count.
DAMPING, LEAST_DAMPING, STUCK = 0.1, 1e-8, 1e12
FIXED, LEAST, LEFT, RAN_OUT = "fixed point", "least speed", "left the distance", "steps ran out"
OUTCOMES = (FIXED, LEAST, LEFT, RAN_OUT)  # of `descend`

GRAPH = 40  # numbers that automatic differentiation holds for each number of a state, about

Residual = Callable[[Tensor], Tensor]
Derivatives = Callable[[Tensor, Residual], tuple[Tensor, Tensor]]


class Solved(NamedTuple):
    """Where `solve` ended.

    Attributes:
        state: (points, n).
        speed: ||F(s) - s|| there, (points,).
        steps: Jacobians that a point took, (points,), int64.
        broken: whether a derivative was not finite there, (points,).
    """

    state: Tensor
    speed: Tensor
    steps: Tensor
    broken: Tensor


@torch.no_grad()
def solve(
    step: Callable[[Tensor, Tensor], Tensor],
    jacobian: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    bound: Tensor,
    steps: int,
    tolerance: float,
    scale: float,
) -> Solved:
    """Fixed points of F by damped Newton steps (Levenberg, Marquardt), which never raise a point's speed.

    A step solves (J'J + a I) d = -J'r, with r = F(s) - s and J its Jacobian. The damping a shrinks with ||r||, so that
    the last steps are Newton's even where fixed points are no single ones but lie on lines (Fan & Yuan 2005), and
    grows where a step did not lower ||r||. A step that leads to values that are not finite counts as such a one.

    Args:
        step: F, (points, n), rows -> (points, n); rows says which of the starts the points come from, (points,).
        jacobian: of F, likewise, (points, n, n).
        start: (points, n); inside the bound.
        bound: modulus that no coordinate exceeds, (n,); infinite where there is none.
        steps: at most.
        tolerance: ||r|| at which a point rests.
        scale: length over which a coordinate of F bends, about.
    """
    s, everyone = start.clone(), torch.arange(len(start), device=start.device)
    r = step(s, everyone) - s
    damping = torch.full_like(s[:, 0], DAMPING)
    taken, broken = torch.zeros_like(everyone), torch.zeros_like(everyone, dtype=torch.bool)
    scale *= s.shape[1] ** 0.5
    for _ in range(steps):
        (now,) = torch.where((r.norm(dim=1) > tolerance) & (damping < STUCK) & ~broken)
        if not len(now):
            break
        j = jacobian(s[now], now)
        j.diagonal(dim1=1, dim2=2).sub_(1)
        taken[now] += 1
        finite = j.isfinite().flatten(1).all(1)
        if not finite.all():
            broken[now[~finite]] = True
            now, j = now[finite], j[finite]
        slope = _times(j.mT, r[now])
        # A coordinate at its bound that would go on outwards stays there.
        j.masked_fill_(((s[now].abs() >= bound) & (slope * s[now] < 0)).unsqueeze(1), 0)
        slope, square = _times(j.mT, r[now]), j.mT @ j
        level = square.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(s.dtype).tiny)
        level *= (r[now].norm(dim=1) / scale).clamp(max=1)
        todo = torch.arange(len(now), device=s.device)
        while len(todo):
            which = now[todo]
            damped = square[todo]
            damped.diagonal(dim1=1, dim2=2).add_((damping[which] * level[todo]).unsqueeze(1))
            factor, failed = torch.linalg.cholesky_ex(damped)
            tried = s[which] - torch.cholesky_solve(slope[todo].unsqueeze(2), factor).squeeze(2)
            tried = torch.maximum(torch.minimum(tried, bound), -bound)
            r_tried = step(tried, which) - tried
            before = r[which].square().sum(1)
            promised = before - (r[which] + _times(j[todo], tried - s[which])).square().sum(1)
            kept = (before - r_tried.square().sum(1)) / promised  # not above 1e-4 where something is not finite
            better = (kept > 1e-4) & (promised > 0) & (failed == 0)
            s[which[better]], r[which[better]] = tried[better], r_tried[better]
            change = torch.where(better, torch.where(kept > 0.75, 0.1, torch.where(kept < 0.25, 4, 1)), 8)
            damping[which] = (damping[which] * change).clamp(min=LEAST_DAMPING)
            todo = todo[~better & (damping[which] < STUCK)]
    return Solved(s, r.norm(dim=1), taken, broken)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products of matrices (points, n, m) with vectors (points, m)."""
    return (matrix @ vector.unsqueeze(2)).squeeze(2)


def descend(
    u: Tensor,
    left: Tensor,
    residual: Callable[[Tensor], Tensor],
    derivatives: Derivatives,
    unit: Callable[[Tensor], Tensor],
    outside: Callable[[Tensor], Tensor],
    tolerance: float,
    largest: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Down ||r||^2 / 2 by exact second derivatives within a trust region (Nocedal & Wright 2006, chapter 4).

    Where ||r|| has a least value above zero, J'J alone, as in `solve`, crawls and never tells it from slowness.

    Args:
        u: (points, n).
        left: steps that each point has, (points,), int64.
        residual: r, (points, n) -> (points, n), of points that do not act on each other.
        derivatives: of ||r||^2 / 2 at points (points, n): gradient and second derivatives, (points, n) and
            (points, n, n).
        unit: lengths in which steps are counted, (points, n) -> (points, n).
        outside: which points have left the neighbourhood, (points, n) -> (points,).
        tolerance: ||r|| below which a point has arrived.
        largest: radius that no step exceeds.
    Returns:
        the points, how many steps are left, and the outcomes, indices in `OUTCOMES`.
    """
    points, n = u.shape
    u, left, r = u.clone(), left.clone(), residual(u)
    outcome = torch.full_like(left, OUTCOMES.index(RAN_OUT))
    radius = torch.full_like(u[:, 0], largest / 4)
    # The quadratic model at each point, in its eigenvectors and counted in `unit`: made anew where the point has moved.
    scale, gradient, curvature = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
    vectors = u.new_empty(points, n, n)
    moved = torch.ones_like(left, dtype=torch.bool)
    busy = torch.ones_like(moved)

    def end(which: Tensor, name: str) -> None:
        outcome[which & busy] = OUTCOMES.index(name)
        busy[which] = False

    while True:
        end(outside(u), LEFT)
        end(r.norm(dim=-1) < tolerance, FIXED)
        (new,) = torch.where(busy & moved)
        if len(new):
            slope, second = derivatives(u[new], residual)
            scale[new] = unit(u[new])
            slope, second = slope / scale[new], second / (scale[new].unsqueeze(2) * scale[new].unsqueeze(1))
            curvature[new], vectors[new] = torch.linalg.eigh(second)
            gradient[new] = (vectors[new].mT @ slope.unsqueeze(2)).squeeze(2)
            moved[new] = False
            furthest = _model_step(gradient[new], curvature[new], torch.full_like(radius[new], largest))
            promised = _model_gain(gradient[new], curvature[new], furthest)
            stalled = torch.zeros_like(busy)
            stalled[new] = promised <= STALL * r[new].square().sum(-1) / 2
            end(stalled, LEAST)
        busy &= left > 0
        (now,) = torch.where(busy)
        if not len(now):
            return u, left, outcome
        step = _model_step(gradient[now], curvature[now], radius[now])
        tried = u[now] + (vectors[now] @ step.unsqueeze(2)).squeeze(2) / scale[now]
        r_tried = residual(tried)
        gain = (r[now].square().sum(-1) - r_tried.square().sum(-1)) / 2
        agreement = gain / _model_gain(gradient[now], curvature[now], step)
        length = step.norm(dim=-1)
        longer = (agreement > 0.75) & (length > 0.9 * radius[now])
        follows = torch.where(longer, (2 * radius[now]).clamp(max=largest), radius[now])
        radius[now] = torch.where(agreement > 0.25, follows, length / 4)
        better = gain > 0  # false where something is not finite
        u[now[better]], r[now[better]], moved[now[better]] = tried[better], r_tried[better], True
        left[now] -= 1


def _model_step(gradient: Tensor, curvature: Tensor, radius: Tensor) -> Tensor:
    """Where gradient . p + p . curvature p / 2 is least within a radius, all in eigenvectors; (points, n).

    Args:
        gradient, curvature: (points, n), curvature in ascending order.
        radius: (points,).
    """
    lowest, largest = curvature[:, 0], curvature.abs().amax(-1)
    # What lies flat to rounding leads nowhere.
    least = (-lowest).clamp(min=0) * (1 + FLAT) + 1e-4 * FLAT * largest + torch.finfo(curvature.dtype).tiny

    def step(shift: Tensor) -> Tensor:
        return -gradient / (curvature + shift.unsqueeze(1))

    low, high = least, least + gradient.norm(dim=-1) / radius
    inside = step(least).norm(dim=-1) <= radius
    for _ in range(50):
        middle = (low * high).sqrt()
        long = step(middle).norm(dim=-1) > radius
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    p = step(torch.where(inside, least, high))
    # On a ridge the gradient does not see the way down.
    room = (radius.square() - p.square().sum(-1)).clamp(min=0).sqrt()
    p[:, 0] += torch.where(inside & (lowest < -FLAT * largest), torch.where(gradient[:, 0] > 0, -room, room), 0)
    return p


def _model_gain(gradient: Tensor, curvature: Tensor, step: Tensor) -> Tensor:
    return -(gradient * step + curvature * step.square() / 2).sum(-1)


# ------------------------------------------------------------------------------------------------------- derivatives


def second_derivatives(s: Tensor, residual: Residual, numbers: int) -> tuple[Tensor, Tensor]:
    """Gradient (points, n) and second derivatives (points, n, n) of ||residual||^2 / 2.

    Every point is put in as often as it has coordinates, so that one pass backwards gives all rows, of
    whatever torch can differentiate.

    Args:
        numbers: that automatic differentiation may hold at a time, about.
    """
    points, n = s.shape
    rows = []
    for some in torch.eye(n, dtype=s.dtype, device=s.device).split(max(1, numbers // (2 * GRAPH * points * n))):
        with torch.enable_grad():
            repeated = s.detach().repeat_interleave(len(some), 0).requires_grad_()
            half = residual(repeated).square().sum() / 2
            (slope,) = torch.autograd.grad(half, repeated, create_graph=True, materialize_grads=True)
            rows.append(gradient(slope, repeated, some.repeat(points, 1)).view(points, -1, n))
    second = torch.cat(rows, 1)
    return slope.detach().view(points, -1, n)[:, 0], (second + second.mT) / 2


def gradient(outputs: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
    """Weighted derivatives; 0 of what does not depend on the inputs."""
    if not outputs.requires_grad:
        return torch.zeros_like(inputs)
    # Weights handed to autograd.grad by themselves would make it import sympy, two seconds.
    return torch.autograd.grad((outputs * weights).sum(), inputs, materialize_grads=True)[0]
