"""The figure `extrapolation`, from made-up tables."""

import numpy as np
import pytest

from .made import DELAYS, draw, make_tables


def test_extrapolation_draws_mean_interval_and_each_network(tables, drawn):
    panel = drawn("extrapolation").axes[0]
    lines = {line.get_label(): line for line in panel.lines}
    rows = tables["extrapolation"].query("cell == 'gru' and curriculum == 'vocu' and phase == 'trained'")
    assert lines["VoCu"].get_xdata() == pytest.approx(DELAYS)
    assert lines["VoCu"].get_ydata() == pytest.approx(rows.groupby("delay")["accuracy"].mean().to_numpy())
    assert set(lines["$T_{max}$ = 20"].get_xdata()) == {20}
    assert set(lines["chance, 0.1"].get_ydata()) == {0.1}
    thin = [line for line in panel.lines if line.get_label().startswith("_")]
    assert len(thin) == 3 * 4  # protocols x networks
    assert len(panel.collections) == 3  # one interval per protocol
    assert panel.get_xscale() == "log"


def test_a_band_stays_within_what_accuracies_can_be(tables):
    wide = tables["extrapolation"].assign(accuracy=lambda rows: rows["seed"] % 2)
    for panel in draw("extrapolation", tables | {"extrapolation": wide}).axes:
        for band in panel.collections:
            ys = np.vstack([path.vertices for path in band.get_paths()])[:, 1]
            assert (ys.min(), ys.max()) == (0, 1)


def test_one_network_has_no_band():
    assert not any(axes.collections for axes in draw("extrapolation", make_tables(seeds=(3,))).axes)
