"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memrnn.models.cell import Cell, SquaredSpeed, State, Weights
from memrnn.models.unrolling import (
    add_product,
    drive_gradient,
    each_drive,
    each_step,
    each_step_back,
    merge_time,
    sigmoid_backward,
    tanh_,
    tanh_backward,
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
            each_drive(drive, index), each_step(*series), strict=True
        ):
            drive_zr, drive_n = drive_t.split([2 * units, units], 2)
            add_product(drive_zr, factor_t, zr_weight, room_zr, out=zr_t).sigmoid_()
            torch.mul(r, before, out=rh_t)
            add_product(drive_n, rh_t, n_weight, room_n, out=n_t, scale=2).sigmoid_()
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
        for into, n_s, z_s, r_s, keep_t, r_t, out_zr, out_z, out_r, out_n in each_step_back(
            earlier, n_slope, z_slope, r_slope, keep, r, da_zr, da_z, da_r, da_n
        ):
            torch.mul(dh, n_s, out=out_n)
            torch.bmm(out_n, n_weight, out=room)
            if short:
                d_rh.copy_(room)
            torch.mul(dh, z_s, out=out_z)
            torch.mul(d_rh, r_s, out=out_r)
            into.addcmul_(dh, keep_t).addcmul_(d_rh, r_t)
            dh = add_product(into, out_zr, zr_weight, room if short else None, out=into)
        flat = merge_time(da)
        weight_grad = torch.cat(
            [merge_time(factor[:, :-1]).mT @ flat[..., : 2 * units], merge_time(rh).mT @ flat[..., 2 * units :]], -1
        )
        return weight_grad.to(n.dtype), drive_gradient(da, ctx.drive_shape, index, n.dtype), None, None
