"""Outputs of an ensemble over whole trials (docs/method.md, Cells)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from memrnn.models.cell import Weights
from memrnn.models.networks import Networks
from memrnn.models.unrolling import sum_rows
from memrnn.tasks.delayed_classification import Inputs


class _Table(torch.autograd.Function):
    """Drives of frames, and of frames seen together with the trigger.

    The drives of the frames are the rows of a table. Where a trial sees frame `seen[..., trial]` with the trigger, the
    drive of both is put in the frame's place, or with `below` in a row of its own below all frames. Frames get a
    gradient where they are features that have one.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, frames: Tensor, seen: Tensor, below: bool, products: torch.dtype
    ) -> Tensor:
        factor = frames.to(products)
        table = torch.bmm(factor, weight[:, :-1].to(products)) + bias.unsqueeze(1)
        which = torch.arange(len(seen), device=seen.device).unsqueeze(1)
        triggered = table[which, seen] + weight[:, -1:]
        ctx.save_for_backward(factor, which, seen, weight)
        ctx.below, ctx.frames_dtype = below, frames.dtype
        if below:
            return torch.cat([table, triggered], 1)
        table[which, seen] = triggered
        return table

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None, None]:
        factor, which, seen, old_weight = ctx.saved_tensors
        count = factor.shape[1]
        if ctx.below:
            triggered = grad[:, count:]
            table = grad[:, :count] + sum_rows(triggered, seen, count)
        else:
            triggered, table = grad[which, seen], grad
        weight = grad.new_empty(len(grad), factor.shape[2] + 1, grad.shape[2])
        short = table.to(factor.dtype)
        weight[:, :-1] = torch.bmm(factor.mT, short)
        weight[:, -1] = triggered.sum(1)
        frames = None
        if ctx.needs_input_grad[2]:
            frames = torch.bmm(short, old_weight[:, :-1].mT.to(factor.dtype)).to(ctx.frames_dtype)
        return weight, table.sum(1), frames, None, None, None


def drive(weights: Weights, inputs: Inputs, products: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """What `Cell.unroll` wants: the drives of whole trials, or a table of drives and its index.

    Every frame is projected once, however many trials see it.

    Args:
        inputs: whose frames are what the front end made of them.
    """
    frames, index, response, steps = inputs
    networks, batch = response.shape
    trial = torch.arange(batch, device=response.device)
    if index is None:
        seen = response * batch + trial
        table = _Table.apply(weights.inputs, weights.bias, frames, seen, False, products)
        return table.unflatten(1, (steps, batch)), None
    which = torch.arange(networks, device=response.device).unsqueeze(1)
    seen = index[which, response, trial]
    index = index.clone()
    index[which, response, trial] = frames.shape[1] + trial
    return _Table.apply(weights.inputs, weights.bias, frames, seen, True, products), index


def hidden_states(networks: Networks, inputs: Inputs, products: torch.dtype = torch.float32) -> Tensor:
    """Hidden states after each step, (networks, time, batch, units)."""
    # Like drives, features are computed once for each frame.
    shown = inputs._replace(frames=networks.features(inputs.frames, products))
    table, index = drive(networks.weights, shown, products)
    return networks.cell.unroll(networks.weights.recurrent, table, index, products)


def forward(networks: Networks, inputs: Inputs, products: torch.dtype = torch.float32) -> Tensor:
    """Outputs before the logistic function, (networks, time, batch, outputs)."""
    return networks.logits(hidden_states(networks, inputs, products))
