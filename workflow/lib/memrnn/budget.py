"""Where a share of the training budget falls; also needed while planning a run, so nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence


def step_of(share: float, out_of: float, steps: int) -> int:
    """Training step at which the share share / out_of of the budget is done, rounded to the nearest.

    Args:
        share: numerator, 0 to out_of.
        out_of: denominator.
        steps: training steps in all.
    """
    return round(share * steps / out_of)


def checkpoint_steps(shares: Sequence[float], steps: int) -> tuple[int, ...]:
    """Training steps, ascending, at which shares of a budget are done; shares that fall on one step give it once."""
    return tuple(sorted({step_of(share, 1, steps) for share in shares}))
