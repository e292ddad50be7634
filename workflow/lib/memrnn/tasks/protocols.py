"""Training protocols: what a network is asked to do at each training step (docs/method.md, Protocols)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Lesson:
    """The task during one part of training.

    Attributes:
        classes: number of classes in play.
        steps: time steps of a trial, T_cur.
        alpha: weight of null responses in the loss.
    """

    classes: int
    steps: int
    alpha: float = 1.0


# How a protocol's value at a training step changes the full task; a new protocol is one entry here, and its values in
# the configuration's protocol_settings.
PROTOCOLS: dict[str, Callable[[Lesson, Any], Lesson]] = {
    "vocu": lambda full, value: replace(full, classes=value),
    "decu": lambda full, value: replace(full, steps=value),
    "nacu": lambda full, value: full,
    "recu": lambda full, value: replace(full, alpha=float(value)),
}


@dataclass(frozen=True)
class Schedule:
    """Lessons of a protocol and the training step at which each begins (`starts[0]` is 0)."""

    starts: tuple[int, ...]
    lessons: tuple[Lesson, ...]

    def at(self, step: int) -> Lesson:
        """Lesson of training step `step`, counted from 0; a boundary step belongs to the lesson it opens."""
        return self.lessons[bisect_right(self.starts, step) - 1]


def schedule(protocol: str, settings: Mapping[str, Any], steps: int, full: Lesson) -> Schedule:
    """Boundaries of a protocol for a budget of `steps` training steps.

    Args:
        protocol: key of `PROTOCOLS`.
        settings: `values`, and `starts` as numerators of shares of the budget over `out_of`.
        full: the full task, with all classes and all time steps.
    Raises:
        ValueError: unknown protocol, values that exceed the full task, or boundaries that fall on one step.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not settings["values"]:
        return Schedule((0,), (full,))
    lessons = tuple(PROTOCOLS[protocol](full, value) for value in settings["values"])
    starts = tuple(step_of(start, settings["out_of"], steps) for start in settings["starts"])
    if len(starts) != len(lessons) or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
        raise ValueError(
            f"{protocol}: {len(lessons)} values need as many increasing starting steps from 0, "
            f"found {starts} of {steps}"
        )
    if lessons[-1] != full or any(lesson.classes > full.classes or lesson.steps > full.steps for lesson in lessons):
        raise ValueError(
            f"{protocol}: values {settings['values']} must end with the full task ({full.classes} classes, "
            f"{full.steps} steps, alpha {full.alpha:g}) and never exceed it"
        )
    return Schedule(starts, lessons)


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
