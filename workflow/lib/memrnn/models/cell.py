"""Recurrent cells for ensembles of networks: one step, a whole sequence, and the speed of a state.

A cell maps a state and a drive to the next state. The drive is the input's share of the gates' preactivations,
W x + b, so that it can be computed for all time steps in one product. Every tensor has a leading axis "networks".

A new cell is a subclass of `Cell` with `name`, `gates`, `bounds` and `step`, and a line in `memrnn.models.cells`.
Automatic differentiation gives it sequences, speed gradients and Jacobians; a cell may have them in closed form, as GRU
and LSTM do. With parameters beside W, U and b it has a `weights_type` and `shapes` of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memrnn.models.unrolling import table_rows

State = tuple[Tensor, ...]
SquaredSpeed = Callable[[State], tuple[Tensor, State]]  # S^2 of every state and its gradient


class Weights(NamedTuple):
    """Weights of an ensemble's recurrent layer; a cell's gates stand side by side in the columns.

    Attributes:
        inputs: (networks, inputs, gates * units).
        recurrent: (networks, units, gates * units).
        bias: (networks, gates * units).
    """

    inputs: Tensor
    recurrent: Tensor
    bias: Tensor


class Cell:
    """One recurrent architecture. Below, "weights" are a `weights_type`, and each part of a state is
    (networks, batch or points, units).

    Attributes:
        name: key in `CELLS`.
        gates: number of blocks of `units` columns in the drive.
        bounds: of each part of a state, h first, the modulus that it never exceeds on its way from the zero state,
            whatever the weights and inputs; inf where there is none. A search for slow points stays within. The parts
            of a state are as many.
        weights_type: named tuple of the parameters, each (networks, ...). `inputs` and `bias`, as in `Weights`, must be
            among them, for the drive is made of these.
    """

    name: str
    gates: int
    bounds: tuple[float, ...] = (math.inf,)
    weights_type: type[Any] = Weights

    def shapes(self, inputs: int, units: int) -> Any:
        """Shapes of one network's parameters as `weights_type`, without the axis of networks."""
        columns = self.gates * units
        return Weights((inputs, columns), (units, columns), (columns,))

    def initial(self, inputs: int, units: int, generator: torch.Generator) -> Any:
        """Untrained parameters of one network, drawn in the order of their names, without the axis of networks.

        Matrices are N(0, 1 / fan_in), their rows being the fan-in, and vectors 0.01 N(0, 1), as published.
        """
        drawn = [torch.randn(shape, generator=generator) for shape in self.shapes(inputs, units)]
        return self.weights_type(*(each / len(each) ** 0.5 if each.ndim > 1 else each * 0.01 for each in drawn))

    def drive(self, weights: Any, x: Tensor) -> Tensor:
        """W x + b of inputs (networks, batch, inputs), (networks, batch, gates * units): the same for every cell."""
        return torch.baddbmm(weights.bias.unsqueeze(1), x, weights.inputs)

    def initial_state(self, networks: int, batch: int, units: int, like: Tensor) -> State:
        """Zero state, with dtype and device of `like`."""
        return tuple(like.new_zeros(networks, batch, units) for _ in self.bounds)

    def step(self, weights: Any, state: State, drive: Tensor) -> State:
        """One time step, written as the definition reads.

        Args:
            drive: W x + b, (networks, batch or 1, gates * units).
        """
        raise NotImplementedError

    def advance(self, weights: Any, state: State, x: Tensor) -> State:
        """`step` under input x, (networks, batch, inputs), for roll-outs without gradients."""
        return self.step(weights, state, self.drive(weights, x))

    def observe(self, state: State) -> State:
        """The tensors whose change in one step is the speed; h stands first."""
        return state

    def reach(self, weights: Any, drive: Tensor) -> State:
        """Moduli that no coordinate of a fixed point exceeds under a held drive; like a state, (networks, 1, units).

        The bounds of the state, unless a cell knows better what the weights allow.

        Args:
            drive: W x + b, (networks, 1, gates * units).
        """
        zero = self.initial_state(len(drive), 1, drive.shape[2] // self.gates, drive)
        return tuple(torch.full_like(part, bound) for part, bound in zip(zero, self.bounds, strict=True))

    def unroll(
        self, weights: Any, drive: Tensor, index: Tensor | None = None, products: torch.dtype | None = None
    ) -> Tensor:
        """Hidden states of whole trials from the zero state, differentiable with respect to weights and drive.

        Args:
            weights: whose inputs and bias have no part in it.
            drive: W x + b of every step, (networks, time, batch, gates * units); or, where trials share frames, a
                table of drives, (networks, rows, gates * units).
            index: int64, (networks, time, batch), row of the table that drives a trial at a step; None without table.
            products: type to which factors and results of recurrent products are rounded, if shorter than the drive's;
                a cell without an unrolling of its own ignores it.
        Returns:
            h after each step, (networks, time, batch, units).
        """
        return plain_unroll(self, weights, drive, index)

    def sequence(self, weights: Any, x: Tensor) -> Tensor:
        """`unroll` under inputs x, (networks, time, batch, inputs)."""
        return self.unroll(weights, self.drive(weights, x.flatten(1, 2)).unflatten(1, x.shape[1:3]))

    def squared_speed(self, weights: Any, drive: Tensor, points: int) -> SquaredSpeed:
        """S^2, (networks, points), and its gradient with respect to the state, as a function of the state.

        Made once for the many steps of a search; each call may write over what the last one returned.

        Args:
            drive: as for `step`.
            points: number of states of each network.
        """
        return lambda state: squared_speed_gradient(
            lambda leaves: self.step(weights, leaves, drive), self.observe, state
        )

    def squared_speed_gradient(self, weights: Any, state: State, drive: Tensor) -> tuple[Tensor, State]:
        """`squared_speed` of one state."""
        with torch.no_grad():
            return self.squared_speed(weights, drive, state[0].shape[1])(state)

    def jacobian(self, weights: Any, state: State, drive: Tensor) -> Tensor:
        """Derivative of the next state with respect to the state, at every state; arguments as for `step`.

        Returns:
            (networks, points, n, n), entry [i, j] the derivative of the next state's i-th number with respect to the
            state's j-th; n = units, for an LSTM 2 units, h before c.
        """
        parts = len(state)

        def step(weights: Any, joined: Tensor, drive: Tensor) -> Tensor:
            """One step of one state of one network."""
            one = joined.view(parts, 1, 1, -1).unbind(0)
            own = self.weights_type(*(part.unsqueeze(0) for part in weights))
            return torch.cat(self.step(own, one, drive.view(1, 1, -1)), -1).flatten()

        each_network = torch.func.vmap(torch.func.vmap(torch.func.jacrev(step, 1), (None, 0, 0)))
        return each_network(weights, torch.cat(state, -1), drive.expand(-1, state[0].shape[1], -1))


def plain_unroll(cell: Cell, weights: Any, drive: Tensor, index: Tensor | None = None) -> Tensor:
    """`Cell.unroll` as a loop over `Cell.step` under automatic differentiation: the reference for faster ones."""
    batch = drive.shape[2] if index is None else index.shape[2]
    start = cell.initial_state(drive.shape[0], batch, drive.shape[-1] // cell.gates, drive)
    return unroll_from(cell, weights, start, drive, index)[0]


def unroll_from(
    cell: Cell, weights: Any, start: State, drive: Tensor, index: Tensor | None = None
) -> tuple[Tensor, State]:
    """`plain_unroll` from any state, each part (networks, batch, units); with the state after the last step."""
    if index is not None:
        drive = drive.flatten(0, 1)[table_rows(drive, index)]
    state, hidden = start, []
    for drive_t in drive.unbind(1):
        state = cell.step(weights, state, drive_t)
        hidden.append(state[0])
    return torch.stack(hidden, 1), state


def squared_change(cell: Cell, before: State, after: State) -> Tensor:
    """Squared speed of a move between two states, (networks, points)."""
    return squared_distance(cell.observe(before), cell.observe(after))


def squared_distance(before: State, after: State) -> Tensor:
    """Squared Euclidean distance of what is observed of two states, each part (..., units); (...)."""
    return torch.stack([(new - old).square().sum(-1) for new, old in zip(after, before, strict=True)]).sum(0)


def squared_speed_gradient(
    step: Callable[[State], State], observe: Callable[[State], State], state: State
) -> tuple[Tensor, State]:
    """S^2 of every state, (...), and its gradient with respect to the state, by automatic differentiation.

    Args:
        step: a map's step under held inputs.
        observe: the tensors whose change is the speed.
        state: each part (..., units); states must not act on each other.
    """
    with torch.enable_grad():
        leaves = tuple(part.detach().requires_grad_() for part in state)
        squared = squared_distance(observe(leaves), observe(step(leaves)))
        gradient = torch.autograd.grad(squared.sum(), leaves, materialize_grads=True)
    return squared.detach(), gradient


def speed(cell: Cell, weights: Any, state: State, x: Tensor) -> Tensor:
    """Distance a state moves in one step under a held input (docs/method.md, Speed): the one definition.

    Args:
        cell: architecture of the ensemble.
        weights: its recurrent layer.
        state: h, or (h, c) for an LSTM, each (networks, points, units).
        x: held input in pixel units, (networks, 1, inputs).
    Returns:
        (networks, points), Euclidean norm per time step; neither squared nor halved.
    Raises:
        ValueError: a state is not finite, or shapes disagree.
    Source: Haviv et al. 2019; definition as in their published search.
    """
    check_state(cell, weights, state, x)
    return squared_change(cell, state, cell.step(weights, state, cell.drive(weights, x))).sqrt()


def check_state(cell: Cell, weights: Any, state: State, x: Tensor) -> None:
    """Refuse states that are not finite or do not fit the weights and the held input.

    Raises:
        ValueError: with both shapes, or with the number of states that are not finite.
    """
    networks, units = len(weights.bias), weights.bias.shape[1] // cell.gates
    for part in state:
        if part.ndim != 3 or part.shape[0] != networks or part.shape[2] != units:
            raise ValueError(f"state has shape {tuple(part.shape)}; the weights want ({networks}, points, {units})")
        if part.shape != state[0].shape:
            raise ValueError(f"h has shape {tuple(state[0].shape)}, but another part of the state {tuple(part.shape)}")
        if not part.isfinite().all():
            bad = int((~part.isfinite().all(-1)).sum())
            raise ValueError(
                f"{bad} of {part.shape[0] * part.shape[1]} states are not finite; a search cannot use them"
            )
    if tuple(x.shape) != (networks, 1, weights.inputs.shape[1]):
        raise ValueError(
            f"held input has shape {tuple(x.shape)}; the weights want {(networks, 1, weights.inputs.shape[1])}"
        )
