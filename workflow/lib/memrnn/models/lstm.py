"""Long short-term memory."""

from __future__ import annotations

import math
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
        recurrent, back = weights.recurrent.contiguous(), weights.recurrent.mT.contiguous()
        networks, units, _ = recurrent.shape
        drive = drive.expand(-1, points, -1).contiguous()
        gates, da = (drive.new_empty(networks, points, 4 * units) for _ in range(2))
        new_tanh, old_tanh, h_change, tanh_change, dh, dc, d_old = (
            drive.new_empty(networks, points, units) for _ in range(7)
        )
        (f, i, o, g), (d_f, d_i, d_o, d_g) = gates.chunk(4, 2), da.chunk(4, 2)
        parts = [3 * units, units]
        (fio, _), (d_fio, _) = gates.split(parts, 2), da.split(parts, 2)

        def evaluate(state: State) -> tuple[Tensor, State]:
            h, c = state
            torch.baddbmm(drive, h, recurrent, out=gates)
            fio.sigmoid_()
            g.tanh_()  # not from a logistic function, which errs by 1e-7 near 0, as much as slow points move
            torch.mul(i, g, out=new_tanh).addcmul_(f, c).tanh_()
            torch.tanh(c, out=old_tanh)
            torch.mul(o, new_tanh, out=h_change).sub_(h)
            torch.sub(new_tanh, old_tanh, out=tanh_change)
            torch.addcmul(tanh_change, h_change, o, out=dc)
            tanh_backward.grad_input(dc, new_tanh, grad_input=dc)
            torch.mul(dc, c, out=d_f)
            torch.mul(dc, g, out=d_i)
            torch.mul(h_change, new_tanh, out=d_o)
            torch.mul(dc, i, out=d_g)
            sigmoid_backward.grad_input(d_fio, fio, grad_input=d_fio)
            tanh_backward.grad_input(d_g, g, grad_input=d_g)
            torch.baddbmm(h_change, da, back, beta=-1, out=dh)
            dc.mul_(f).sub_(tanh_backward.grad_input(tanh_change, old_tanh, grad_input=d_old))
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
        h, c, new_tanh = (drive.new_empty(networks, steps, batch, units) for _ in range(3))
        gates = drive.new_empty(networks, steps, batch, 4 * units)
        factor = h.new_empty(h.shape, dtype=products) if short else h  # h as products see it
        room = factor.new_empty(networks, batch, 4 * units) if short else None
        minus_one = h.new_full((), -1)
        c_before = factor_before = None
        for drive_t, (after, c_after, factor_after, gates_t, f, i, o, g, tanh_t) in zip(
            each_drive(drive, index), each_step(h, c, factor, gates, *gates.chunk(4, 3), new_tanh), strict=True
        ):
            if c_before is None:
                gates_t.copy_(drive_t)
            else:
                add_product(drive_t, factor_before, weight, room, out=gates_t)
            g.mul_(2)
            gates_t.sigmoid_()
            torch.add(minus_one, g, alpha=2, out=g)
            torch.mul(i, g, out=c_after)
            if c_before is not None:
                c_after.addcmul_(f, c_before)
            torch.add(minus_one, torch.mul(c_after, 2, out=tanh_t).sigmoid_(), alpha=2, out=tanh_t)
            torch.mul(o, tanh_t, out=after)
            if short:
                factor_after.copy_(after)
            c_before, factor_before = c_after, factor_after
        ctx.save_for_backward(recurrent, index, factor, gates, c, new_tanh)
        ctx.drive_shape = drive.shape
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        recurrent, index, factor, gates, c, new_tanh = ctx.saved_tensors
        networks, steps, batch, units = new_tanh.shape
        parts, short = [3 * units, units], factor.dtype != c.dtype
        weight = recurrent.mT.to(factor.dtype).contiguous()
        seen = factor.new_empty(networks, steps, batch, 4 * units)  # gradients of the preactivations, for products
        drive_gradient = DriveGradient(c, ctx.drive_shape, index, None if short else seen)
        room = factor.new_empty(networks, batch, units)
        into_fio, into_g = (c.new_empty(networks, batch, part) for part in parts)
        into_f, into_i, into_o = into_fio.chunk(3, 2)
        dh = grad[:, -1].clone(memory_format=torch.contiguous_format)
        dc, through_o = torch.zeros_like(dh), torch.empty_like(dh)
        series = list(each_step(seen, gates[..., : 3 * units], *gates.chunk(4, 3), new_tanh))
        for t in reversed(range(steps)):
            da, (seen_t, fio, f, i, o, g, tanh_t) = drive_gradient.rooms[t], series[t]
            da_fio, da_g = da.split(parts, 2)
            dc.add_(tanh_backward.grad_input(torch.mul(dh, o, out=through_o), tanh_t, grad_input=through_o))
            torch.mul(dh, tanh_t, out=into_o)
            torch.mul(dc, g, out=into_i)
            if t == 0:
                into_f.zero_()
            else:
                torch.mul(dc, c[:, t - 1], out=into_f)
            sigmoid_backward.grad_input(into_fio, fio, grad_input=da_fio)
            tanh_backward.grad_input(torch.mul(dc, i, out=into_g), g, grad_input=da_g)
            if t > 0:
                dc.mul_(f)
                if short:
                    seen_t.copy_(da)
                torch.add(grad[:, t - 1], torch.bmm(seen_t, weight, out=room), out=dh)
            drive_gradient.add(t)
        gradient = weight_gradient(factor[:, :-1], seen[:, 1:])
        return gradient.to(c.dtype), drive_gradient.total(), None, None
