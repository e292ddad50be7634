"""The figure `states`, from made-up tables."""

import numpy as np
import pytest

from .made import draw, texts


def test_portraits_of_networks_that_learned_with_the_share_of_trials_kept(tables, drawn):
    figure = drawn("states")
    # in the made-up portraits trajectories stay around their class's point
    titles = [f"{cell}, {protocol}: 100 % kept" for protocol in ("VoCu", "DeCu") for cell in ("GRU", "LSTM")]
    assert [axes.get_title() for axes in figure.axes] == [*titles, "GRU", "LSTM"]
    moved = tables["portraits"].copy()
    here = (moved["what"] == "trajectory") & (moved["label"] < 5) & (moved["cell"] == "gru")
    moved.loc[here & (moved["step"] == moved["step"].max()), ["pc1", "pc2", "pc3"]] = [-10.0, 0.0, 0.0]
    title = draw("states", tables | {"portraits": moved}).axes[0].get_title()
    assert title == "GRU, VoCu: 50 % kept"  # of ten classes, five end at the point of class 5


def test_points_of_their_own_are_counted_against_training(tables, drawn):
    panel = drawn("states").axes[4]
    lines = {line.get_label(): line for line in panel.lines}
    rows = tables["formation"].query("cell == 'gru' and curriculum == 'vocu'")
    x, y = lines["VoCu"].get_data()
    expected = [(rows["appears"] <= step).sum() / 4 for step in x]
    assert y == pytest.approx(np.array(expected))
    introduced = lines["classes that VoCu has introduced"]
    assert introduced.get_xdata()[:3].tolist() == [0, 0, 343]
    assert introduced.get_ydata()[-1] == 10
    assert lines["DeCu"].get_ydata()[-1] == 9.75  # one class of one network never has a point


def test_states_says_what_it_lacks(tables):
    unlearned = tables | {"scores": tables["scores"].assign(learned=False)}
    figure = draw("states", unlearned)
    assert "no network shown here learned" in figure._suptitle.get_text()
    nobody = {"formation": tables["formation"].head(0)}
    assert len(draw("states", tables | nobody).axes) == len(draw("states", tables).axes) - 2
    assert "no network was followed back" in texts(draw("states", unlearned | nobody).axes[-1])
