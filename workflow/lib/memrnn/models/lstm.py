"""Long short-term memory."""

from __future__ import annotations

import math
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


class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gate); the state is (h, c).

    Columns of weights and drive: forget f, input i, output o, candidate g.
    """

    name = "lstm"
    gates = 4
    bounds = (1.0, math.inf)  # h is a part of a hyperbolic tangent, c a sum without end

    def step(self, weights: Weights, state: State, drive: Tensor) -> State:
        h, c = state
        f, i, o, g = (drive + h @ weights.recurrent).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def advance(self, weights: Weights, state: State, x: Tensor) -> State:
        h, c = state
        units = h.shape[-1]
        gates = torch.baddbmm(self.drive(weights, x), h, weights.recurrent)
        f, i, o = gates[..., : 3 * units].sigmoid_().chunk(3, -1)
        c = torch.addcmul(i * tanh_(gates[..., 3 * units :]), f, c)
        return tanh_(c.clone()).mul_(o), c

    def observe(self, state: State) -> State:
        h, c = state
        return h, torch.tanh(c)

    def reach(self, weights: Weights, drive: Tensor) -> State:
        # c = f c + i g with |g| < 1 holds |c| below i / (1 - f), and f and i are largest in a corner of the cube of h.
        f, i, _, _ = (drive + weights.recurrent.abs().sum(1, keepdim=True)).chunk(4, -1)
        return torch.ones_like(f), i.sigmoid() / (-f).sigmoid()

    def unroll(
        self, weights: Weights, drive: Tensor, index: Tensor | None = None, products: torch.dtype | None = None
    ) -> Tensor:
        return _LSTMUnroll.apply(weights.recurrent, drive, index, products or drive.dtype)

    def squared_speed(self, weights: Weights, drive: Tensor, points: int) -> SquaredSpeed:
        recurrent = weights.recurrent
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

    def jacobian(self, weights: Weights, state: State, drive: Tensor) -> Tensor:
        h, c = state
        f, i, o, g = (drive + h @ weights.recurrent).chunk(4, -1)
        f, i, o, g = f.sigmoid(), i.sigmoid(), o.sigmoid(), g.tanh()
        new_tanh = torch.addcmul(i * g, f, c).tanh()
        through = tanh_backward(o, new_tanh)  # from c after the step to h
        f_slope, i_slope, g_slope = sigmoid_backward(c, f), sigmoid_backward(g, i), tanh_backward(i, g)
        f_weight, i_weight, o_weight, g_weight = (weight.mT for weight in weights.recurrent.unsqueeze(1).chunk(4, -1))
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
            each_drive(drive, index), each_step(*series), strict=True
        ):
            add_product(drive_t, factor_t, weight, room, out=gates_t)
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
        for into, c_s, f_s, i_s, o_s, g_s, f_t, da_t, out_f, out_i, out_o, out_g in each_step_back(*series):
            dc.addcmul_(dh, c_s)
            torch.mul(dc, f_s, out=out_f)
            torch.mul(dc, i_s, out=out_i)
            torch.mul(dh, o_s, out=out_o)
            torch.mul(dc, g_s, out=out_g)
            dc.mul_(f_t)
            dh = add_product(into, da_t, weight, room, out=into)
        weight_grad = merge_time(factor[:, :-1]).mT @ merge_time(da)
        return weight_grad.to(c.dtype), drive_gradient(da, ctx.drive_shape, index, c.dtype), None, None
