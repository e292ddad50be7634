"""Protocols against the table of the paper, step by step at every boundary, from the configuration that runs."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memrnn.tasks.protocols import PROTOCOLS, Lesson, Schedule, checkpoint_steps, schedule, step_of

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())
SETTINGS = CONFIG["protocol_settings"]
FULL = Lesson(classes=10, steps=20, alpha=1.0)
K = 1000

# The paper's schedules: protocol, what grows, training steps, {step: value from there on}.
CIFAR_VOCU = {"values": [*range(2, 11)], "starts": [*range(0, 241, 30)], "out_of": 300}
CIFAR_DECU = {"values": [*range(6, 21, 2)], "starts": [0, 100, 120, 140, 160, 180, 200, 220], "out_of": 300}
PAPER = [
    ("vocu", SETTINGS["vocu"], "classes", 140 * K,
     {0: 2, 8 * K: 3, 16 * K: 4, 26 * K: 5, 36 * K: 6, 48 * K: 7, 62 * K: 8, 78 * K: 9, 98 * K: 10}),
    ("decu", SETTINGS["decu"], "steps", 140 * K,
     {0: 6, 20 * K: 8, 30 * K: 10, 40 * K: 12, 50 * K: 14, 60 * K: 16, 70 * K: 18, 80 * K: 20}),
    ("recu", SETTINGS["recu"], "alpha", 140 * K, {0: 0, 20 * K: 0.25, 30 * K: 0.5, 40 * K: 0.75, 60 * K: 1}),
    ("vocu", CIFAR_VOCU, "classes", 300 * K,
     {0: 2, 30 * K: 3, 60 * K: 4, 90 * K: 5, 120 * K: 6, 150 * K: 7, 180 * K: 8, 210 * K: 9, 240 * K: 10}),
    ("decu", CIFAR_DECU, "steps", 300 * K,
     {0: 6, 100 * K: 8, 120 * K: 10, 140 * K: 12, 160 * K: 14, 180 * K: 16, 200 * K: 18, 220 * K: 20}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "settings", "grows", "steps", "table"), PAPER, ids=[f"{row[0]}-{row[3]}" for row in PAPER]
)
def test_every_boundary_is_the_papers(protocol, settings, grows, steps, table):
    found = schedule(protocol, settings, steps, FULL)
    boundaries = [*table, steps]
    for begin, end in pairwise(boundaries):
        for step in (begin, begin + 1, (begin + end) // 2, end - 1):  # end - 1 is the last step before the next value
            expected = {"classes": 10, "steps": 20, "alpha": 1.0, grows: table[begin]}
            assert found.at(step) == Lesson(**expected), step


def test_nothing_grows_without_a_curriculum():
    found = schedule("nacu", SETTINGS["nacu"], 140 * K, FULL)
    assert {found.at(step) for step in (0, 1, 70 * K, 140 * K - 1)} == {FULL}


def test_every_protocol_has_its_settings():
    assert set(PROTOCOLS) == set(SETTINGS)


def test_boundaries_scale_with_the_budget():
    """5,000 steps are 1/28 of the paper's: 8,000 becomes 285.7, 16,000 571.4, 98,000 exactly 3,500."""
    assert schedule("vocu", SETTINGS["vocu"], 5000, FULL).starts == (0, 286, 571, 929, 1286, 1714, 2214, 2786, 3500)
    assert schedule("decu", SETTINGS["decu"], 5000, FULL).starts == (0, 714, 1071, 1429, 1786, 2143, 2500, 2857)
    assert schedule("decu", SETTINGS["decu"], 14000, FULL).starts == (0, 2000, 3000, 4000, 5000, 6000, 7000, 8000)


@pytest.mark.parametrize(
    ("share", "out_of", "steps", "expected"),
    [(0, 140, 999, 0), (140, 140, 999, 999), (120, 140, 140_000, 120_000), (0.05, 1, 5000, 250), (1, 3, 10, 3),
     (2, 3, 10, 7), (0.95, 1, 100_000, 95_000)],
)  # fmt: skip
def test_share_of_the_budget(share, out_of, steps, expected):
    found = step_of(share, out_of, steps)
    assert found == expected and isinstance(found, int)


@given(protocol=st.sampled_from(sorted(SETTINGS)), steps=st.integers(140, 10**6), data=st.data())
def test_the_task_only_ever_grows_and_ends_full(protocol, steps, data):
    found = schedule(protocol, SETTINGS[protocol], steps, FULL)
    a, b = sorted(data.draw(st.tuples(*[st.integers(0, steps - 1)] * 2)))
    early, late = found.at(a), found.at(b)
    assert early.classes <= late.classes and early.steps <= late.steps and early.alpha <= late.alpha
    assert found.at(0) == found.lessons[0] and found.at(steps - 1) == FULL


def test_schedule_by_hand():
    lessons = Lesson(2, 20), Lesson(3, 20)
    found = Schedule((0, 7), lessons)
    assert [found.at(step) for step in (0, 6, 7, 8, 10**9)] == [
        lessons[0],
        lessons[0],
        lessons[1],
        lessons[1],
        lessons[1],
    ]


def with_changes(protocol: str, **changes: list) -> dict:
    return {**SETTINGS[protocol], **changes}


@pytest.mark.parametrize(
    ("protocol", "settings", "steps", "message"),
    [
        ("vacu", SETTINGS["vocu"], 5000, "unknown protocol 'vacu'; known: vocu, decu"),
        ("vocu", with_changes("vocu", values=[2, 3, 4, 5, 6, 7, 8, 9, 11]), 5000, "end with the full task .10 classes"),
        ("vocu", with_changes("vocu", values=[2, 3, 4, 5, 6, 7, 8, 9, 9]), 5000, "must end with the full task"),
        ("vocu", with_changes("vocu", values=[2, 3, 4, 11, 6, 7, 8, 9, 10]), 5000, "never exceed it"),
        ("decu", with_changes("decu", values=[6, 8, 10, 12, 24, 16, 18, 20]), 5000, "20 steps.*never exceed it"),
        ("decu", with_changes("decu", values=[6, 8, 10, 12, 14, 16, 18, 19]), 5000, "must end with the full task"),
        ("recu", with_changes("recu", values=[0, 0.25, 0.5, 0.75, 0.9]), 5000, "alpha 1.*never exceed it"),
        ("recu", SETTINGS["recu"], 4, r"5 values need as many increasing.*\(0, 1, 1, 1, 2\) of 4"),
        ("vocu", with_changes("vocu", starts=[0, 8, 16, 26, 36, 48, 62, 98, 78]), 5000, "increasing starting steps"),
        ("vocu", with_changes("vocu", starts=[1, 8, 16, 26, 36, 48, 62, 78, 98]), 5000, "starting steps from 0"),
        ("vocu", with_changes("vocu", starts=[0, 8, 16, 26, 36, 48, 62, 78]), 5000, "9 values need as many"),
        ("decu", with_changes("decu", starts=[0, 20, 30, 40, 50, 60, 70, 80, 90]), 5000, "8 values need as many"),
    ],
)  # fmt: skip
def test_impossible_schedules_are_refused(protocol, settings, steps, message):
    with pytest.raises(ValueError, match=message):
        schedule(protocol, settings, steps, FULL)


def test_checkpoints_of_a_tiny_budget_fall_together():
    assert checkpoint_steps([0, 0.05, 0.5, 0.95, 1], 100) == (0, 5, 50, 95, 100)
    assert checkpoint_steps([0, 0.25, 0.3, 0.5, 0.75, 1], 4) == (0, 1, 2, 3, 4)
    assert checkpoint_steps([0, 0.4, 1], 1) == (0, 1)
