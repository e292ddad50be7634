"""The figure `regularisation`, from made-up tables."""

import numpy as np
import pytest

from memrnn.figures import regularisation

from .made import draw, legend_labels, texts


def test_regularisation_compares_four_rows_of_the_protocols_trained_on(tables, drawn):
    figure = drawn("regularisation")
    assert [axes.get_title() for axes in figure.axes] == ["GRU, VoCu", "GRU, DeCu", "LSTM, VoCu", "LSTM, DeCu"]
    assert legend_labels(figure)[:4] == list(regularisation.PHASES.values())
    panel = figure.axes[1]
    assert len(panel.collections) == 2  # of slow points and of centroids slowed
    rows = tables["extrapolation"].query("cell == 'gru' and curriculum == 'decu'")
    accuracy = rows.pivot_table(index=["phase", "seed"], columns="delay", values="accuracy")
    gain = accuracy.loc["slow_points"] - accuracy.loc["control"]
    half = 3.1824 * gain.std(ddof=1) / 2  # of four networks, paired
    expected = [accuracy.loc["control"].mean() + gain.mean() + sign * half for sign in (-1, 1)]
    bands = [np.vstack([path.vertices for path in band.get_paths()]) for band in panel.collections]
    for delay in accuracy.columns:
        sides = [np.clip(side[delay], 0, 1) for side in expected]
        found = [[end([y for x, y in band if x == delay]) for end in (min, max)] for band in bands]
        assert any(each == pytest.approx(sides, abs=1e-4) for each in found), (delay, found, sides)


def test_nobody_regularised_is_said(tables):
    trained = tables["extrapolation"].query("phase == 'trained'")
    assert texts(draw("regularisation", {"extrapolation": trained}).axes[0]) == "no network was trained on"
