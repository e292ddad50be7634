"""The figure `backtrack`, from made-up tables."""

import numpy as np
import pytest

from .made import SETTINGS, draw, texts


def stretches(panel, label) -> list[tuple[float, float]]:
    """First and last x of what is drawn of the lines with a label."""
    lines = [line for line in panel.lines if line.get_label() == label]
    kept = [line.get_xdata()[np.isfinite(line.get_ydata())] for line in lines]
    return [(x.min(), x.max()) for x in kept if len(x)]


def test_backtrack_marks_boundaries_and_whose_point_it_is(tables):
    history = tables["backtrack"].copy()
    # Class 3 of GRU under VoCu becomes its own at 1200 in three networks of four; at 900 in two, which is no majority.
    here = (history["cell"] == "gru") & (history["curriculum"] == "vocu") & (history["label"] == 3)
    begins = here & (history["step"] < history["seed"].map({0: 900, 1: 900, 2: 1200, 3: 6001}))
    history.loc[here, "readout"] = 3
    history.loc[begins, "readout"] = 0
    history.loc[here, "speed"] = np.where(history.loc[here, "seed"] < 2, 0.01, 1.0)
    panel = draw("backtrack", tables | {"backtrack": history}).axes[0]
    assert panel.get_title() == "GRU, VoCu\n4 networks"
    assert panel.get_yscale() == "log"
    assert stretches(panel, "class 3") == [(1200, 6000)]
    (line,) = [line for line in panel.lines if line.get_label() == "class 3"]
    assert line.get_ydata()[-1] == pytest.approx(0.1)  # the geometric mean of 0.01, 0.01, 1, 1
    faint = [other for other in panel.lines if other.get_color() == line.get_color() and other.get_linestyle() == "--"]
    assert [(each.get_xdata().min(), each.get_xdata().max()) for each in faint] == [(0, 6000)]
    marks = [line.get_xdata()[0] for line in panel.lines if line.get_label() == "the task changes"]
    assert marks == SETTINGS["boundaries"]["vocu"]
    dots = [other for other in panel.lines if other.get_color() == line.get_color() and other.get_marker() == "o"]
    assert [len(each.get_xdata()) for each in dots] == [0]


def test_backtrack_marks_a_point_that_is_its_own_at_a_single_checkpoint(tables):
    history = tables["backtrack"].copy()
    here = (history["cell"] == "gru") & (history["curriculum"] == "vocu") & (history["label"] == 3)
    history.loc[here, "readout"] = np.where(history.loc[here, "step"].isin([600, 1500, 1800, 6000]), 3, 0)
    panel = draw("backtrack", tables | {"backtrack": history}).axes[0]
    (line,) = [line for line in panel.lines if line.get_label() == "class 3"]
    (dots,) = [each for each in panel.lines if each.get_color() == line.get_color() and each.get_marker() == "o"]
    assert dots.get_xdata().tolist() == [600, 6000]


def test_networks_that_have_not_learned_are_left_out(tables):
    formed = tables["formation"].copy()
    formed.loc[(formed["cell"] == "gru") & (formed["seed"] > 0), "learned"] = False
    formed.loc[formed["cell"] == "lstm", "learned"] = False
    figure = draw("backtrack", tables | {"formation": formed})
    assert [axes.get_title().splitlines()[1] for axes in figure.axes] == ["1 network"] * 2 + ["0 networks"] * 2
    assert [texts(axes) for axes in figure.axes] == ["", "", *["no network learned"] * 2]
    formed["learned"] = False
    assert {texts(axes) for axes in draw("backtrack", tables | {"formation": formed}).axes} == {"no network learned"}


def test_backtrack_says_that_nobody_was_followed(tables):
    nothing = {name: tables[name].head(0) for name in ("backtrack", "formation")}
    assert texts(draw("backtrack", nothing).axes[0]) == "no network was followed back"
