"""Fixed and slow points of any recurrent network: where they are, and of what kind (docs/finder.md)."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from memrnn.dynamics import newton
from memrnn.dynamics.fixed_points import GHOST, KINDS, MARGINAL, SADDLE, SLOPE, STABLE, UNDECIDED, FixedPoints
from memrnn.dynamics.maps import TRIED, Map, StepMap, as_map, bound_of, check_map, check_state, unwrap
from memrnn.models.cell import State

# Why a point is of its kind, beside the outcomes of `newton.descend`.
BROKEN = "a derivative is not finite"
ROUNDING = "slowest that rounding allows"
AT_BOUND = "held at the bound"
ONCE = "cannot be differentiated twice"
KIND_OF = {newton.LEAST: GHOST, newton.LEFT: SLOPE, AT_BOUND: SLOPE}


def find_fixed_points(
    step: StepMap | torch.nn.Module,
    start: Tensor | State,
    inputs: Any = None,
    *,
    paired: bool = False,
    tolerance: float | None = None,
    steps: int = 100,
    least_steps: int = 100,
    reach: float | None = None,
    same: float | None = None,
    near_one: float | None = None,
    outlier: float = 10.0,
    bound: float | str | None = "auto",
    dtype: torch.dtype | None = None,
    keep_jacobians: bool = True,
    memory: float = 2**30,
) -> FixedPoints:
    """Fixed points, and slow ones where there are none, from many starts; what kind each is.

    Every start goes down the speed S = ||F(s) - s|| by damped Newton steps until it rests. What does not come to rest
    is followed further down with exact second derivatives, to tell a least speed (a ghost of fixed points that have
    merged and gone) from a slope. Ends that lie together count as one point.

    Args:
        step: `torch.nn` RNN, GRU or LSTM, of any number of layers; a cell of theirs; or any function
            `step(state, inputs) -> next state` of torch's operations, `step(state)` without inputs, which takes any
            number of states at once, (points, units), and treats each alone. What torch.compile, DataParallel and
            DistributedDataParallel wrap is unpacked. Modules are copied, never changed.
        start: states from which searches begin, as `sample_states` draws them: (points, units), or a tuple of such;
            of a layer (layers, points, units), as it returns its last state, for one layer also (points, units).
        inputs: held during the search: (features,), or several, (conditions, features), each of which is held for all
            starts. A function gets a row for each state. What is no tensor is handed on as it is.
        paired: inputs, (points, features), belong to the start of the same row. Equal rows are one condition.
        tolerance: speed at which a point rests. None: 1e-9 times the spread of the starts (deviation of a number from
            their centre, at least a thousandth of its size), or what rounding allows.
        steps: most Newton steps of a search.
        least_steps: most steps with exact second derivatives, where a search did not come to rest; 0 for none, and such
            points are `undecided`.
        reach: how far these may lead. None: the root of n times the spread of the starts; of a single one, its length.
        same: ends are one point if no number differs by more. The slowest end stands for them. None: a thousandth of
            the spread of starts and ends, at least 1000 times the tolerance.
        near_one: an eigenvalue whose modulus differs from 1 by less is not told from 1. None: the root of tolerance
            over spread, at least 1e-4.
        outlier: see `FixedPoints.outlier`.
        bound: what h stays within on the way, +-bound. "auto": 1 for torch's GRU, LSTM and tanh RNN, whose h cannot
            rest beyond it, none for others.
        dtype: in which modules of torch.nn compute; None: float64, whatever the module's own.
        keep_jacobians: keep them if they fit into `memory`.
        memory: bytes that Jacobians and what they are made from may take at a time, about; starts are worked off in
            portions that fit.
    Returns:
        the different points: those at rest first, stable before saddles, under one input after the other.
    Raises:
        ValueError: start, inputs or a setting do not fit, or the map cannot be searched; the message says what was
            found, what was expected, and what to do.
    """
    for name, value in {"tolerance": tolerance, "reach": reach, "same": same, "near_one": near_one}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: found {value}, expected a positive number, or None.")
    for name, value in {"steps": steps, "least_steps": least_steps + 1, "memory": memory, "outlier": outlier}.items():
        if not value > 0:
            raise ValueError(f"{name}: found {value}, expected a positive number.")
    state, bare = check_state(start)
    step = unwrap(step)
    layered = isinstance(step, torch.nn.RNNBase) and state[0].ndim == 3
    points = state[0].shape[1 if layered else 0]
    with torch.inference_mode(False), torch.no_grad():
        held, condition = _conditions(inputs, paired, points)
        one_step = as_map(step, state[0] if bare else state, inputs, dtype)
        flat = one_step.pack(tuple(part.clone() for part in state)).to(one_step.dtype)
        n, size = flat.shape[1], flat.square().mean().sqrt().item() or 1.0
        # Starts may lie close together far from 0. How close is no scale where they are as good as one.
        spread = (flat - flat.mean(0)).square().mean().sqrt().item()
        scale = max(spread, 1e-3 * size)
        held, limit = one_step.cast(held), bound_of(bound, one_step, flat)
        bounds = torch.full_like(flat[0], torch.inf)
        bounds[: one_step.sizes[0]] = torch.inf if limit is None else limit
        tolerance = tolerance or max(1e-9 * scale, 30 * torch.finfo(flat.dtype).eps * n**0.5 * size)
        reach = reach or (scale if spread else size) * n**0.5
        near_one = near_one or max(1e-4, (tolerance / scale) ** 0.5)

        begun = torch.arange(points, device=flat.device)
        if not paired:  # condition after condition, all starts each
            begun, condition = begun.repeat(len(condition)), condition.repeat_interleave(points)
        problem = _Problem(one_step, held, condition.to(flat.device), flat[begun], bounds, memory)
        problem.check()
        ends = problem.solve(steps, tolerance, scale)
        if least_steps:
            problem.follow(ends, least_steps, tolerance, reach)
        same = same or max(1e-3 * _spread(problem.start, ends.state), 1e3 * tolerance)
        leaders, of_search = _different(ends.state, ends.speed, problem.condition, same)
        settings = {
            "tolerance": tolerance, "same": same, "reach": reach, "near_one": near_one, "outlier": outlier,
            "bound": limit, "steps": steps, "least_steps": least_steps,
        }  # fmt: skip
        found = problem.describe(ends, leaders, of_search, settings, keep_jacobians)
    form = tuple(one_step.sizes), one_step.layers if layered else 0, bare
    return FixedPoints(
        **found, start=begun[leaders], ends=of_search.view(-1, points), settings=settings, form=form,
        inputs=problem.inputs if _numbers(held) else None,
    )  # fmt: skip


class _Ends(NamedTuple):
    """Where searches ended: states (searches, n), speeds, steps, and why they ended; written over by `follow`."""

    state: Tensor
    speed: Tensor
    steps: Tensor
    reason: np.ndarray


class _Problem(NamedTuple):
    """A map, and the searches to do in it: a condition and a start for each."""

    map: Map
    inputs: Any  # (conditions, ...), or what is handed on as it is
    condition: Tensor  # (searches,)
    start: Tensor  # (searches, n)
    bounds: Tensor  # (n,)
    memory: float

    def held(self, rows: Tensor) -> Any:
        """Inputs of some searches."""
        return self.inputs[self.condition[rows]] if _numbers(self.inputs) else self.inputs

    def after(self, s: Tensor, rows: Tensor) -> Tensor:
        return self.map(s, self.held(rows))

    def jacobian(self, s: Tensor, rows: Tensor) -> Tensor:
        return self.map.jacobian(s, self.held(rows), self._numbers // 2)

    @property
    def _numbers(self) -> int:
        return max(1, int(self.memory / self.start.element_size()))

    def portions(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Searches in portions whose matrices fit into the memory, ten of them for each at a time."""
        return rows.split(max(1, self._numbers // (20 * self.start.shape[1] ** 2)))

    def check(self) -> None:
        """Try the map under each of the inputs."""
        for condition in self.condition.unique():
            (rows,) = torch.where(self.condition == condition)
            check_map(self.map, self.start[rows[:TRIED]], self.held(rows[:TRIED]))

    def solve(self, steps: int, tolerance: float, scale: float) -> _Ends:
        everyone = torch.arange(len(self.start), device=self.start.device)
        parts = []
        for rows in self.portions(everyone):
            after, jacobian = (lambda s, k, do=do, rows=rows: do(s, rows[k]) for do in (self.after, self.jacobian))
            parts.append(newton.solve(after, jacobian, self.start[rows], self.bounds, steps, tolerance, scale))
        state, speed, taken, broken = map(torch.cat, zip(*parts, strict=True))
        reason = np.full(len(state), newton.FIXED, dtype=object)
        reason[(speed > tolerance).cpu().numpy()] = newton.RAN_OUT
        reason[broken.cpu().numpy()] = BROKEN
        return _Ends(state, speed, taken, reason)

    def follow(self, ends: _Ends, steps: int, tolerance: float, reach: float) -> None:
        """Where searches have not come to rest, go on down with exact second derivatives, as far as `reach`."""
        (left,) = np.nonzero(ends.reason == newton.RAN_OUT)
        left = torch.as_tensor(left, device=self.start.device)
        for condition in self.condition[left].unique():
            for rows in self.portions(left[self.condition[left] == condition]):
                self._follow(ends, rows, steps, tolerance, reach)

    def _follow(self, ends: _Ends, rows: Tensor, steps: int, tolerance: float, reach: float) -> None:
        origin, bounded = ends.state[rows], self.bounds.isfinite()
        width = torch.where(bounded, self.bounds, 1)

        def placed(u: Tensor) -> Tensor:  # inside the bound, whatever u
            return torch.where(bounded, width * torch.sin(u), u)

        def change(u: Tensor) -> Tensor:
            s = placed(u)
            return self.after(s, rows[:1].expand(len(s))) - s  # all under the same inputs

        def derivatives(u: Tensor, residual: newton.Residual) -> tuple[Tensor, Tensor]:
            return newton.second_derivatives(u, residual, self._numbers // 4)

        u = torch.where(bounded, torch.asin((origin / width).clamp(newton.EDGE - 1, 1 - newton.EDGE)), origin)
        why = np.full(len(rows), ONCE, dtype=object)
        try:
            derivatives(u[:1], change)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):
            ends.reason[rows.cpu().numpy()] = ONCE
            return
        u, left, outcome = newton.descend(
            u, torch.full_like(rows, steps), change, derivatives,
            lambda u: torch.where(bounded, width.clamp(min=reach / 5), 1).expand_as(u),
            lambda u: (placed(u) - origin[: len(u)]).norm(dim=1) > reach, tolerance, reach / 4,
        )  # fmt: skip
        why = np.array(newton.OUTCOMES, dtype=object)[outcome.cpu().numpy()]
        moved = torch.as_tensor(why != newton.LEFT, device=u.device)
        at = placed(u)
        speed = change(u).norm(dim=1)
        moved &= speed <= ends.speed[rows]
        rounding = 100 * torch.finfo(at.dtype).eps * at.norm(dim=1)
        why[((speed < rounding) & (speed >= tolerance)).cpu().numpy()] = ROUNDING
        touches = (bounded & (torch.cos(u).square() < 2 * newton.EDGE)).any(1).cpu().numpy()
        why[touches & (why == newton.LEAST)] = AT_BOUND
        ends.steps[rows] += steps - left
        ends.state[rows[moved]], ends.speed[rows[moved]] = at[moved], speed[moved]
        ends.reason[rows.cpu().numpy()] = why

    def describe(
        self, ends: _Ends, leaders: Tensor, of_search: Tensor, settings: dict[str, Any], keep_jacobians: bool
    ) -> dict[str, Any]:
        """Fields of `FixedPoints` for the searches `leaders`, which stand for all; put in order, as is `of_search`."""
        device, n = self.start.device, self.start.shape[1]
        keep = keep_jacobians and len(leaders) * n * n <= self._numbers
        if keep_jacobians and not keep:
            warnings.warn(
                f"the Jacobians of {len(leaders)} points of {n} numbers do not fit into memory={self.memory:.3g} bytes "
                "and are not kept; eigenvalues are. Raise `memory`, or say keep_jacobians=False.",
                stacklevel=3,
            )
        eigenvalues, jacobians = [], []
        for rows in self.portions(leaders):
            matrix = self.jacobian(ends.state[rows], rows)
            finite = matrix.isfinite().flatten(1).all(1)
            values = torch.linalg.eigvals(matrix.masked_fill(~finite.view(-1, 1, 1), 0).cpu()).to(device)
            values = values.gather(1, values.abs().argsort(dim=1, descending=True, stable=True))
            eigenvalues.append(values.masked_fill(~finite.unsqueeze(1), torch.nan))
            if keep:
                jacobians.append(matrix)
        values = torch.cat(eigenvalues)
        state, speed, reason = ends.state[leaders], ends.speed[leaders], ends.reason[leaders.cpu().numpy()]
        unstable = (values.abs() > 1 + settings["near_one"]).sum(1)
        near = ((values.abs() - 1).abs() <= settings["near_one"]).any(1)
        rest = speed <= settings["tolerance"]
        kind = np.array([KIND_OF.get(each, UNDECIDED) for each in reason], dtype=object)
        kind[rest.cpu().numpy()] = STABLE
        kind[(rest & near).cpu().numpy()] = MARGINAL
        kind[(rest & (unstable > 0)).cpu().numpy()] = SADDLE
        centre = self.start.mean(0)
        usual = (self.start - centre).norm(dim=1).mean()
        far = ((state - centre).norm(dim=1) > settings["outlier"] * usual) & (usual > 0)
        names = np.array([KINDS.index(each) for each in kind])
        columns = [values[:, 0].abs(), unstable, torch.as_tensor(names), self.condition[leaders]]
        order = np.lexsort([each.cpu().numpy() for each in columns])
        place = torch.empty(len(order), dtype=torch.int64)
        place[torch.as_tensor(order)] = torch.arange(len(order))
        at = torch.as_tensor(order, device=device)
        leaders[:], of_search[:] = leaders[at], place.to(device)[of_search]
        return {
            "flat": state[at],
            "speed": speed[at],
            "kind": kind[order],
            "reason": reason[order],
            "unstable": unstable[at],
            "eigenvalues": values[at],
            "jacobian": torch.cat(jacobians)[at] if keep else None,
            "condition": self.condition[leaders],
            "multiplicity": torch.bincount(of_search, minlength=len(order)),
            "distance": (state[at] - self.start[leaders]).norm(dim=1),
            "steps": ends.steps[leaders],
            "converged": rest[at],
            "outlier": far[at],
            "at_bound": (state.abs() >= self.bounds * (1 - 2 * newton.EDGE)).any(1)[at],
        }


def _numbers(inputs: Any) -> bool:
    """Whether inputs are a tensor of which each state gets a row."""
    return isinstance(inputs, Tensor) and inputs.ndim > 0


def _conditions(inputs: Any, paired: bool, points: int) -> tuple[Any, Tensor]:
    """Inputs, (conditions, ...), and the conditions: that of each start, or all."""
    if not _numbers(inputs):
        if paired:
            raise ValueError(
                f"inputs: found a {type(inputs).__name__}, expected a row for each start, for paired=True."
            )
        return inputs, torch.zeros(1, dtype=torch.int64)
    if not inputs.isfinite().all():
        raise ValueError("inputs: found values that are not finite, expected numbers.")
    if not inputs.numel():
        raise ValueError(f"inputs: found the shape {tuple(inputs.shape)}, expected one input at least, or None.")
    if not paired:
        held = inputs.unsqueeze(0) if inputs.ndim == 1 else inputs
        return held.clone(), torch.arange(len(held))
    if inputs.ndim < 2 or len(inputs) != points:
        raise ValueError(
            f"inputs: found the shape {tuple(inputs.shape)}, expected ({points}, features) for paired=True."
        )
    return inputs.unique(dim=0, return_inverse=True)


def _spread(start: Tensor, found: Tensor) -> float:
    """Deviation of a number from the starts' centre, as of half of all starts and ends; few far ends do not count."""
    both = torch.cat([start, found]) - start.median(0).values
    return both.square().mean(1).sqrt().median().item()


def _different(state: Tensor, speed: Tensor, condition: Tensor, same: float) -> tuple[Tensor, Tensor]:
    """Which searches stand for all: the slowest, and each next that lies apart from those before it.

    Points on a line are not strung together: each belongs to a chosen one that is at most `same` away.

    Returns:
        rows of the chosen ones, and for each search the place of the one that it belongs to.
    """
    chosen, belongs = [], np.full(len(state), -1)
    for each in condition.unique():
        (rows,) = (part.cpu().numpy() for part in torch.where(condition == each))
        where = state[torch.as_tensor(rows, device=state.device)].cpu().double().numpy()
        tree = cKDTree(where)
        for row in np.argsort(speed.cpu().numpy()[rows], kind="stable"):
            if belongs[rows[row]] < 0:
                near = rows[tree.query_ball_point(where[row], same, p=np.inf)]
                belongs[near[belongs[near] < 0]] = len(chosen)
                chosen.append(rows[row])
    return torch.as_tensor(np.array(chosen), device=state.device), torch.as_tensor(belongs, device=state.device)
