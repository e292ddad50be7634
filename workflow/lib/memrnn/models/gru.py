"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memrnn.models.cell import Cell, SquaredSpeed, State, Weights
from memrnn.models.unrolling import (
    DriveGradient,
    add_product,
    each_drive,
    each_step,
    sigmoid_backward,
    tanh_,
    tanh_backward,
    weight_gradient,
)


class GRU(Cell):
    """Gated recurrent unit with the reset gate before the recurrent product (Cho et al. 2014).

    Columns of weights and drive: update z, reset r, candidate n. `torch.nn.GRU` applies r after the product and
    swaps the roles of z and 1 - z.
    """

    name = "gru"
    gates = 3
    bounds = (1.0,)  # h is a mean of hyperbolic tangents and of h before

    def step(self, weights: Weights, state: State, drive: Tensor) -> State:
        (h,) = state
        z_drive, r_drive, n_drive = drive.chunk(3, -1)
        z_weight, r_weight, n_weight = weights.recurrent.chunk(3, -1)
        z = torch.sigmoid(z_drive + h @ z_weight)
        r = torch.sigmoid(r_drive + h @ r_weight)
        n = torch.tanh(n_drive + (r * h) @ n_weight)
        return ((1 - z) * h + z * n,)

    def advance(self, weights: Weights, state: State, x: Tensor) -> State:
        (h,) = state
        z, _, n, _ = _gru_gates(h, weights.recurrent, self.drive(weights, x), tanh_)
        return (torch.lerp(h, n, z),)

    def unroll(
        self, weights: Weights, drive: Tensor, index: Tensor | None = None, products: torch.dtype | None = None
    ) -> Tensor:
        return _GRUUnroll.apply(weights.recurrent, drive, index, products or drive.dtype)

    def squared_speed(self, weights: Weights, drive: Tensor, points: int) -> SquaredSpeed:
        networks, units, _ = weights.recurrent.shape
        parts = [2 * units, units]
        zr_weight, n_weight = (weight.contiguous() for weight in weights.recurrent.split(parts, 2))
        zr_back, n_back = (weight.mT.contiguous() for weight in (zr_weight, n_weight))
        zr_drive, n_drive = (part.expand(-1, points, -1).contiguous() for part in drive.split(parts, 2))
        zr, d_zr = (drive.new_empty(networks, points, 2 * units) for _ in range(2))
        n, rh, apart, change, d_n, slope, d_rh, dh = (drive.new_empty(networks, points, units) for _ in range(8))
        (z, r), (d_z, d_r) = zr.chunk(2, 2), d_zr.chunk(2, 2)

        def evaluate(state: State) -> tuple[Tensor, State]:
            (h,) = state
            torch.baddbmm(zr_drive, h, zr_weight, out=zr).sigmoid_()
            torch.baddbmm(n_drive, torch.mul(r, h, out=rh), n_weight, out=n).tanh_()
            torch.mul(z, torch.sub(n, h, out=apart), out=change)
            tanh_backward.grad_input(torch.mul(change, z, out=d_n), n, grad_input=slope)
            torch.bmm(slope, n_back, out=d_rh)
            torch.mul(apart, change, out=d_z)
            torch.mul(d_rh, h, out=d_r)
            d_rh.mul_(r).sub_(d_n)
            sigmoid_backward.grad_input(d_zr, zr, grad_input=d_zr)
            torch.baddbmm(d_rh, d_zr, zr_back, out=dh)
            return change.square().sum(-1), (dh.mul_(2),)

        return evaluate

    def jacobian(self, weights: Weights, state: State, drive: Tensor) -> Tensor:
        (h,) = state
        z, r, n, _ = _gru_gates(h, weights.recurrent, drive, torch.tanh)
        # Entry [j, i] is that of unit i's next value with respect to unit j, up to the end.
        z_weight, r_weight, n_weight = weights.recurrent.unsqueeze(1).chunk(3, -1)
        inner = (r_weight * sigmoid_backward(h, r).unsqueeze(2)) @ n_weight + r.unsqueeze(3) * n_weight
        turned = sigmoid_backward(n - h, z).unsqueeze(2) * z_weight + tanh_backward(z, n).unsqueeze(2) * inner
        turned.diagonal(dim1=2, dim2=3).add_(1 - z)
        return turned.mT


def _gru_gates(
    h: Tensor, recurrent: Tensor, drive: Tensor, tanh: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, r, n and (z, r) of one step from the state h, (networks, batch, units)."""
    units = h.shape[-1]
    zr = (drive[..., : 2 * units] + h @ recurrent[..., : 2 * units]).sigmoid_()
    z, r = zr.chunk(2, -1)
    n = tanh(drive[..., 2 * units :] + (r * h) @ recurrent[..., 2 * units :])
    return z, r, n, zr


class _GRUUnroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recurrent: Tensor, drive: Tensor, index: Tensor | None, products: torch.dtype) -> Tensor:
        networks, steps, batch = drive.shape[:3] if index is None else index.shape
        units = recurrent.shape[1]
        parts, short = [2 * units, units], products != drive.dtype
        zr_weight = recurrent[..., : 2 * units].to(products).contiguous()
        n_weight = (2 * recurrent[..., 2 * units :]).to(products)
        h, n = (drive.new_empty(networks, steps, batch, units) for _ in range(2))
        zr = drive.new_empty(networks, steps, batch, 2 * units)
        factor = h.new_empty(h.shape, dtype=products) if short else h  # h as products see it
        rh = torch.empty_like(factor)
        room_zr, room_n = (rh.new_empty(networks, batch, part) if short else None for part in parts)
        minus_one = n.new_full((), -1)
        before = factor_before = None
        for drive_t, (after, factor_after, zr_t, z, r, rh_t, n_t) in zip(
            each_drive(drive, index), each_step(h, factor, zr, *zr.chunk(2, 3), rh, n), strict=True
        ):
            drive_zr, drive_n = drive_t.split(parts, 2)
            if before is None:
                torch.sigmoid(drive_zr, out=zr_t)
                torch.mul(drive_n, 2, out=n_t)
            else:
                add_product(drive_zr, factor_before, zr_weight, room_zr, out=zr_t).sigmoid_()
                torch.mul(r, before, out=rh_t)
                add_product(drive_n, rh_t, n_weight, room_n, out=n_t, scale=2)
            torch.add(minus_one, n_t.sigmoid_(), alpha=2, out=n_t)
            if before is None:
                torch.mul(z, n_t, out=after)
            else:
                torch.lerp(before, n_t, z, out=after)
            if short:
                factor_after.copy_(after)
            before, factor_before = after, factor_after
        ctx.save_for_backward(recurrent, index, h, factor, zr, rh, n)
        ctx.drive_shape = drive.shape
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        recurrent, index, h, factor, zr, rh, n = ctx.saved_tensors
        networks, steps, batch, units = n.shape
        parts, short = [2 * units, units], rh.dtype != n.dtype
        zr_weight, n_weight = (weight.mT.to(rh.dtype).contiguous() for weight in recurrent.split(parts, 2))
        drive_gradient = DriveGradient(n, ctx.drive_shape, index)
        # The same as products see them, each in one piece.
        d_zr, d_n = (rh.new_empty(networks, steps, batch, part) for part in parts)
        room = rh.new_empty(networks, batch, units)
        d_rh = n.new_empty(networks, batch, units) if short else room
        through_z = n.new_empty(networks, batch, units)
        into_zr = n.new_empty(networks, batch, 2 * units)
        into_z, into_r = into_zr.chunk(2, 2)
        dh = grad[:, -1].clone(memory_format=torch.contiguous_format)
        series = list(each_step(zr, *zr.chunk(2, 3), n, d_zr, d_n))
        for t in reversed(range(steps)):
            da, (zr_t, z, r, n_t, d_zr_t, d_n_t) = drive_gradient.rooms[t], series[t]
            da_zr, da_n = da.split(parts, 2)
            tanh_backward.grad_input(torch.mul(dh, z, out=through_z), n_t, grad_input=da_n)
            if t == 0:
                torch.mul(dh, n_t, out=into_z)
                into_r.zero_()
                sigmoid_backward.grad_input(into_zr, zr_t, grad_input=da_zr)
            else:
                before = h[:, t - 1]
                torch.bmm(d_n_t.copy_(da_n), n_weight, out=room)
                if short:
                    d_rh.copy_(room)
                torch.sub(n_t, before, out=into_z).mul_(dh)
                torch.mul(d_rh, before, out=into_r)
                sigmoid_backward.grad_input(into_zr, zr_t, grad_input=da_zr)
                dh.sub_(through_z).addcmul_(d_rh, r).add_(grad[:, t - 1])
                dh.add_(torch.bmm(d_zr_t.copy_(da_zr), zr_weight, out=room))
            drive_gradient.add(t)
        gradient = torch.cat([weight_gradient(factor[:, :-1], d_zr[:, 1:]), weight_gradient(rh[:, 1:], d_n[:, 1:])], -1)
        return gradient.to(n.dtype), drive_gradient.total(), None, None
