"""Pieces that unrollings of cells over time are made of."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# One pass each for y (1 - y) and 1 - y^2 times a gradient.
sigmoid_backward = torch.ops.aten.sigmoid_backward
tanh_backward = torch.ops.aten.tanh_backward


def tanh_(values: Tensor) -> Tensor:
    """tanh in place as 2 s(2a) - 1, which is several times quicker on a CPU and differs in the last bits."""
    values.mul_(2).sigmoid_()
    return torch.add(values.new_full((), -1), values, alpha=2, out=values)


# Unrolling. A step costs as much in calls as in arithmetic, so a loop over time makes as few as it can, on views made
# beforehand, and works on what is still in the processor's cache. Candidates come doubled, as 2 s(2a) - 1 = tanh a is
# several times cheaper than tanh, and doubling is exact. The first step starts from zero and has no products.
# `products` may be a shorter type than the drive's: factors and results of products are rounded to it, nothing else.


def each_step(*series: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Steps of several (networks, time, ...) tensors together."""
    return zip(*(each.unbind(1) for each in series), strict=True)


def table_rows(table: Tensor, index: Tensor) -> Tensor:
    """Where the rows that `index` (networks, ...) names lie in a table (networks, rows, ...) laid flat."""
    first = torch.arange(table.shape[0], device=index.device) * table.shape[1]
    return index + first.view(-1, *[1] * (index.ndim - 1))


def each_drive(drive: Tensor, index: Tensor | None) -> Iterator[Tensor]:
    """Drive of each step, (networks, batch, columns); of a table, the next one takes the place of the last."""
    if index is None:
        yield from drive.unbind(1)
        return
    networks, _, batch = index.shape
    room = drive.new_empty(networks, batch, drive.shape[2])
    table, flat = drive.flatten(0, 1), room.flatten(0, 1)
    for rows in table_rows(drive, index).transpose(0, 1).flatten(1):
        torch.index_select(table, 0, rows, out=flat)
        yield room


class DriveGradient:
    """Gradient of a drive, or of a table of drives, gathered from the last step to the first.

    On a CPU each step's share is added to its rows of a table at once, while it is in the cache. A GPU's index_add_
    sums in whatever order it comes to, so there the steps are kept and summed by a product in the end.

    Attributes:
        rooms: of each step, (networks, batch, columns): where its gradient of the preactivations is to be written.
    """

    def __init__(
        self, like: Tensor, drive_shape: torch.Size, index: Tensor | None, whole: Tensor | None = None
    ) -> None:
        """Prepare.

        Args:
            like: for type and device.
            drive_shape: of the drive or table.
            index: rows of a table, (networks, time, batch), or None.
            whole: (networks, time, batch, columns), if the gradients of all steps are wanted anyway.
        """
        networks, steps, batch = drive_shape[:3] if index is None else index.shape
        columns = drive_shape[-1]
        self._index, self._rows = index, drive_shape[1]
        self._table = None if index is None or like.is_cuda else like.new_zeros(networks * self._rows, columns)
        if whole is None and self._table is None:
            whole = like.new_empty(networks, steps, batch, columns)
        self._whole = whole
        self.rooms = [like.new_empty(networks, batch, columns)] * steps if whole is None else whole.unbind(1)
        if self._table is not None:
            self._table_rows = table_rows(self._table.view(networks, self._rows, columns), index).unbind(1)

    def add(self, step: int) -> None:
        """Take what is in the room of a step."""
        if self._table is not None:
            self._table.index_add_(0, self._table_rows[step].flatten(), self.rooms[step].flatten(0, 1))

    def total(self) -> Tensor:
        """The gradient, like the drive."""
        if self._index is None:
            return self._whole
        if self._table is None:
            return sum_rows(merge_time(self._whole), self._index.flatten(1), self._rows)
        return self._table.unflatten(0, (-1, self._rows))


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
    table.flatten(0, 1).index_add_(0, table_rows(table, index).flatten(), values.flatten(0, 1))
    return table


def add_product(
    base: Tensor, left: Tensor, right: Tensor, room: Tensor | None, out: Tensor, scale: float = 1
) -> Tensor:
    """scale * base + left @ right in the type of base; `room` is where a product of a shorter type goes, else None."""
    if room is None:
        return torch.baddbmm(base, left, right, beta=scale, out=out)
    return torch.add(torch.bmm(left, right, out=room), base, alpha=scale, out=out)


def merge_time(values: Tensor) -> Tensor:
    """(networks, time, batch, columns) as (networks, time * batch, columns)."""
    return values.flatten(1, 2)


def weight_gradient(factor: Tensor, da: Tensor) -> Tensor:
    """Sum over steps and trials of factor' da, (networks, units, columns); both (networks, time, batch, ...).

    Networks take turns: a batched product with a transposed factor of bfloat16 is slower.
    """
    return torch.stack([each.flatten(0, 1).mT @ d.flatten(0, 1) for each, d in zip(factor, da, strict=True)])
