"""What kind of points the slow points are: eigenvalues, fixed points near by, relaxation, and what noise does there.

Everything is computed in float64, under the held mean input but for the noisy roll-outs. A state is differentiated in
its own coordinates (h, or h and c); speeds and distances are in what the speed is measured in (h, or h and tanh c).

Nothing here trusts a second-order search: left alone, it leaves the memory for whatever fixed point it can reach. Here
it goes down the speed in short steps, inside a box that holds every fixed point, and what it finds counts for a slow
point if it lies near by and is read out alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from memrnn import record
from memrnn.cells import Cell, State, check_state, speed, squared_change
from memrnn.fronts import Mean
from memrnn.images import ImageSet
from memrnn.networks import Networks
from memrnn.slow_points import held_input, mean_input, read_out

ROUNDING = 1e-9  # a modulus within this of 1 is not told from 1: neither unstable, nor of a finite time constant
# Of Newton's steps: the least derivative of an observed coordinate in their scaling; the share of ||g||^2 / 2 that is
# not worth a step; the curvature, as a share of the largest, that is rounding; how near the box, as a share of it, a
# coordinate starts at most; and the numbers in one batch of second derivatives.
LEAST_SCALE, STALL, FLAT, EDGE, NUMBERS_AT_ONCE = 1e-3, 1e-6, 1e-10, 1e-6, 2_000_000

STABLE, SADDLE, GHOST, SLOPE, UNDECIDED = "stable", "saddle", "ghost", "slope", "undecided"
FIXED, LEAST, AT_BOUND = "fixed point", "least speed", "least speed at the bound"
LEFT, LOST, RAN_OUT, CUT = "left the distance", "lost the read-out", "steps ran out", "cut to the box"
LED_OUT, RESTLESS = "c leads out", "c not at rest"
OUTCOMES = (FIXED, LEAST, AT_BOUND, LEFT, LED_OUT, RESTLESS, RAN_OUT)  # of `settle`
KIND_OF = {
    **dict.fromkeys([LEAST, AT_BOUND], GHOST),
    **dict.fromkeys([LEFT, LED_OUT, LOST], SLOPE),
    **dict.fromkeys([RESTLESS, RAN_OUT, CUT], UNDECIDED),
}
SEEN = 0.01  # least share of an eigenvector's length that is observed, for it to be a direction of motion
MOST_SKEW = 1e8  # length of w beyond which eigenvectors are parallel to rounding
DIRECTIONS = ("real", "complex", "no basis", "unseen")  # of `slowest`


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


def examine(
    networks: Networks,
    images: ImageSet,
    points: State,
    centroids: State,
    *,
    search_steps: int,
    near_unit: float,
    newton_steps: int,
    newton_speed: float,
    newton_distance: float,
    relaxation_steps: int,
    noise_trials: int,
    noise_steps: int,
) -> pd.DataFrame:
    """What kind of point each network's slow point of each class is.

    Args:
        points: slow points, h, or (h, c), each (networks, classes, units).
        centroids: where their search started, alike.
        search_steps: budget of that search, for the table.
        near_unit: see `describe`.
        newton_steps, newton_speed, newton_distance: see `settle`; what lies further away than newton_distance from the
            slow point is not its own.
        relaxation_steps: see `relax`, whose window is as long as the noisy roll-outs, `noise_steps`.
        noise_trials, noise_steps: see `drift_and_diffusion`.
    Returns:
        a row per network and class: phase, seed, label, search_steps, readout (of the slow point); what `describe` says
        of its eigenvalues; kind, kind_reason; newton_speed, newton_distance, newton_readout (of where Newton's steps
        ended), newton_steps, newton_slope (`Settled.slope`), newton_cut (distance by which the box cut the slow point
        before the first step), fixed_unstable (eigenvalues outside the unit circle at the fixed point, else NaN);
        relaxation_speed, relaxation_kept, relaxation_readout, window_speed, relaxation_end_speed (`Relaxation`),
        relaxation_unstable (eigenvalues outside the unit circle at its end); drift, diffusion along the slowest
        direction, its slow_rate and its direction (`slowest`).

        kind says what lies below a slow point, if one follows the speed down from there, and kind_reason why:

        - `stable` or `saddle`, by the eigenvalues, if that is a fixed point near by, read out as the slow point is,
          whether or not that is its class (FIXED);
        - `ghost`, if it is a least speed above zero, near by and read out alike: at a state between the bounds of the
          state (LEAST), or with units at a bound (AT_BOUND);
        - `slope`, if neither comes before a lower speed further away than newton_distance (LEFT); if, of an LSTM, what
          comes is at rest but for c, and the c that would be at rest lies further away than that (LED_OUT); or if
          what comes is read out otherwise (LOST);
        - `undecided`, if newton_steps were too few (RAN_OUT), no c was found that is at rest (RESTLESS), or if the
          point had to be cut to the box and left the neighbourhood at a higher speed than its own (CUT).
    Raises:
        ValueError: a point or a centroid is not finite, or does not fit the networks.
    """
    mean = mean_input(networks, images)  # of the networks as the search had them
    networks = networks.to(torch.float64)
    points, centroids = (tuple(part.to(networks.readout) for part in state) for state in (points, centroids))
    x = held_input(networks, mean)
    for state in (points, centroids):
        check_state(networks.weights, state, x)
    cell, recurrent, drive = networks.cell, networks.weights.recurrent, networks.weights.drive(x)
    with torch.no_grad():
        spectra = [torch.linalg.eig(each) for each in _jacobians(cell, recurrent, drive, points)]
        values = torch.cat([each.eigenvalues for each in spectra])
        seen = observed_slopes(cell, points).cpu()
        found = [slowest(*each, one) for each, one in zip(spectra, seen.split(1), strict=True)]
        along, slow_rate, direction = (torch.cat(parts).to(networks.device) for parts in zip(*found, strict=True))
        settled = settle(cell, recurrent, drive, points, newton_steps, newton_speed, newton_distance)
        own_speed = speed(cell, networks.weights, points, x)
        ended_speed = speed(cell, networks.weights, settled.state, x)
        distance = _distance(cell, settled.state, points)
        readout, ended_readout = (read_out(networks, state, mean) for state in (points, settled.state))
        fixed = torch.cat([torch.linalg.eigvals(each) for each in _jacobians(cell, recurrent, drive, settled.state)])
        relaxed = relax(networks, centroids, mean, relaxation_steps, noise_steps)
        at_end = torch.cat([torch.linalg.eigvals(each) for each in _jacobians(cell, recurrent, drive, relaxed.state)])
        drift, diffusion = drift_and_diffusion(networks, images, points, along, noise_trials, noise_steps)
    columns = {
        "readout": readout,
        **describe(values, near_unit),
        "newton_speed": ended_speed,
        "newton_distance": distance,
        "newton_readout": ended_readout,
        "newton_steps": settled.steps,
        "newton_slope": settled.slope,
        "newton_cut": _distance(cell, _cut(cell, recurrent, drive, points), points),
        "fixed_unstable": unstable(fixed),
        "relaxation_speed": relaxed.speed,
        "relaxation_kept": relaxed.kept,
        "relaxation_readout": relaxed.readout,
        "window_speed": relaxed.window_speed,
        "relaxation_end_speed": relaxed.end_speed,
        "relaxation_unstable": unstable(at_end),
        "drift": drift,
        "diffusion": diffusion,
        "slow_rate": slow_rate,
    }
    ends = torch.stack([settled.outcome, ended_readout == readout, ended_speed < own_speed], -1)
    reasons = [[_reason(*each) for each in network] for network in ends.tolist()]
    frame = pd.DataFrame(
        [
            {**networks.labels[network], "label": label, "search_steps": search_steps}
            | {name: each[network, label].item() for name, each in columns.items()}
            | {"direction": DIRECTIONS[direction[network, label]], "kind_reason": reasons[network][label]}
            for network in range(len(networks.seeds))
            for label in range(points[0].shape[1])
        ]
    )
    frame["fixed_unstable"] = frame.fixed_unstable.where(frame.kind_reason == FIXED)
    kind = frame.kind_reason.map(KIND_OF).mask(frame.fixed_unstable == 0, STABLE).mask(frame.fixed_unstable > 0, SADDLE)
    first = frame.columns.get_loc("newton_speed")
    frame.insert(first, "kind_reason", frame.pop("kind_reason"))
    frame.insert(first, "kind", kind)
    return frame.sort_values(["phase", "seed", "label"], ignore_index=True)


def _reason(outcome: int, same_readout: bool, slower: bool) -> str:
    """kind_reason from where Newton's steps ended."""
    reason = OUTCOMES[outcome]
    if reason in (FIXED, LEAST, AT_BOUND) and not same_readout:
        return LOST
    return CUT if reason == LEFT and not slower else reason


def _singly(recurrent: Tensor, drive: Tensor, state: State) -> Iterator[tuple[Tensor, Tensor, State]]:
    """Network after network, each an ensemble of one."""
    return zip(recurrent.split(1), drive.split(1), zip(*(part.split(1) for part in state), strict=True), strict=True)


# ------------------------------------------------------------------------------------------------------- eigenvalues


def _jacobians(cell: Cell, recurrent: Tensor, drive: Tensor, state: State) -> Iterator[Tensor]:
    """Jacobians of one network's states after another's, (1, points, n, n), on the CPU, where eigenvalues are quick."""
    return (cell.jacobian(weight, single, driven).cpu() for weight, driven, single in _singly(recurrent, drive, state))


def describe(eigenvalues: Tensor, near_unit: float) -> dict[str, Tensor]:
    """What the spectrum of a one-step map says, each (networks, points).

    The leading eigenvalue is the one of largest modulus: at a stable point it belongs to the slowest direction, at an
    unstable one to the quickest way out.

    Args:
        eigenvalues: complex, (networks, points, n).
        near_unit: an eigenvalue whose modulus differs from 1 by at most this is near the unit circle.
    Returns:
        leading_modulus; leading_angle, in radians from 0 to pi (of a complex pair, the positive one); time_constant,
        1 / |ln leading_modulus| in steps, in which a displacement along the leading direction shrinks or, where the
        modulus is above 1, grows e-fold, at most 1 / ROUNDING; slow_modulus, of the eigenvalue nearest the unit circle
        (in |ln modulus|), which is the leading one of a stable point; unstable, how many moduli are above 1; near_unit,
        the share near the unit circle.
    """
    modulus = eigenvalues.abs()
    leading = modulus.argmax(-1, keepdim=True)
    rate = modulus.clamp(min=torch.finfo(modulus.dtype).tiny).log().abs()
    return {
        "leading_modulus": modulus.gather(-1, leading).squeeze(-1),
        "leading_angle": eigenvalues.gather(-1, leading).squeeze(-1).angle().abs(),
        "time_constant": 1 / rate.gather(-1, leading).squeeze(-1).clamp(min=ROUNDING),
        "slow_modulus": modulus.gather(-1, rate.argmin(-1, keepdim=True)).squeeze(-1),
        "unstable": unstable(eigenvalues),
        "near_unit": ((modulus - 1).abs() <= near_unit).double().mean(-1),
    }


def unstable(eigenvalues: Tensor) -> Tensor:
    """How many of the eigenvalues (..., n) lie outside the unit circle, by more than ROUNDING."""
    return (eigenvalues.abs() > 1 + ROUNDING).sum(-1)


def observed_slopes(cell: Cell, state: State) -> Tensor:
    """Derivative of what is observed of each number of a state, (networks, points, n)."""
    return torch.cat(torch.func.jvp(lambda *s: cell.observe(s), state, tuple(map(torch.ones_like, state)))[1], -1)


def slowest(eigenvalues: Tensor, vectors: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left eigenvector w of the slowest direction: that of the eigenvalue nearest the unit circle, in |ln modulus|.

    Displacements along it last longest, whether they fade or grow; a quick way out is no slow direction. Lengths are
    those in which the speed is measured: w v = 1 for the right eigenvector v with ||D v|| = 1, D the derivative of what
    is observed. A direction in which next to nothing is observed (c of an LSTM where tanh is flat) is passed over.

    Args:
        eigenvalues, vectors: of `torch.linalg.eig`, (networks, points, n) and (networks, points, n, n).
        seen: diagonal of D, (networks, points, n).
    Returns:
        w, complex, (networks, points, n): w (s - s0) is the coordinate of s along v; NaN where it cannot be told.
        ln of the eigenvalue's modulus, per step, below 0 where displacements fade: (networks, points).
        index in `DIRECTIONS`, int64, (networks, points): a real eigenvalue; one of a complex pair; `no basis`, the
        eigenvectors do not span the space, so that there is no w; `unseen`, nothing is observed along any of them.
    """
    vectors = vectors / vectors.norm(dim=-2, keepdim=True)
    length = (seen.unsqueeze(-1) * vectors).norm(dim=-2)
    rate = eigenvalues.abs().clamp(min=torch.finfo(seen.dtype).tiny).log()
    chosen = rate.abs().masked_fill(length < SEEN, torch.inf).argmin(-1, keepdim=True)
    unit = torch.nn.functional.one_hot(chosen.squeeze(-1), eigenvalues.shape[-1]).to(vectors)
    w = torch.linalg.solve_ex(vectors.mT, unit.unsqueeze(-1)).result.squeeze(-1) * length.gather(-1, chosen)
    unseen, basis = (length < SEEN).all(-1), w.norm(dim=-1) < MOST_SKEW
    direction = (eigenvalues.gather(-1, chosen).squeeze(-1).imag != 0).to(torch.int64)
    direction[~basis], direction[unseen] = DIRECTIONS.index("no basis"), DIRECTIONS.index("unseen")
    return w.masked_fill((direction > 1).unsqueeze(-1), torch.nan), rate.gather(-1, chosen).squeeze(-1), direction


# ------------------------------------------------------------------------------------- fixed points and least speeds


def settle(
    cell: Cell, recurrent: Tensor, drive: Tensor, start: State, steps: int, tolerance: float, distance: float
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
      than the share `STALL`: its gradient J'g vanishes and no direction leads on, though g is not 0;
    - outside, if it is further away from its start than `distance`;
    - undecided, if none of these came true in the steps it had.

    The steps never raise the speed, but the box can: a start outside it, as c of an LSTM may be, is cut to it.

    The speed of an LSTM does not see c where tanh is flat. A point at rest is therefore led on by the steps that are
    left, with the change of the state itself in the place of g, to the c that belongs to it: then that is its fixed
    point. If that leads out of the neighbourhood, or to no rest, it stays where it was, and the outcome says so
    (`LED_OUT`, `RESTLESS`): c creeps on there, unseen.

    Args:
        recurrent: (networks, units, gates * units), float64.
        drive: held, (networks, 1, gates * units).
        start: h, or (h, c), each (networks, points, units).
        steps: at most, refused ones included.
        tolerance: ||g|| below which a point is at rest.
        distance: in what the speed is measured in.
    """
    ends = [_settle(cell, *single, steps, tolerance, distance) for single in _singly(recurrent, drive, start)]
    flat, *others, left, outcome = (torch.stack(parts) for parts in zip(*ends, strict=True))
    return Settled(_parts(flat, start), *others, steps - left, outcome)


def _settle(
    cell: Cell, recurrent: Tensor, drive: Tensor, start: State, steps: int, tolerance: float, distance: float
) -> tuple[Tensor, ...]:
    """`settle` for one network: states (points, n), residuals, slopes, steps left and outcomes (points,)."""
    box = torch.cat(cell.reach(recurrent, drive), -1)[0]  # (1, n)
    bounded = box.isfinite()
    width = torch.where(bounded, box, 1)

    def joined(state: State) -> Tensor:
        return torch.cat(state, -1)[0]

    def parted(flat: Tensor) -> State:
        return _parts(flat.unsqueeze(0), start)

    def placed(u: Tensor) -> Tensor:
        return torch.where(bounded, width * torch.sin(u), u)

    def observed(s: Tensor) -> Tensor:
        return joined(cell.observe(parted(s)))

    def after(s: Tensor) -> Tensor:
        return joined(cell.step(recurrent, parted(s), drive))

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

        return _descend(u, left, residual, unit, outside, tolerance, distance / 4)

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


def _descend(
    u: Tensor,
    left: Tensor,
    residual: Callable[[Tensor], Tensor],
    unit: Callable[[Tensor], Tensor],
    outside: Callable[[Tensor], Tensor],
    tolerance: float,
    largest: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Points u (points, n) after at most `left` steps (points,), how many are left then, and the outcomes."""
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
            slope, second = _derivatives(u[new], residual)
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


def _derivatives(s: Tensor, residual: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Gradient (points, n) and second derivatives (points, n, n) of ||residual||^2 / 2, automatically."""

    def gradient(one: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.func.grad(lambda one: residual(one.unsqueeze(0)).square().sum() / 2)(one)
        return slope, slope

    at_once = max(1, NUMBERS_AT_ONCE // s.shape[1] ** 2)
    second, slope = torch.func.vmap(torch.func.jacfwd(gradient, has_aux=True), chunk_size=at_once)(s)
    return slope, (second + second.mT) / 2


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


def _relative_slope(jacobian: Tensor, g: Tensor) -> Tensor:
    """||J'g|| / (||J|| ||g||) of (points, n, n) and (points, n); 0 where g is 0."""
    size = torch.linalg.matrix_norm(jacobian, 2) * g.norm(dim=-1)
    return (jacobian.mT @ g.unsqueeze(2)).squeeze(2).norm(dim=-1) / size.clamp(min=torch.finfo(size.dtype).tiny)


def _parts(flat: Tensor, like: State) -> State:
    """Parts of a state from their concatenation (networks, points, n)."""
    return flat.split([part.shape[-1] for part in like], -1)


def _cut(cell: Cell, recurrent: Tensor, drive: Tensor, state: State) -> State:
    return tuple(part.clamp(-most, most) for part, most in zip(state, cell.reach(recurrent, drive), strict=True))


def _distance(cell: Cell, state: State, other: State) -> Tensor:
    return squared_change(cell, other, state).sqrt()


# -------------------------------------------------------------------------------------------- relaxation, and noise


class Relaxation(NamedTuple):
    """The noise-free way of each class's state, each (networks, classes).

    Attributes:
        speed: least speed over the start and the steps kept; that of the start where the class is lost there. It holds
            the outcome: the longer a class is kept, the more speeds it is the least of.
        kept: number of steps after which a triggered step still answered the class at every step so far, int64: the
            noise-free lifetime.
        readout: what a triggered step answers at the end, int64; -1 is null.
        window_speed: least speed over the start and a window of first steps, whatever is answered there, so that it
            cannot hold the outcome.
        state: at the end, h, or (h, c), each (networks, classes, units).
        end_speed: at that state. Where it is next to nothing and no eigenvalue lies outside the unit circle, an
            attractor has been reached.
    """

    speed: Tensor
    kept: Tensor
    readout: Tensor
    window_speed: Tensor
    state: State
    end_speed: Tensor


def relax(networks: Networks, start: State, mean: Mean, steps: int, window: int) -> Relaxation:
    """Let each class's state run without noise.

    Args:
        start: h, or (h, c), each (networks, classes, units).
        steps: under the held mean input.
        window: steps of the window, cut to `steps`.
    """
    x = held_input(networks, mean)
    label = torch.arange(start[0].shape[1], device=networks.device)
    state, after = start, networks.step(start, x)
    least = squared_change(networks.cell, state, after)
    early = least
    kept = read_out(networks, state, mean) == label
    count = torch.zeros_like(kept, dtype=torch.int64)
    for t in range(1, steps + 1):
        state, after = after, networks.step(after, x)
        change = squared_change(networks.cell, state, after)
        if t <= window:
            early = torch.minimum(early, change)
        if kept.any():
            kept &= read_out(networks, state, mean) == label
            count += kept
            least = torch.where(kept, torch.minimum(least, change), least)
    return Relaxation(least.sqrt(), count, read_out(networks, state, mean), early.sqrt(), state, change.sqrt())


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
    count, number = points[0].shape[:2]
    generators = [record.generator(seed, "spectrum", "noise", device=networks.device) for seed in networks.seeds]
    x = networks.readout.new_zeros(count, number * trials, networks.pixels + 1)
    state = tuple(part.repeat_interleave(trials, 1) for part in points)
    # w (s - s0) as a difference of two projections would lose digits
    origin = torch.cat(points, -1).unsqueeze(2)  # (networks, points, 1, n)
    weighted = torch.zeros_like(points[0][..., 0])
    for t in range(1, steps + 1):
        for each, generator in zip(x, generators, strict=True):
            each[:, :-1] = x.new_empty(each.shape[0], each.shape[1] - 1).normal_(
                images.mean, images.std, generator=generator
            )
        state = networks.step(state, networks.seen(x))
        moved = torch.cat(state, -1).unflatten(1, (number, trials)) - origin
        y = torch.einsum("npti,npi->npt", moved.to(along), along)
        mean = y.mean(-1, keepdim=True)
        weighted += t * (y - mean).abs().square().sum(-1) / (trials - 1)
    slope = weighted / math.fsum(t * t for t in range(1, steps + 1))
    return mean.squeeze(-1).abs() / steps, slope / 2
