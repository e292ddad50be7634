"""Recurrent cells for ensembles of networks: one step, a whole sequence, and the speed of a state.

A cell maps a state and a drive to the next state. The drive is the input's share of the gates' preactivations,
W x + b, so that it can be computed for all time steps in one product. Every tensor has a leading axis "networks".
A new cell is a subclass of `Cell` with `gates`, `initial_state` and `step`, entered in `CELLS`; automatic
differentiation then gives it sequences, speed gradients and Jacobians. GRU and LSTM have all three in closed form.
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

    def reach(self, recurrent: Tensor, drive: Tensor) -> State:
        """Moduli that no coordinate of a fixed point exceeds under a held drive; like a state, (networks, 1, units).

        Args:
            recurrent: (networks, units, gates * units).
            drive: W x + b, (networks, 1, gates * units).
        Returns:
            1 for h, which is a mean of hyperbolic tangents or a part of one; further parts of a state are free unless a
            cell says otherwise.
        """
        h, *others = self.initial_state(recurrent.shape[0], 1, recurrent.shape[1], drive)
        return torch.ones_like(h), *(torch.full_like(part, torch.inf) for part in others)

    def unroll(
        self, recurrent: Tensor, drive: Tensor, index: Tensor | None = None, products: torch.dtype | None = None
    ) -> Tensor:
        """Hidden states of whole trials from the zero state, differentiable with respect to `recurrent` and `drive`.

        Args:
            recurrent: (networks, units, gates * units).
            drive: W x + b of every step, (networks, time, batch, gates * units); or, where trials share frames, a
                table of drives, (networks, rows, gates * units).
            index: int64, (networks, time, batch), row of the table that drives a trial at a step; None without table.
            products: type to which factors and results of recurrent products are rounded, if shorter than the drive's;
                a cell without an unrolling of its own ignores it.
        Returns:
            h after each step, (networks, time, batch, units).
        """
        return plain_unroll(self, recurrent, drive, index)

    def sequence(self, weights: Weights, x: Tensor) -> Tensor:
        """`unroll` under inputs x, (networks, time, batch, inputs)."""
        return self.unroll(weights.recurrent, weights.drive(x.flatten(1, 2)).unflatten(1, x.shape[1:3]))

    def squared_speed(self, recurrent: Tensor, drive: Tensor, points: int) -> SquaredSpeed:
        """S^2, (networks, points), and its gradient with respect to the state, as a function of the state.

        Made once for the many steps of a search; each call may write over what the last one returned.

        Args:
            recurrent, drive: as for `step`.
            points: number of states of each network.
        """
        return lambda state: squared_speed_gradient(
            lambda leaves: self.step(recurrent, leaves, drive), self.observe, state
        )

    def squared_speed_gradient(self, recurrent: Tensor, state: State, drive: Tensor) -> tuple[Tensor, State]:
        """`squared_speed` of one state."""
        with torch.no_grad():
            return self.squared_speed(recurrent, drive, state[0].shape[1])(state)

    def jacobian(self, recurrent: Tensor, state: State, drive: Tensor) -> Tensor:
        """Derivative of the next state with respect to the state, at every state.

        Args:
            recurrent, state, drive: as for `step`.
        Returns:
            (networks, points, n, n), entry [i, j] the derivative of the next state's i-th number with respect to the
            state's j-th; n = units, for an LSTM 2 units, h before c.
        """
        parts = len(state)

        def step(recurrent: Tensor, joined: Tensor, drive: Tensor) -> Tensor:
            """One step of one state of one network."""
            one = joined.view(parts, 1, 1, -1).unbind(0)
            return torch.cat(self.step(recurrent.unsqueeze(0), one, drive.view(1, 1, -1)), -1).flatten()

        each_network = torch.func.vmap(torch.func.vmap(torch.func.jacrev(step, 1), (None, 0, 0)))
        return each_network(recurrent, torch.cat(state, -1), drive.expand(-1, state[0].shape[1], -1))


def plain_unroll(cell: Cell, recurrent: Tensor, drive: Tensor, index: Tensor | None = None) -> Tensor:
    """`Cell.unroll` as a loop over `Cell.step` under automatic differentiation: the reference for faster ones."""
    if index is not None:
        drive = drive.flatten(0, 1)[_rows(drive, index)]
    state = cell.initial_state(drive.shape[0], drive.shape[2], recurrent.shape[1], drive)
    hidden = []
    for drive_t in drive.unbind(1):
        state = cell.step(recurrent, state, drive_t)
        hidden.append(state[0])
    return torch.stack(hidden, 1)


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
        z, _, n, _ = _gru_gates(h, weights.recurrent, weights.drive(x), _tanh_)
        return (torch.lerp(h, n, z),)

    def unroll(
        self, recurrent: Tensor, drive: Tensor, index: Tensor | None = None, products: torch.dtype | None = None
    ) -> Tensor:
        return _GRUUnroll.apply(recurrent, drive, index, products or drive.dtype)

    def squared_speed(self, recurrent: Tensor, drive: Tensor, points: int) -> SquaredSpeed:
        networks, units, _ = recurrent.shape
        parts = [2 * units, units]
        zr_weight, n_weight = (weight.contiguous() for weight in recurrent.split(parts, 2))
        zr_drive, n_drive = (part.contiguous() for part in drive.split(parts, 2))
        zr, d_zr = (drive.new_empty(networks, points, 2 * units) for _ in range(2))
        n, rh, apart, change, d_n, d_rh, dh = (drive.new_empty(networks, points, units) for _ in range(7))
        (z, r), (d_z, d_r) = zr.chunk(2, 2), d_zr.chunk(2, 2)

        def evaluate(state: State) -> tuple[Tensor, State]:
            (h,) = state
            torch.baddbmm(zr_drive, h, zr_weight, out=zr).sigmoid_()
            torch.baddbmm(n_drive, torch.mul(r, h, out=rh), n_weight, out=n).tanh_()
            torch.mul(z, torch.sub(n, h, out=apart), out=change)
            torch.bmm(tanh_backward(torch.mul(change, z, out=d_n), n), n_weight.mT, out=d_rh)
            torch.mul(apart, change, out=d_z)
            torch.mul(d_rh, h, out=d_r)
            d_rh.mul_(r).sub_(d_n)
            torch.baddbmm(d_rh, sigmoid_backward(d_zr, zr), zr_weight.mT, out=dh)
            return change.square().sum(-1), (dh.mul_(2),)

        return evaluate

    def jacobian(self, recurrent: Tensor, state: State, drive: Tensor) -> Tensor:
        (h,) = state
        z, r, n, _ = _gru_gates(h, recurrent, drive, torch.tanh)
        # Entry [j, i] is that of unit i's next value with respect to unit j, up to the end.
        z_weight, r_weight, n_weight = recurrent.unsqueeze(1).chunk(3, -1)
        inner = (r_weight * sigmoid_backward(h, r).unsqueeze(2)) @ n_weight + r.unsqueeze(3) * n_weight
        turned = sigmoid_backward(n - h, z).unsqueeze(2) * z_weight + tanh_backward(z, n).unsqueeze(2) * inner
        turned.diagonal(dim1=2, dim2=3).add_(1 - z)
        return turned.mT


def _tanh_(values: Tensor) -> Tensor:
    """tanh in place as 2 s(2a) - 1, which is several times quicker on a CPU and differs in the last bits."""
    values.mul_(2).sigmoid_()
    return torch.add(values.new_full((), -1), values, alpha=2, out=values)


def _gru_gates(
    h: Tensor, recurrent: Tensor, drive: Tensor, tanh: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, r, n and (z, r) of one step from the state h, (networks, batch, units)."""
    units = h.shape[-1]
    zr = (drive[..., : 2 * units] + h @ recurrent[..., : 2 * units]).sigmoid_()
    z, r = zr.chunk(2, -1)
    n = tanh(drive[..., 2 * units :] + (r * h) @ recurrent[..., 2 * units :])
    return z, r, n, zr


# Unrolling. A step costs as much in calls as in arithmetic, so a loop over time makes as few as it can: views made
# beforehand; in the backward loop only what depends on later steps, every other factor computed for all steps at once.
# Candidates come doubled, as 2 s(2a) - 1 = tanh a is several times cheaper than tanh, and doubling is exact.
# `products` may be a shorter type than the drive's: factors and results of products are rounded to it, nothing else.


def _steps(*series: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Steps of several (networks, time, ...) tensors together."""
    return zip(*(each.unbind(1) for each in series), strict=True)


def _steps_back(*series: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same from the last to the first."""
    return zip(*(reversed(each.unbind(1)) for each in series), strict=True)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Where the rows that `index` (networks, ...) names lie in a table (networks, rows, ...) laid flat."""
    first = torch.arange(table.shape[0], device=index.device) * table.shape[1]
    return index + first.view(-1, *[1] * (index.ndim - 1))


def _drives(drive: Tensor, index: Tensor | None) -> Iterator[Tensor]:
    """Drive of each step, (networks, batch, columns); of a table, the next one takes the place of the last."""
    if index is None:
        yield from drive.unbind(1)
        return
    networks, _, batch = index.shape
    room = drive.new_empty(networks, batch, drive.shape[2])
    table, flat = drive.flatten(0, 1), room.flatten(0, 1)
    for rows in _rows(drive, index).transpose(0, 1).flatten(1):
        torch.index_select(table, 0, rows, out=flat)
        yield room


def _drive_gradient(da: Tensor, drive_shape: torch.Size, index: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Gradient of a drive, or of a table of drives, from that of the preactivations."""
    da = da.to(dtype)
    return da if index is None else sum_rows(_flat(da), index.flatten(1), drive_shape[1])


def sum_rows(values: Tensor, index: Tensor, rows: int) -> Tensor:
    """Sums of those values that belong to a row, always in the same order.

    Args:
        values: (networks, values, columns).
        index: row of each value, (networks, values), int64.
        rows: their number.
    Returns:
        (networks, rows, columns).
    """
    if values.is_cuda:  # there index_add_ sums in whatever order it comes to; a product does not
        row = torch.arange(rows, device=values.device).view(1, -1, 1)
        return torch.bmm((index.unsqueeze(1) == row).to(values.dtype), values)
    table = values.new_zeros(len(values), rows, values.shape[2])
    table.flatten(0, 1).index_add_(0, _rows(table, index).flatten(), values.flatten(0, 1))
    return table


def _add_product(
    base: Tensor, left: Tensor, right: Tensor, room: Tensor | None, out: Tensor, scale: float = 1
) -> Tensor:
    """scale * base + left @ right in the type of base; `room` is where a product of a shorter type goes, else None."""
    if room is None:
        return torch.baddbmm(base, left, right, beta=scale, out=out)
    return torch.add(torch.bmm(left, right, out=room), base, alpha=scale, out=out)


def _flat(values: Tensor) -> Tensor:
    """(networks, time, batch, columns) as (networks, time * batch, columns)."""
    return values.flatten(1, 2)


class _GRUUnroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recurrent: Tensor, drive: Tensor, index: Tensor | None, products: torch.dtype) -> Tensor:
        networks, steps, batch = drive.shape[:3] if index is None else index.shape
        units = recurrent.shape[1]
        short = products != drive.dtype
        zr_weight = recurrent[..., : 2 * units].to(products).contiguous()
        n_weight = (2 * recurrent[..., 2 * units :]).to(products)
        h = drive.new_zeros(networks, steps + 1, batch, units)  # before every step, and after the last
        factor = h.to(products)  # h as products see it
        zr = drive.new_empty(networks, steps, batch, 2 * units)
        n = drive.new_empty(networks, steps, batch, units)
        rh = n.new_empty(n.shape, dtype=products)
        room_zr, room_n = (rh.new_empty(networks, batch, k * units) if short else None for k in (2, 1))
        minus_one = n.new_full((), -1)
        series = (h[:, :-1], h[:, 1:], factor[:, :-1], factor[:, 1:], zr, *zr.chunk(2, 3), rh, n)
        for drive_t, (before, after, factor_t, factor_after, zr_t, z, r, rh_t, n_t) in zip(
            _drives(drive, index), _steps(*series), strict=True
        ):
            drive_zr, drive_n = drive_t.split([2 * units, units], 2)
            _add_product(drive_zr, factor_t, zr_weight, room_zr, out=zr_t).sigmoid_()
            torch.mul(r, before, out=rh_t)
            _add_product(drive_n, rh_t, n_weight, room_n, out=n_t, scale=2).sigmoid_()
            torch.add(minus_one, n_t, alpha=2, out=n_t)
            torch.lerp(before, n_t, z, out=after)
            if short:
                factor_after.copy_(after)
        ctx.save_for_backward(recurrent, index, h, factor, zr, rh, n)
        ctx.drive_shape = drive.shape
        return h[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        recurrent, index, h, factor, zr, rh, n = ctx.saved_tensors
        networks, steps, batch, units = n.shape
        short = rh.dtype != n.dtype
        zr_weight, n_weight = (w.mT.to(rh.dtype).contiguous() for w in recurrent.split([2 * units, units], 2))
        z, r = zr.chunk(2, 3)
        n_slope = tanh_backward(z, n)  # of h after the step with respect to the preactivation of n; so z_slope
        z_slope = sigmoid_backward(n - h[:, :-1], z)
        r_slope = sigmoid_backward(h[:, :-1], r)  # of r * h
        keep = 1 - z
        da = rh.new_empty(networks, steps, batch, 3 * units)
        room = rh.new_empty(networks, batch, units)
        d_rh = n.new_empty(networks, batch, units) if short else room
        earlier = torch.cat([torch.zeros_like(grad[:, :1]), grad[:, :-1]], 1)
        dh = grad[:, -1]
        da_zr, da_z, da_r, da_n = da[..., : 2 * units], *da.chunk(3, 3)
        for into, n_s, z_s, r_s, keep_t, r_t, out_zr, out_z, out_r, out_n in _steps_back(
            earlier, n_slope, z_slope, r_slope, keep, r, da_zr, da_z, da_r, da_n
        ):
            torch.mul(dh, n_s, out=out_n)
            torch.bmm(out_n, n_weight, out=room)
            if short:
                d_rh.copy_(room)
            torch.mul(dh, z_s, out=out_z)
            torch.mul(d_rh, r_s, out=out_r)
            into.addcmul_(dh, keep_t).addcmul_(d_rh, r_t)
            dh = _add_product(into, out_zr, zr_weight, room if short else None, out=into)
        flat = _flat(da)
        weight_grad = torch.cat(
            [_flat(factor[:, :-1]).mT @ flat[..., : 2 * units], _flat(rh).mT @ flat[..., 2 * units :]], -1
        )
        return weight_grad.to(n.dtype), _drive_gradient(da, ctx.drive_shape, index, n.dtype), None, None


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

    def advance(self, weights: Weights, state: State, x: Tensor) -> State:
        h, c = state
        units = h.shape[-1]
        gates = torch.baddbmm(weights.drive(x), h, weights.recurrent)
        f, i, o = gates[..., : 3 * units].sigmoid_().chunk(3, -1)
        c = torch.addcmul(i * _tanh_(gates[..., 3 * units :]), f, c)
        return _tanh_(c.clone()).mul_(o), c

    def observe(self, state: State) -> State:
        h, c = state
        return h, torch.tanh(c)

    def reach(self, recurrent: Tensor, drive: Tensor) -> State:
        # c = f c + i g with |g| < 1 holds |c| below i / (1 - f), and f and i are largest in a corner of the cube of h.
        most = (drive + recurrent.abs().sum(1, keepdim=True))[..., : 2 * recurrent.shape[1]]
        f, i = most.chunk(2, -1)
        return torch.ones_like(f), i.sigmoid() / (-f).sigmoid()

    def unroll(
        self, recurrent: Tensor, drive: Tensor, index: Tensor | None = None, products: torch.dtype | None = None
    ) -> Tensor:
        return _LSTMUnroll.apply(recurrent, drive, index, products or drive.dtype)

    def squared_speed(self, recurrent: Tensor, drive: Tensor, points: int) -> SquaredSpeed:
        networks, units, _ = recurrent.shape
        gates, da = (drive.new_empty(networks, points, 4 * units) for _ in range(2))
        new_tanh, old_tanh, h_change, tanh_change, dh = (drive.new_empty(networks, points, units) for _ in range(5))
        (f, i, o, g), (d_f, d_i, d_o, d_g) = gates.chunk(4, 2), da.chunk(4, 2)
        parts = [3 * units, units]
        (fio, _), (d_fio, _) = gates.split(parts, 2), da.split(parts, 2)

        def evaluate(state: State) -> tuple[Tensor, State]:
            h, c = state
            torch.baddbmm(drive, h, recurrent, out=gates)
            fio.sigmoid_()
            g.tanh_()
            torch.mul(i, g, out=new_tanh).addcmul_(f, c).tanh_()
            torch.tanh(c, out=old_tanh)
            torch.mul(o, new_tanh, out=h_change).sub_(h)
            torch.sub(new_tanh, old_tanh, out=tanh_change)
            dc = tanh_backward(torch.addcmul(tanh_change, h_change, o), new_tanh)
            torch.mul(dc, c, out=d_f)
            torch.mul(dc, g, out=d_i)
            torch.mul(h_change, new_tanh, out=d_o)
            torch.mul(dc, i, out=d_g)
            sigmoid_backward.grad_input(d_fio, fio, grad_input=d_fio)
            tanh_backward.grad_input(d_g, g, grad_input=d_g)
            torch.baddbmm(h_change, da, recurrent.mT, beta=-1, out=dh)
            dc.mul_(f).sub_(tanh_backward(tanh_change, old_tanh))
            squared = h_change.square().sum(-1) + tanh_change.square().sum(-1)
            return squared, (dh.mul_(2), dc.mul_(2))

        return evaluate

    def jacobian(self, recurrent: Tensor, state: State, drive: Tensor) -> Tensor:
        h, c = state
        f, i, o, g = (drive + h @ recurrent).chunk(4, -1)
        f, i, o, g = f.sigmoid(), i.sigmoid(), o.sigmoid(), g.tanh()
        new_tanh = torch.addcmul(i * g, f, c).tanh()
        through = tanh_backward(o, new_tanh)  # from c after the step to h
        f_slope, i_slope, g_slope = sigmoid_backward(c, f), sigmoid_backward(g, i), tanh_backward(i, g)
        f_weight, i_weight, o_weight, g_weight = (weight.mT for weight in recurrent.unsqueeze(1).chunk(4, -1))
        c_by_h = f_slope.unsqueeze(3) * f_weight + i_slope.unsqueeze(3) * i_weight + g_slope.unsqueeze(3) * g_weight
        h_by_h = sigmoid_backward(new_tanh, o).unsqueeze(3) * o_weight + through.unsqueeze(3) * c_by_h
        return torch.cat(
            [torch.cat([h_by_h, torch.diag_embed(through * f)], 3), torch.cat([c_by_h, torch.diag_embed(f)], 3)], 2
        )


class _LSTMUnroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recurrent: Tensor, drive: Tensor, index: Tensor | None, products: torch.dtype) -> Tensor:
        networks, steps, batch = drive.shape[:3] if index is None else index.shape
        units = recurrent.shape[1]
        short = products != drive.dtype
        weight = recurrent.to(products)
        h = drive.new_zeros(networks, steps + 1, batch, units)  # before every step, and after the last
        c = torch.zeros_like(h)
        factor = h.to(products)  # h as products see it
        gates = drive.new_empty(networks, steps, batch, 4 * units)
        new_tanh = drive.new_empty(networks, steps, batch, units)
        room = factor.new_empty(networks, batch, 4 * units) if short else None
        minus_one = h.new_full((), -1)
        series = (h[:, 1:], c[:, :-1], c[:, 1:], factor[:, :-1], factor[:, 1:], gates, *gates.chunk(4, 3), new_tanh)
        for drive_t, (after, c_before, c_after, factor_t, factor_after, gates_t, f, i, o, g, tanh_t) in zip(
            _drives(drive, index), _steps(*series), strict=True
        ):
            _add_product(drive_t, factor_t, weight, room, out=gates_t)
            g.mul_(2)
            gates_t.sigmoid_()
            torch.add(minus_one, g, alpha=2, out=g)
            torch.mul(i, g, out=c_after).addcmul_(f, c_before)
            torch.add(minus_one, torch.mul(c_after, 2, out=tanh_t).sigmoid_(), alpha=2, out=tanh_t)
            torch.mul(o, tanh_t, out=after)
            if short:
                factor_after.copy_(after)
        ctx.save_for_backward(recurrent, index, factor, gates, c, new_tanh)
        ctx.drive_shape = drive.shape
        return h[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        recurrent, index, factor, gates, c, new_tanh = ctx.saved_tensors
        networks, steps, batch, units = new_tanh.shape
        short = factor.dtype != c.dtype
        weight = recurrent.mT.to(factor.dtype).contiguous()
        f, i, o, g = gates.chunk(4, 3)
        # Of c after the step with respect to the preactivations of f, i and g; of h with respect to c and that of o.
        f_slope, i_slope, g_slope = sigmoid_backward(c[:, :-1], f), sigmoid_backward(g, i), tanh_backward(i, g)
        c_slope, o_slope = tanh_backward(o, new_tanh), sigmoid_backward(new_tanh, o)
        da = factor.new_empty(networks, steps, batch, 4 * units)
        room = factor.new_empty(networks, batch, units) if short else None
        earlier = torch.cat([torch.zeros_like(grad[:, :1]), grad[:, :-1]], 1)
        dh, dc = grad[:, -1], torch.zeros_like(c[:, 0])
        series = (earlier, c_slope, f_slope, i_slope, o_slope, g_slope, f, da, *da.chunk(4, 3))
        for into, c_s, f_s, i_s, o_s, g_s, f_t, da_t, out_f, out_i, out_o, out_g in _steps_back(*series):
            dc.addcmul_(dh, c_s)
            torch.mul(dc, f_s, out=out_f)
            torch.mul(dc, i_s, out=out_i)
            torch.mul(dh, o_s, out=out_o)
            torch.mul(dc, g_s, out=out_g)
            dc.mul_(f_t)
            dh = _add_product(into, da_t, weight, room, out=into)
        weight_grad = _flat(factor[:, :-1]).mT @ _flat(da)
        return weight_grad.to(c.dtype), _drive_gradient(da, ctx.drive_shape, index, c.dtype), None, None


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
