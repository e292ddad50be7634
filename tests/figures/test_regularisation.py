"""The figure `regularisation`, from made-up tables."""

import numpy as np
import pytest

from .made import draw, texts

PANELS = ["GRU, VoCu", "GRU, DeCu", "LSTM, VoCu", "LSTM, DeCu"]


def test_two_curves_and_their_paired_difference_per_panel(tables, drawn):
    figure = drawn("regularisation")
    assert [axes.get_title() for axes in figure.axes[:4]] == PANELS
    above, below = figure.axes[1], figure.axes[5]
    rows = tables["extrapolation"].query("cell == 'gru' and curriculum == 'decu'")
    accuracy = rows.pivot_table(index=["phase", "seed"], columns="delay", values="accuracy")
    lines = {line.get_label(): line.get_ydata() for line in above.lines}
    assert lines["control (no penalty)"] == pytest.approx(accuracy.loc["control"].mean().to_numpy())
    assert lines["penalty at slow points"] == pytest.approx(accuracy.loc["slow_points"].mean().to_numpy())
    gain = accuracy.loc["slow_points"] - accuracy.loc["control"]
    assert {line.get_label(): line.get_ydata() for line in below.lines}["penalty at slow points"] == pytest.approx(
        gain.mean()
    )
    half = 3.1824 * gain.std(ddof=1) / 2  # of four networks, paired
    (band,) = below.collections
    points = np.vstack([path.vertices for path in band.get_paths()])
    for delay in gain:
        at = points[points[:, 0] == delay, 1]
        expected = gain[delay].mean() - half[delay], gain[delay].mean() + half[delay]
        assert (at.min(), at.max()) == pytest.approx(expected, abs=1e-4)
    assert not above.collections  # an interval of a difference belongs to the difference


def test_every_treatment_is_compared_with_its_control_the_best_first(tables, drawn):
    gains, *panels = drawn("regularisation").axes[8:]
    assert [text.get_text() for text in gains.get_yticklabels()] == ["penalty at slow points", "penalty at centroids"]
    scores = tables["scores"].query("cell == 'gru' and curriculum == 'vocu' and learned")
    means = scores.groupby(["phase", "seed"])["extrapolation_score"].mean()
    marks = [line for line in gains.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert marks[0].get_ydata()[0] == pytest.approx(0.7)  # first of four marks around the second treatment, centroids
    assert marks[0].get_xdata()[0] == pytest.approx((means["centroid"] - means["control"]).mean())
    points = tables["slow_points"].query("cell == 'gru' and curriculum == 'vocu' and search_steps == 3000")
    for panel, name in zip(panels, ("speed", "noisy_speed"), strict=True):
        logs = np.log10(points.set_index(["phase", "seed", "label"])[name]).groupby(["phase", "seed"]).mean()
        marks = [line for line in panel.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
        assert marks[0].get_xdata()[0] == pytest.approx(10 ** (logs["centroid"] - logs["control"]).mean())
        assert panel.get_xscale() == "log"


def test_the_title_counts_where_memory_grew(tables, drawn):
    assert "lengthens memory in 4 of 4 cases" in drawn("regularisation")._suptitle.get_text()
    worse = tables["scores"].copy()
    here = (worse["phase"] == "slow_points") & (worse["cell"] == "gru") & (worse["curriculum"] == "vocu")
    worse.loc[here, "extrapolation_score"] -= 1
    title = draw("regularisation", tables | {"scores": worse})._suptitle.get_text()
    assert "lengthens memory in 3 of 4 cases and shortens it in 1" in title


def test_nobody_regularised_is_said(tables):
    trained = {name: tables[name].query("phase == 'trained'") for name in ("extrapolation", "scores", "slow_points")}
    assert texts(draw("regularisation", trained).axes[0]) == "no network was trained on"
