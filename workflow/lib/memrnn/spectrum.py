"""What kind of points the slow points are: eigenvalues, fixed points near by, relaxation, and what noise does there.

Everything is computed in float64, under the held mean input but for the noisy roll-outs. A state is differentiated in
its own coordinates (h, or h and c); speeds and distances are in what the speed is measured in (h, or h and tanh c).

Nothing here trusts a second-order search: left alone, it leaves the memory for whatever fixed point it can reach. Here
it only ever lowers the speed, inside a box that holds every fixed point, and what it finds counts for a slow point if
it lies near by and is read out alike.
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
from memrnn.images import ImageSet
from memrnn.networks import Networks
from memrnn.slow_points import held_input, read_out

ROUNDING = 1e-9  # a modulus within this of 1 is not told from 1: neither unstable, nor of a finite time constant
# Damping of Newton's steps: the first, the factors after a step that was taken or refused, and where it is given up.
DAMPING, EASE, BRAKE, LEAST_DAMPING, MOST_DAMPING = 1e-4, 0.1, 4.0, 1e-18, 1e8
LEAST_SLOPE = 1e-3  # of an observed coordinate, in the scaling of those steps

STABLE, SADDLE, GHOST = "stable", "saddle", "ghost"
FIXED, NOT_CONVERGED, TOO_FAR, OTHER_READOUT = "fixed point", "not converged", "too far", "other read-out"


class Settled(NamedTuple):
    """Where Newton's steps from some points ended.

    Attributes:
        state: h, or (h, c), each (networks, points, units).
        residual: change of the state itself in one step, (networks, points); never below the speed.
        steps: taken or tried, (networks, points), int64.
    """

    state: State
    residual: Tensor
    steps: Tensor


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
        newton_steps, newton_speed: see `settle`.
        newton_distance: a fixed point further away than this from the slow point is not its own.
        relaxation_steps: see `relax`, whose window is as long as the noisy roll-outs, `noise_steps`.
        noise_trials, noise_steps: see `drift_and_diffusion`.
    Returns:
        a row per network and class: phase, seed, label, search_steps, readout (of the slow point); what `describe` says
        of its eigenvalues; kind, kind_reason; newton_speed, newton_distance, newton_readout (of where Newton's steps
        ended), newton_steps, fixed_unstable (eigenvalues outside the unit circle at the fixed point; NaN for a ghost);
        relaxation_speed, relaxation_kept, relaxation_readout, window_speed (`Relaxation`); drift, diffusion.

        A slow point is of kind `stable` or `saddle` by its fixed point's eigenvalues if Newton's steps end at a state
        that changes by less than `newton_speed`, within `newton_distance`, and read out as the slow point is, whether
        or not that is its class; else it is a `ghost`, and kind_reason says which of the three failed first.
    Raises:
        ValueError: a point or a centroid is not finite, or does not fit the networks.
    """
    networks = networks.to(torch.float64)
    points, centroids = (tuple(part.to(networks.readout) for part in state) for state in (points, centroids))
    x = held_input(networks, images.mean)
    for state in (points, centroids):
        check_state(networks.weights, state, x)
    cell, recurrent, drive = networks.cell, networks.weights.recurrent, networks.weights.drive(x)
    with torch.no_grad():
        spectra = [torch.linalg.eig(each) for each in _jacobians(cell, recurrent, drive, points)]
        values = torch.cat([each.eigenvalues for each in spectra])
        along = torch.cat([left_vector(*each) for each in spectra]).to(networks.device)
        settled = settle(cell, recurrent, drive, points, newton_steps, newton_speed)
        ended_speed = speed(cell, networks.weights, settled.state, x)
        distance = _distance(cell, settled.state, points)
        readout, ended_readout = (read_out(networks, state, images.mean) for state in (points, settled.state))
        fixed = torch.cat([torch.linalg.eigvals(each) for each in _jacobians(cell, recurrent, drive, settled.state)])
        relaxed = relax(networks, centroids, images.mean, relaxation_steps, noise_steps)
        drift, diffusion = drift_and_diffusion(networks, images, points, along, noise_trials, noise_steps)
    columns = {
        "readout": readout,
        **describe(values, near_unit),
        "newton_speed": ended_speed,
        "newton_distance": distance,
        "newton_readout": ended_readout,
        "newton_steps": settled.steps,
        "fixed_unstable": unstable(fixed),
        "relaxation_speed": relaxed.speed,
        "relaxation_kept": relaxed.kept,
        "relaxation_readout": relaxed.readout,
        "window_speed": relaxed.window_speed,
        "drift": drift,
        "diffusion": diffusion,
    }
    frame = pd.DataFrame(
        [
            {**networks.labels[network], "label": label, "search_steps": search_steps}
            | {name: each[network, label].item() for name, each in columns.items()}
            | {"converged": bool(settled.residual[network, label] < newton_speed)}
            for network in range(len(networks.seeds))
            for label in range(points[0].shape[1])
        ]
    )
    reasons = {
        NOT_CONVERGED: ~frame.converged,
        TOO_FAR: frame.newton_distance > newton_distance,
        OTHER_READOUT: frame.newton_readout != frame.readout,
    }
    reason = pd.Series(FIXED, frame.index)
    for name, fails in reversed(reasons.items()):
        reason = reason.mask(fails, name)
    frame["fixed_unstable"] = frame.fixed_unstable.where(reason == FIXED)
    kind = pd.Series(GHOST, frame.index).mask(frame.fixed_unstable == 0, STABLE).mask(frame.fixed_unstable > 0, SADDLE)
    frame.insert(frame.columns.get_loc("newton_speed"), "kind", kind)
    frame.insert(frame.columns.get_loc("newton_speed"), "kind_reason", reason)
    return frame.drop(columns="converged").sort_values(["phase", "seed", "label"], ignore_index=True)


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


def left_vector(eigenvalues: Tensor, vectors: Tensor) -> Tensor:
    """Left eigenvector w of the leading eigenvalue, with w v = 1 for its right eigenvector v of length 1.

    Args:
        eigenvalues, vectors: of `torch.linalg.eig`, (networks, points, n) and (networks, points, n, n).
    Returns:
        complex, (networks, points, n): w (s - s0) is the coordinate of s along v. Not finite where the eigenvectors
        do not span the space.
    """
    leading = eigenvalues.abs().argmax(-1)
    unit = torch.nn.functional.one_hot(leading, eigenvalues.shape[-1]).to(vectors)
    vectors = vectors / vectors.norm(dim=-2, keepdim=True)
    return torch.linalg.solve_ex(vectors.mT, unit.unsqueeze(-1)).result.squeeze(-1)


# ------------------------------------------------------------------------------------------------------ fixed points


def settle(cell: Cell, recurrent: Tensor, drive: Tensor, start: State, steps: int, tolerance: float) -> Settled:
    """Newton's method, damped after Levenberg and Marquardt, from every point to a state that does not move.

    A step solves (J'J + m I) d = -J'g, where g is the change that is observed in one step of the network, so that ||g||
    is the speed, and J its Jacobian. It is cut to the box of `Cell.reach`, outside which no fixed point lies, and is
    taken if it lowers ||g||; then the damping m is eased, else it is raised. So the speed never grows: a search ends at
    a fixed point, or at the bottom of a valley without one.

    The speed of an LSTM does not see c where tanh is flat. A point that has come to rest is therefore led on by the
    steps that are left, with the change of the state itself in the place of g: to the c that belongs to it, or away.

    Args:
        recurrent: (networks, units, gates * units), float64.
        drive: held, (networks, 1, gates * units).
        start: h, or (h, c), each (networks, points, units); cut to the box first.
        steps: at most, refused ones included.
        tolerance: ||g|| below which a point is done.
    """
    ends = [_settle(cell, *single, steps, tolerance) for single in _singly(recurrent, drive, start)]
    flat, residual, left = (torch.stack(parts) for parts in zip(*ends, strict=True))
    return Settled(_parts(flat, start), residual, steps - left)


def _settle(
    cell: Cell, recurrent: Tensor, drive: Tensor, start: State, steps: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`settle` for one network: states (points, n), residuals and steps left (points,)."""

    def joined(state: State) -> Tensor:
        return torch.cat(state, -1)[0]

    def parted(flat: Tensor) -> State:
        return _parts(flat.unsqueeze(0), start)

    def after(s: Tensor) -> Tensor:
        return joined(cell.step(recurrent, parted(s), drive))

    def slope(s: Tensor) -> Tensor:
        """Derivative of what is observed of each number of a state, (points, n)."""
        state = parted(s)
        return joined(torch.func.jvp(lambda *parts: cell.observe(parts), state, tuple(map(torch.ones_like, state)))[1])

    def observed_change(s: Tensor) -> Tensor:
        return joined(cell.observe(parted(after(s)))) - joined(cell.observe(parted(s)))

    def change(s: Tensor) -> Tensor:
        return after(s) - s

    def observed_jacobian(s: Tensor) -> Tensor:
        onward = cell.jacobian(recurrent, parted(s), drive)[0]
        return slope(after(s)).unsqueeze(2) * onward - torch.diag_embed(slope(s))

    def jacobian(s: Tensor) -> Tensor:
        onward = cell.jacobian(recurrent, parted(s), drive)[0]
        return onward - torch.eye(s.shape[1], dtype=s.dtype, device=s.device)

    def descend(s: Tensor, left: Tensor, residual: Callable, derivative: Callable) -> tuple[Tensor, Tensor]:
        return _descend(s, left, residual, derivative, slope, box, tolerance)

    box = torch.cat(cell.reach(recurrent, drive), -1)[0]  # (1, n)
    s = joined(start).clamp(-box, box)
    left = torch.full_like(s[:, 0], steps, dtype=torch.int64)
    s, left = descend(s, left, observed_change, observed_jacobian)
    (still,) = torch.where(observed_change(s).norm(dim=-1) < tolerance)
    if len(still):
        s[still], left[still] = descend(s[still], left[still], change, jacobian)
    return s, change(s).norm(dim=-1), left


def _descend(
    s: Tensor,
    left: Tensor,
    residual: Callable[[Tensor], Tensor],
    derivative: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    box: Tensor,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """States (points, n) after at most `left` steps (points,) from `s`, and how many are left then.

    Steps are as long as `slope` makes them look: lengths are about those in which the speed is measured.
    """
    s, g, left = s.clone(), residual(s), left.clone()
    damping = torch.full_like(s[:, 0], DAMPING)
    while True:
        (busy,) = torch.where((g.norm(dim=-1) >= tolerance) & (damping < MOST_DAMPING) & (left > 0))
        if not len(busy):
            return s, left
        scale = slope(s[busy]).clamp(min=LEAST_SLOPE)
        j = derivative(s[busy]) / scale.unsqueeze(1)
        normal = j.mT @ j
        normal.diagonal(dim1=1, dim2=2).add_(damping[busy].unsqueeze(1))
        step = torch.linalg.solve_ex(normal, (j.mT @ g[busy].unsqueeze(2)).squeeze(2)).result / scale
        tried = (s[busy] - step).clamp(-box, box)
        g_tried = residual(tried)
        better = g_tried.norm(dim=-1) < g[busy].norm(dim=-1)  # false where something is not finite
        damping[busy] = (damping[busy] * torch.where(better, EASE, BRAKE)).clamp(min=LEAST_DAMPING)
        s[busy[better]], g[busy[better]] = tried[better], g_tried[better]
        left[busy] -= 1


def _parts(flat: Tensor, like: State) -> State:
    """Parts of a state from their concatenation (networks, points, n)."""
    return flat.split([part.shape[-1] for part in like], -1)


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
    """

    speed: Tensor
    kept: Tensor
    readout: Tensor
    window_speed: Tensor


def relax(networks: Networks, start: State, mean: float, steps: int, window: int) -> Relaxation:
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
    return Relaxation(least.sqrt(), count, read_out(networks, state, mean), early.sqrt())


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
        along: w, complex, (networks, points, n); see `left_vector`. Of a complex direction the modulus of the mean and
            the variance of both parts together count.
        trials: per point, at least 2. Each network draws from its own stream.
        steps: T.
    Returns:
        drift, per step, and diffusion, per step, in the state's coordinates, each (networks, points).
    """
    count, number = points[0].shape[:2]
    generators = [record.generator(seed, "spectrum", "noise", device=networks.device) for seed in networks.seeds]
    x = networks.readout.new_zeros(count, number * trials, networks.weights.inputs.shape[1])
    state = tuple(part.repeat_interleave(trials, 1) for part in points)
    # w (s - s0) as a difference of two projections would lose digits
    origin = torch.cat(points, -1).unsqueeze(2)  # (networks, points, 1, n)
    weighted = torch.zeros_like(points[0][..., 0])
    for t in range(1, steps + 1):
        for each, generator in zip(x, generators, strict=True):
            each[:, :-1] = x.new_empty(each.shape[0], each.shape[1] - 1).normal_(
                images.mean, images.std, generator=generator
            )
        state = networks.step(state, x)
        moved = torch.cat(state, -1).unflatten(1, (number, trials)) - origin
        y = torch.einsum("npti,npi->npt", moved.to(along), along)
        mean = y.mean(-1, keepdim=True)
        weighted += t * (y - mean).abs().square().sum(-1) / (trials - 1)
    slope = weighted / math.fsum(t * t for t in range(1, steps + 1))
    return mean.squeeze(-1).abs() / steps, slope / 2
