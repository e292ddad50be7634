"""Recurrent cells for ensembles of networks: one step, a whole sequence, and the speed of a state.

A cell maps a state and a drive to the next state. The drive is the input's share of the gates' preactivations,
W x + b, so that it can be computed for all time steps in one product. Every tensor has a leading axis "networks".
A new cell is a subclass of `Cell` with `gates`, `initial_state` and `step`, entered in `CELLS`; automatic
differentiation then gives it sequences and speed gradients. GRU and LSTM have both in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        z, _, n, _ = _gru_gates(h, weights.recurrent, weights.drive(x))
        return (torch.lerp(h, n, z),)

    def sequence(self, weights: Weights, x: Tensor) -> Tensor:
        return _GRUSequence.apply(*weights, x)

    def squared_speed_gradient(self, recurrent: Tensor, state: State, drive: Tensor) -> tuple[Tensor, State]:
        (h,) = state
        units = h.shape[-1]
        z, r, n, zr = _gru_gates(h, recurrent, drive)
        change = z * (n - h)
        d_rh = tanh_backward(change * z, n) @ recurrent[..., 2 * units :].mT
        d_zr = sigmoid_backward(torch.cat([(n - h).mul_(change), d_rh * h], -1), zr)
        dh = torch.baddbmm(d_rh.mul_(r).addcmul_(change, z, value=-1), d_zr, recurrent[..., : 2 * units].mT)
        return change.square().sum(-1), (dh.mul_(2),)


def _gru_gates(h: Tensor, recurrent: Tensor, drive: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, r, n and (z, r) of one step from the state h, (networks, batch, units)."""
    units = h.shape[-1]
    zr = (drive[..., : 2 * units] + h @ recurrent[..., : 2 * units]).sigmoid_()
    z, r = zr.chunk(2, -1)
    n = torch.tanh(drive[..., 2 * units :] + (r * h) @ recurrent[..., 2 * units :])
    return z, r, n, zr


# Sequences. A step costs as much in calls as in arithmetic, so a loop over time makes as few as it can: one product
# with the inputs and the state stacked; views made beforehand; in the backward loop only what depends on later steps,
# every other factor computed for all steps at once. Everything is (time, networks, units, batch): a gate of a network
# lies in one piece. Candidates come doubled, as 2 s(2a) - 1 = tanh a is cheaper than tanh and doubling is exact.


def _stack_inputs(x: Tensor, steps: int, units: int) -> Tensor:
    """Room for inputs above states, (steps, networks, inputs + units, batch), the inputs filled in."""
    networks, time, batch, inputs = x.shape
    stacked = x.new_zeros(steps, networks, inputs + units, batch)
    stacked[:time, :, :inputs] = x.permute(1, 0, 3, 2)
    return stacked


def _stack_weights(inputs: Tensor, recurrent: Tensor) -> Tensor:
    """Weights of inputs above states, (networks, columns, inputs + units)."""
    return torch.cat([inputs, recurrent], 1).mT.contiguous()


def _by_network(values: Tensor) -> Tensor:
    """(time, networks, units, batch) as (networks, units, time * batch)."""
    return values.permute(1, 2, 0, 3).flatten(2)


def _back_in_time(*series: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Steps of several (time, ...) tensors together, from the last to the first."""
    return zip(*(reversed(each.unbind()) for each in series), strict=True)


class _GRUSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        (_, steps, _, width), units = x.shape, recurrent.shape[1]
        weight = _stack_weights(inputs, recurrent)
        weight[:, 2 * units :] *= 2
        zr_weight, n_weight = weight.split([2 * units, units], 1)
        zr_bias, n_bias = bias[:, : 2 * units, None], bias[:, 2 * units :, None] * 2
        xh = _stack_inputs(x, steps + 1, units)  # x above h, before every step
        xr = xh[:-1].clone()  # x above r * h
        h, rh = xh[:, :, width:], xr[:, :, width:]
        zr = torch.empty_like(h[:-1]).repeat(1, 1, 2, 1)
        n = torch.empty_like(h[:-1])
        z, r = zr.chunk(2, 2)
        h_t = h.unbind()
        minus_one = n.new_full((), -1)
        series = (xh[:-1], xr, rh, zr, z, r, n)
        for before, after, xh_t, xr_t, rh_t, zr_t, z_t, r_t, n_t in zip(
            h_t[:-1], h_t[1:], *(each.unbind() for each in series), strict=True
        ):
            torch.baddbmm(zr_bias, zr_weight, xh_t, out=zr_t).sigmoid_()
            torch.mul(r_t, before, out=rh_t)
            torch.baddbmm(n_bias, n_weight, xr_t, out=n_t).sigmoid_()
            torch.add(minus_one, n_t, alpha=2, out=n_t)
            torch.lerp(before, n_t, z_t, out=after)
        ctx.save_for_backward(inputs, recurrent, xh, xr, zr, n)
        return h[1:].permute(1, 0, 3, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        inputs, recurrent, xh, xr, zr, n = ctx.saved_tensors
        units, width = recurrent.shape[1], inputs.shape[1]
        zr_weight, n_weight = recurrent[..., : 2 * units].contiguous(), recurrent[..., 2 * units :].contiguous()
        z, r = zr.chunk(2, 2)
        h = xh[:-1, :, width:]
        n_slope = tanh_backward(z, n)  # of h after the step with respect to the preactivation of n; so z_slope
        z_slope = sigmoid_backward(n - h, z)
        r_slope = sigmoid_backward(h, r)  # of r * h
        keep = 1 - z
        da_zr, da_n = torch.empty_like(zr), torch.empty_like(n)
        series = (n_slope, z_slope, r_slope, keep, r, da_zr, *da_zr.chunk(2, 2), da_n)
        grad = grad.permute(1, 0, 3, 2).contiguous()
        dh = grad[-1]
        earlier = torch.cat([torch.zeros_like(grad[:1]), grad[:-1]])
        for into, n_s, z_s, r_s, keep_t, r_t, out_zr, out_z, out_r, out_n in _back_in_time(earlier, *series):
            torch.mul(dh, n_s, out=out_n)
            d_rh = torch.bmm(n_weight, out_n)
            torch.mul(dh, z_s, out=out_z)
            torch.mul(d_rh, r_s, out=out_r)
            dh = into.addcmul_(dh, keep_t).addcmul_(d_rh, r_t).baddbmm_(zr_weight, out_zr)
        flat_zr, flat_n = _by_network(da_zr), _by_network(da_n)
        weight_grad = torch.cat([_by_network(xh[:-1]) @ flat_zr.mT, _by_network(xr) @ flat_n.mT], -1)
        return _gradients(ctx, inputs, weight_grad, torch.cat([flat_zr, flat_n], 1), grad.shape)


def _gradients(
    ctx: Any, inputs: Tensor, weight_grad: Tensor, da: Tensor, shape: torch.Size
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients in the order of a sequence's arguments.

    Args:
        weight_grad: of the weights of inputs above states, (networks, inputs + units, columns).
        da: of the preactivations, (networks, columns, time * batch).
        shape: (time, networks, units, batch).
    """
    width = inputs.shape[1]
    x_grad = (inputs @ da).mT.unflatten(1, (shape[0], shape[3])) if ctx.needs_input_grad[3] else None
    return weight_grad[:, :width], weight_grad[:, width:], da.sum(2), x_grad


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

    def sequence(self, weights: Weights, x: Tensor) -> Tensor:
        return _LSTMSequence.apply(*weights, x)

    def squared_speed_gradient(self, recurrent: Tensor, state: State, drive: Tensor) -> tuple[Tensor, State]:
        h, c = state
        f, i, o, g = (drive + h @ recurrent).chunk(4, -1)
        f, i, o, g = f.sigmoid(), i.sigmoid(), o.sigmoid(), g.tanh()
        new_tanh, old_tanh = torch.addcmul(i * g, f, c).tanh(), c.tanh()
        h_change, tanh_change = o * new_tanh - h, new_tanh - old_tanh
        dc = tanh_backward(tanh_change.addcmul(h_change, o), new_tanh)
        da = torch.cat(
            [
                sigmoid_backward(dc * c, f),
                sigmoid_backward(dc * g, i),
                sigmoid_backward(h_change * new_tanh, o),
                tanh_backward(dc * i, g),
            ],
            -1,
        )
        dh = torch.baddbmm(h_change, da, recurrent.mT, beta=-1)
        dc = dc.mul_(f).sub_(tanh_backward(tanh_change, old_tanh))
        squared = h_change.square().sum(-1) + tanh_change.square().sum(-1)
        return squared, (dh.mul_(2), dc.mul_(2))


class _LSTMSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        (_, steps, _, width), units = x.shape, recurrent.shape[1]
        candidate = slice(3 * units, 4 * units)
        weight = _stack_weights(inputs, recurrent)
        weight[:, candidate] *= 2
        bias = bias.unsqueeze(-1).clone()
        bias[:, candidate] *= 2
        xh = _stack_inputs(x, steps + 1, units)  # x above h, before every step
        h = xh[:, :, width:]
        c = torch.zeros_like(h)
        new_tanh = torch.empty_like(h[1:])
        gates = torch.empty_like(new_tanh).repeat(1, 1, 4, 1)
        minus_one = x.new_full((), -1)
        h_t, c_t = h.unbind(), c.unbind()
        series = (xh[:-1], gates, *gates.chunk(4, 2), new_tanh)
        for h_after, c_before, c_after, xh_t, gates_t, f, i, o, g, new_tanh_t in zip(
            h_t[1:], c_t[:-1], c_t[1:], *(each.unbind() for each in series), strict=True
        ):
            torch.baddbmm(bias, weight, xh_t, out=gates_t).sigmoid_()
            torch.add(minus_one, g, alpha=2, out=g)
            torch.mul(i, g, out=c_after).addcmul_(f, c_before)
            torch.add(minus_one, torch.mul(c_after, 2, out=new_tanh_t).sigmoid_(), alpha=2, out=new_tanh_t)
            torch.mul(o, new_tanh_t, out=h_after)
        ctx.save_for_backward(inputs, recurrent, xh, gates, c, new_tanh)
        return h[1:].permute(1, 0, 3, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        inputs, recurrent, xh, gates, c, new_tanh = ctx.saved_tensors
        units = recurrent.shape[1]
        f, i, o, g = gates.chunk(4, 2)
        # Of c after the step with respect to the preactivations of f and i, one above the other, and of g.
        fi_slope = torch.cat([sigmoid_backward(c[:-1], f), sigmoid_backward(g, i)], 2).unflatten(2, (2, units))
        g_slope = tanh_backward(i, g)
        c_slope = tanh_backward(o, new_tanh)  # of h with respect to c
        o_slope = sigmoid_backward(new_tanh, o)  # of h with respect to the preactivation of o
        da = torch.empty_like(gates)
        da_fi, da_o, da_g = da.split([2 * units, units, units], 2)
        grad = grad.permute(1, 0, 3, 2).contiguous()
        dh, dc = grad[-1], torch.zeros_like(c[0])
        earlier = torch.cat([torch.zeros_like(grad[:1]), grad[:-1]])
        series = (earlier, c_slope, fi_slope, o_slope, g_slope, f, da, da_fi.unflatten(2, (2, units)), da_o, da_g)
        for into, c_s, fi_s, o_s, g_s, f_t, da_t, out_fi, out_o, out_g in _back_in_time(*series):
            dc.addcmul_(dh, c_s)
            torch.mul(dc.unsqueeze(1), fi_s, out=out_fi)
            torch.mul(dh, o_s, out=out_o)
            torch.mul(dc, g_s, out=out_g)
            dc.mul_(f_t)
            dh = into.baddbmm_(recurrent, da_t)
        flat = _by_network(da)
        return _gradients(ctx, inputs, _by_network(xh[:-1]) @ flat.mT, flat, grad.shape)


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
