"""Where a share of the training budget falls; also needed while planning a run, so nothing here imports torch."""

from __future__ import annotations


def step_of(share: float, out_of: float, steps: int) -> int:
    """Training step at which the share share / out_of of the budget is done, rounded to the nearest.

    Args:
        share: numerator, 0 to out_of.
        out_of: denominator.
        steps: training steps in all.
    """
    return round(share * steps / out_of)
