"""Recurrent cells for ensembles of networks: one step, a whole sequence, and the speed of a state.

A cell maps a state and a drive to the next state. The drive is the input's share of the gates' preactivations,
W x + b, so that it can be computed for all time steps in one product. Every tensor has a leading axis "networks".
A new cell is a subclass of `Cell` with `gates`, `initial_state` and `step`, entered in `CELLS`; automatic
differentiation then gives it sequences and speed gradients. GRU and LSTM have both in closed form, from one
`forward` and one `backward` of a single step each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

# One pass each for y (1 - y) and 1 - y^2 times a gradient.
sigmoid_backward = torch.ops.aten.sigmoid_backward
tanh_backward = torch.ops.aten.tanh_backward

State = tuple[Tensor, ...]
StepMap = Callable[[State, Tensor], State]


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

    def drive(self, x: Tensor) -> Tensor:
        """W x + b of inputs (networks, batch, inputs), (networks, batch, gates * units)."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.inputs)


def _tanh_(x: Tensor) -> Tensor:
    # 2 s(2x) - 1 is tanh to rounding and three times as fast as torch's tanh on a CPU.
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


class Cell:
    """One recurrent architecture.

    Attributes:
        name: key in `CELLS`.
        gates: number of blocks of `units` columns in the weights and the drive.
    """

    name: str
    gates: int

    def initial_state(self, networks: int, batch: int, units: int, like: Tensor) -> State:
        """Zero state, each tensor (networks, batch, units), with dtype and device of `like`."""
        return (like.new_zeros(networks, batch, units),)

    def step(self, recurrent: Tensor, state: State, drive: Tensor) -> State:
        """One time step, written as the definition reads.

        Args:
            recurrent: (networks, units, gates * units).
            state: h, or (h, c) for an LSTM, each (networks, batch, units).
            drive: W x + b, (networks, batch or 1, gates * units).
        """
        raise NotImplementedError

    def advance(self, weights: Weights, state: State, x: Tensor) -> State:
        """`step` under input x, (networks, batch, inputs), for roll-outs without gradients."""
        return self.step(weights.recurrent, state, weights.drive(x))

    def observe(self, state: State) -> State:
        """The tensors whose change in one step is the speed; h stands first."""
        return state

    def sequence(self, weights: Weights, x: Tensor) -> Tensor:
        """Hidden states of whole trials from the zero state, differentiable with respect to weights and x.

        Args:
            x: inputs, (networks, time, batch, inputs).
        Returns:
            h after each step, (networks, time, batch, units).
        """
        return plain_sequence(self, weights, x)

    def squared_speed_gradient(self, recurrent: Tensor, state: State, drive: Tensor) -> tuple[Tensor, State]:
        """S^2 of every state, (networks, points), and its gradient with respect to the state."""
        with torch.enable_grad():
            leaves = tuple(part.detach().requires_grad_() for part in state)
            squared = squared_change(self, leaves, self.step(recurrent, leaves, drive))
            gradient = torch.autograd.grad(squared.sum(), leaves)
        return squared.detach(), gradient


def plain_sequence(cell: Cell, weights: Weights, x: Tensor) -> Tensor:
    """`Cell.sequence` as a loop over `Cell.step` under automatic differentiation: the reference for faster ones."""
    state = cell.initial_state(x.shape[0], x.shape[2], weights.recurrent.shape[1], x)
    hidden = []
    for t in range(x.shape[1]):
        state = cell.step(weights.recurrent, state, weights.drive(x[:, t]))
        hidden.append(state[0])
    return torch.stack(hidden, 1)


def squared_change(cell: Cell, before: State, after: State) -> Tensor:
    """Squared speed of a move between two states, (networks, points)."""
    pairs = zip(cell.observe(after), cell.observe(before), strict=True)
    return torch.stack([(new - old).square().sum(-1) for new, old in pairs]).sum(0)


class GRU(Cell):
    """Gated recurrent unit with the reset gate before the recurrent product (Cho et al. 2014).

    Columns of weights and drive: update z, reset r, candidate n. `torch.nn.GRU` applies r after the product and
    swaps the roles of z and 1 - z.
    """

    name = "gru"
    gates = 3

    def step(self, recurrent: Tensor, state: State, drive: Tensor) -> State:
        (h,) = state
        z_drive, r_drive, n_drive = drive.chunk(3, -1)
        z_weight, r_weight, n_weight = recurrent.chunk(3, -1)
        z = torch.sigmoid(z_drive + h @ z_weight)
        r = torch.sigmoid(r_drive + h @ r_weight)
        n = torch.tanh(n_drive + (r * h) @ n_weight)
        return ((1 - z) * h + z * n,)

    def advance(self, weights: Weights, state: State, x: Tensor) -> State:
        (h,) = state
        zr, n, _ = _gru_gates_(h, *_split(weights.drive(x), 2), *_split(weights.recurrent, 2))
        return (torch.lerp(h, n, zr[..., : h.shape[-1]]),)

    def sequence(self, weights: Weights, x: Tensor) -> Tensor:
        return _GRUSequence.apply(*weights, x)

    def squared_speed_gradient(self, recurrent: Tensor, state: State, drive: Tensor) -> tuple[Tensor, State]:
        (h,) = state
        zr_weight, n_weight = _split(recurrent, 2)
        drive = drive.expand(-1, h.shape[1], -1).clone()
        zr, n, _ = _gru_gates_(h, *_split(drive, 2), zr_weight, n_weight)
        change = zr[..., : h.shape[-1]] * (n - h)
        _, da_zr, dh = _gru_backward(change, h, zr, n, zr_weight, n_weight)
        dh = torch.baddbmm(dh, da_zr, zr_weight.transpose(1, 2))
        return change.square().sum(-1), ((dh - change).mul_(2),)


def _split(columns: Tensor, gates: int) -> tuple[Tensor, Tensor]:
    """The first `gates` blocks of columns (the logistic gates) and the last block (the candidate)."""
    units = columns.shape[-1] // (gates + 1)
    return columns[..., : gates * units], columns[..., gates * units :]


def _gru_gates_(
    h: Tensor, zr: Tensor, n: Tensor, zr_weight: Tensor, n_weight: Tensor, out_rh: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the drives of (z, r) and n, in place, into the gates; also returns r * h."""
    zr.baddbmm_(h, zr_weight).sigmoid_()
    rh = torch.mul(zr[..., h.shape[-1] :], h, out=out_rh)
    _tanh_(n.baddbmm_(rh, n_weight))
    return zr, n, rh


def _gru_backward(
    dh: Tensor, h: Tensor, zr: Tensor, n: Tensor, zr_weight: Tensor, n_weight: Tensor,
    out_n: Tensor | None = None, out_zr: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of one GRU step: of the preactivations of n and of (z, r), and of h but for the product with zr_weight.

    Args:
        dh: gradient with respect to the step's result; (networks, batch, units), as h and n.
        zr: the two gates after the logistic function, (networks, batch, 2 * units).
    """
    units = h.shape[-1]
    z, r = zr[..., :units], zr[..., units:]
    da_n = torch.empty_like(n) if out_n is None else out_n
    da_zr = torch.empty_like(zr) if out_zr is None else out_zr
    tanh_backward(dh * z, n, grad_input=da_n)
    d_rh = da_n @ n_weight.transpose(1, 2)
    sigmoid_backward(dh * (n - h), z, grad_input=da_zr[..., :units])
    sigmoid_backward(d_rh * h, r, grad_input=da_zr[..., units:])
    return da_n, da_zr, d_rh.mul_(r).add_(dh).addcmul_(dh, z, value=-1)


class _GRUSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        networks, steps, batch, _ = x.shape
        units = recurrent.shape[1]
        weights = _split(recurrent, 2)
        zr_all, n_all = _project(x, inputs, bias, 2)
        h_all = x.new_zeros(networks, steps + 1, batch, units)
        rh_all = x.new_empty(networks, steps, batch, units)
        for t in range(steps):
            zr, n, _ = _gru_gates_(h_all[:, t], zr_all[:, t], n_all[:, t], *weights, out_rh=rh_all[:, t])
            torch.lerp(h_all[:, t], n, zr[..., :units], out=h_all[:, t + 1])
        ctx.save_for_backward(inputs, recurrent, x, zr_all, n_all, h_all, rh_all)
        return h_all[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        inputs, recurrent, x, zr_all, n_all, h_all, rh_all = ctx.saved_tensors
        zr_weight, n_weight = _split(recurrent, 2)
        drive_grad = x.new_empty(*x.shape[:3], recurrent.shape[2])
        da_zr_all, da_n_all = _split(drive_grad, 2)
        dh = grad[:, -1]
        for t in range(n_all.shape[1] - 1, -1, -1):
            _, da_zr, dh = _gru_backward(
                dh, h_all[:, t], zr_all[:, t], n_all[:, t], zr_weight, n_weight, da_n_all[:, t], da_zr_all[:, t]
            )
            if t:
                dh.baddbmm_(da_zr, zr_weight.transpose(1, 2)).add_(grad[:, t - 1])
        flat = drive_grad.flatten(1, 2)
        recurrent_grad = torch.empty_like(recurrent)
        before = h_all[:, :-1].flatten(1, 2)
        for factor, gate_grad, out in zip(
            (before, rh_all.flatten(1, 2)), _split(flat, 2), _split(recurrent_grad, 2), strict=True
        ):
            torch.bmm(factor.transpose(1, 2), gate_grad, out=out)
        return _input_gradients(ctx, inputs, x, flat, recurrent_grad)


def _project(x: Tensor, inputs: Tensor, bias: Tensor, gates: int) -> tuple[Tensor, Tensor]:
    """Drives of all steps, apart for logistic gates and candidate, each (networks, time, batch, columns)."""
    flat = x.flatten(1, 2)
    parts = zip(_split(bias.unsqueeze(1), gates), _split(inputs, gates), strict=True)
    first, second = (torch.baddbmm(b, flat, w).unflatten(1, x.shape[1:3]) for b, w in parts)
    return first, second


def _input_gradients(
    ctx: Any, inputs: Tensor, x: Tensor, flat: Tensor, recurrent_grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients in the order of a sequence's arguments; `flat` is the drive's, (networks, time * batch, columns)."""
    x_grad = (flat @ inputs.transpose(1, 2)).unflatten(1, x.shape[1:3]) if ctx.needs_input_grad[3] else None
    return x.flatten(1, 2).transpose(1, 2) @ flat, recurrent_grad, flat.sum(1), x_grad


class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gate); the state is (h, c).

    Columns of weights and drive: forget f, input i, output o, candidate g.
    """

    name = "lstm"
    gates = 4

    def initial_state(self, networks: int, batch: int, units: int, like: Tensor) -> State:
        return like.new_zeros(networks, batch, units), like.new_zeros(networks, batch, units)

    def step(self, recurrent: Tensor, state: State, drive: Tensor) -> State:
        h, c = state
        f, i, o, g = (drive + h @ recurrent).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def observe(self, state: State) -> State:
        h, c = state
        return h, torch.tanh(c)

    def advance(self, weights: Weights, state: State, x: Tensor) -> State:
        h, c = state
        fio, g = _lstm_gates_(h, *_split(weights.drive(x), 3), *_split(weights.recurrent, 3))
        f, i, o = fio.chunk(3, -1)
        c = torch.addcmul(i * g, f, c)
        return o * _tanh_(c.clone()), c

    def sequence(self, weights: Weights, x: Tensor) -> Tensor:
        return _LSTMSequence.apply(*weights, x)

    def squared_speed_gradient(self, recurrent: Tensor, state: State, drive: Tensor) -> tuple[Tensor, State]:
        h, c = state
        drive = drive.expand(-1, h.shape[1], -1).clone()
        fio, g = _lstm_gates_(h, *_split(drive, 3), *_split(recurrent, 3))
        f, i, o = fio.chunk(3, -1)
        new_tanh, old_tanh = torch.addcmul(i * g, f, c).tanh(), c.tanh()
        h_change = o * new_tanh - h
        tanh_change = new_tanh - old_tanh
        da = torch.empty_like(drive)
        dc = _lstm_backward(h_change, tanh_change * (1 - new_tanh.square()), c, new_tanh, fio, g, *_split(da, 3))
        dc -= tanh_change * (1 - old_tanh.square())
        dh = torch.baddbmm(h_change, da, recurrent.transpose(1, 2), beta=-1)
        squared = h_change.square().sum(-1) + tanh_change.square().sum(-1)
        return squared, (dh.mul_(2), dc.mul_(2))


def _lstm_gates_(h: Tensor, fio: Tensor, g: Tensor, fio_weight: Tensor, g_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the drives of (f, i, o) and g, in place, into the gates."""
    return fio.baddbmm_(h, fio_weight).sigmoid_(), _tanh_(g.baddbmm_(h, g_weight))


def _lstm_backward(
    dh: Tensor, dc: Tensor, c: Tensor, new_tanh: Tensor, fio: Tensor, g: Tensor, out_fio: Tensor, out_g: Tensor
) -> Tensor:
    """Gradient of one LSTM step with respect to c; those of the preactivations are written into the two outs.

    Args:
        dh: gradient with respect to the step's h, (networks, batch, units), as dc (its c; changed in place),
            c (before the step), new_tanh (tanh of c after it) and g (the candidate).
        fio: the three gates after the logistic function, (networks, batch, 3 * units).
    """
    f, i, o = fio.chunk(3, -1)
    df, di, do = out_fio.chunk(3, -1)
    dc.add_(tanh_backward(dh * o, new_tanh))
    sigmoid_backward(dc * c, f, grad_input=df)
    sigmoid_backward(dc * g, i, grad_input=di)
    sigmoid_backward(dh * new_tanh, o, grad_input=do)
    tanh_backward(dc * i, g, grad_input=out_g)
    return dc.mul_(f)


class _LSTMSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        networks, steps, batch, _ = x.shape
        units = recurrent.shape[1]
        weights = _split(recurrent, 3)
        fio_all, g_all = _project(x, inputs, bias, 3)
        h_all = x.new_zeros(networks, steps + 1, batch, units)
        c_all = x.new_zeros(networks, steps + 1, batch, units)
        tanh_all = x.new_empty(networks, steps, batch, units)
        for t in range(steps):
            fio, g = _lstm_gates_(h_all[:, t], fio_all[:, t], g_all[:, t], *weights)
            f, i, o = fio.chunk(3, -1)
            c = torch.mul(i, g, out=c_all[:, t + 1]).addcmul_(f, c_all[:, t])
            torch.mul(o, _tanh_(tanh_all[:, t].copy_(c)), out=h_all[:, t + 1])
        ctx.save_for_backward(inputs, recurrent, x, fio_all, g_all, h_all, c_all, tanh_all)
        return h_all[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        inputs, recurrent, x, fio_all, g_all, h_all, c_all, tanh_all = ctx.saved_tensors
        drive_grad = x.new_empty(*x.shape[:3], recurrent.shape[2])
        dh = grad[:, -1]
        dc = torch.zeros_like(c_all[:, 0])
        for t in range(g_all.shape[1] - 1, -1, -1):
            da = drive_grad[:, t]
            dc = _lstm_backward(dh, dc, c_all[:, t], tanh_all[:, t], fio_all[:, t], g_all[:, t], *_split(da, 3))
            if t:
                dh = torch.baddbmm(grad[:, t - 1], da, recurrent.transpose(1, 2))
        flat = drive_grad.flatten(1, 2)
        before = h_all[:, :-1].flatten(1, 2)
        return _input_gradients(ctx, inputs, x, flat, before.transpose(1, 2) @ flat)


CELLS: dict[str, Cell] = {cell.name: cell for cell in (GRU(), LSTM())}


def speed(cell: Cell, weights: Weights, state: State, x: Tensor) -> Tensor:
    """Distance a state moves in one step under a held input (section 7 of the science): the one definition.

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
    check_state(weights, state, x)
    return squared_change(cell, state, cell.step(weights.recurrent, state, weights.drive(x))).sqrt()


def check_state(weights: Weights, state: State, x: Tensor) -> None:
    """Refuse states that are not finite or do not fit the weights and the held input.

    Raises:
        ValueError: with both shapes, or with the number of states that are not finite.
    """
    networks, units, _ = weights.recurrent.shape
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
