"""The figure `budget`, from made-up tables."""

import numpy as np
import pandas as pd
import pytest

from memrnn.figures.render import caption

from .made import SETTINGS, draw, speed_rows, texts


def test_budget_shows_the_speed_and_the_score_alone(tables, drawn):
    for panel in drawn("budget").axes:
        shown = np.concatenate([bars.lines[0].get_ydata() for bars in panel.containers])
        assert len(shown) == 3 * 5 and shown.max() < 0
    alone = draw("budget", {"correlation": speed_rows(tables)}).axes[0]
    same = [
        [bars.lines[0].get_ydata().tolist() for bars in axes.containers] for axes in (alone, drawn("budget").axes[0])
    ]
    assert same[0] == same[1]


def test_budget_puts_the_centroid_before_the_budgets(tables, drawn):
    panel = drawn("budget").axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["centroid", "300", "1k", "3k", "10k"]
    assert sorted(panel.get_xticks()) == list(panel.get_xticks())
    pooled = speed_rows(tables).query("curriculum == 'all' and search_steps > 0")
    line = next(bars for bars in panel.containers if bars.get_label() == "all protocols")
    assert line.lines[0].get_ydata() == pytest.approx(pooled["rho"].to_numpy())


def test_budget_prefers_the_memory_score(tables):
    both = pd.concat([tables["correlation"], speed_rows(tables).assign(target="memory_score", rho=0.5)])
    bars = draw("budget", {"correlation": both}).axes[0].containers
    assert {rho for each in bars for rho in each.lines[0].get_ydata()} == {0.5}
    assert "its memory score, against the" in caption("budget", {"correlation": both}, SETTINGS)


def test_budget_says_what_it_lacks(tables):
    none = {"correlation": tables["correlation"].assign(rho=np.nan, low=np.nan, high=np.nan)}
    for panel in draw("budget", none).axes:
        assert texts(panel) == "rho not computed:\ntoo few networks learned"
