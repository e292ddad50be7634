"""The figure `formation`, from made-up tables."""

import numpy as np
import pytest

from .made import draw, texts


def test_formation_draws_every_split_and_every_class_that_never_appeared(tables, drawn):
    figure = drawn("formation")
    formed = tables["formation"].query("cell == 'lstm' and curriculum == 'vocu' and seed == 1")
    panel = figure.axes[5]
    assert panel.get_title() == "LSTM, seed 1"
    upright = {
        (line.get_xdata()[0], *line.get_ydata())
        for line in panel.lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    }
    split = formed[formed["appears"].notna() & (formed["parent"] >= 0)]
    assert upright == set(zip(split["appears"], split["parent"], split["label"], strict=True))
    crosses = [line for line in panel.lines if line.get_marker() == "x"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in crosses] == [(6000, 7)]
    marks = [line for line in panel.lines if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in marks] == formed["introduced"].tolist()
    shares = figure.axes[9]
    assert shares.get_title() == "LSTM, 31 of 32 later classes\nexcess 0.21, $p = 0.012$"
    shown = np.concatenate([line.get_ydata() for line in shares.lines if line.get_marker() == "D"])
    entered = tables["formation"].query("cell == 'lstm'").dropna(subset="parent_excess")
    assert sorted(shown) == sorted(entered["parent_confusion"])
    expected = np.concatenate([line.get_ydata() for line in shares.lines if line.get_marker() == "_"])
    assert sorted(expected) == pytest.approx(sorted(entered["parent_confusion"] - entered["parent_excess"]))


def test_networks_that_have_not_learned_are_left_out(tables):
    formed = tables["formation"].copy()
    formed.loc[(formed["cell"] == "gru") & (formed["seed"] > 0), "learned"] = False
    formed.loc[formed["cell"] == "lstm", "learned"] = False
    titles = [axes.get_title() for axes in draw("formation", tables | {"formation": formed}).axes]
    assert [title.splitlines()[0] for title in titles] == ["GRU, seed 0", "GRU, 8 of 8 later classes"]
    formed["learned"] = False
    assert texts(draw("formation", tables | {"formation": formed}).axes[0]) == "of VoCu, no network learned"


def test_formation_says_that_nobody_was_followed(tables):
    decu = {name: tables[name].query("curriculum == 'decu'") for name in ("formation", "confusion_test")}
    assert texts(draw("formation", decu).axes[0]) == "of VoCu, none was followed back"
