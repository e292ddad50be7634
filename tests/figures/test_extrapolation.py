"""The figure `extrapolation`, from made-up tables."""

import numpy as np
import pytest

from .made import DELAYS, draw, make_tables


def with_informedness(tables):
    """As tables are where informedness is measured: less than accuracy, by what other trials are answered alike."""
    rows, scores = tables["extrapolation"], tables["scores"]
    return tables | {
        "extrapolation": rows.assign(informedness=rows["accuracy"] - 0.1),
        "scores": scores.assign(memory_score=scores["extrapolation_score"] - 0.1),
    }


def test_curves_are_means_with_intervals_and_each_network(tables, drawn):
    figure = drawn("extrapolation")
    assert [axes.get_title() for axes in figure.axes] == ["GRU", "LSTM", "extrapolation score"]
    panel = figure.axes[0]
    lines = {line.get_label(): line for line in panel.lines}
    rows = tables["extrapolation"].query("cell == 'gru' and curriculum == 'vocu' and phase == 'trained'")
    assert lines["VoCu"].get_xdata() == pytest.approx(DELAYS)
    assert lines["VoCu"].get_ydata() == pytest.approx(rows.groupby("delay")["accuracy"].mean().to_numpy())
    assert len([line for line in panel.lines if len(line.get_xdata()) == len(DELAYS)]) == 3 * (4 + 1)
    assert len(panel.collections) == 3  # an interval per protocol
    assert {text.get_text() for text in panel.texts} >= {"VoCu", "DeCu", "NaCu", "chance"}
    (shaded,) = panel.patches
    assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == (3, 18)  # noise frames in training
    assert panel.get_xscale() == "log"


def test_every_network_has_a_mark_in_the_score_panel(tables, drawn):
    panel = drawn("extrapolation").axes[2]
    marks = [line for line in panel.lines if len(line.get_xdata()) == 4]
    scores = tables["scores"].query("phase == 'trained'").groupby(["cell", "curriculum", "seed"])
    found = np.sort(np.concatenate([line.get_ydata() for line in marks]))
    assert found == pytest.approx(np.sort(scores["extrapolation_score"].mean()))


def test_informedness_is_drawn_where_it_was_measured(tables):
    figure = draw("extrapolation", with_informedness(tables))
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["accuracy", "informedness"]
    assert [axes.get_title() for axes in figure.axes[2::3]] == ["extrapolation score", "memory score"]


def test_the_title_tells_how_long_networks_remember(tables, drawn):
    lifetimes = tables["scores"].query("phase == 'trained' and learned").groupby("curriculum")["lifetime"].median()
    title = " ".join(drawn("extrapolation")._suptitle.get_text().split())
    assert f"{lifetimes['vocu']:.0f} (VoCu) or {lifetimes['decu']:.0f} (DeCu) steps" in title
    unlearned = tables | {"scores": tables["scores"].assign(learned=False)}
    assert draw("extrapolation", unlearned)._suptitle.get_text().startswith("No network learned")


def test_a_band_stays_within_what_accuracies_can_be(tables):
    wide = tables["extrapolation"].assign(accuracy=lambda rows: rows["seed"] % 2)
    for panel in draw("extrapolation", tables | {"extrapolation": wide}).axes[:2]:
        for band in panel.collections:
            ys = np.vstack([path.vertices for path in band.get_paths()])[:, 1]
            assert (ys.min(), ys.max()) == (0, 1)


def test_one_network_has_no_band():
    assert not any(axes.collections for axes in draw("extrapolation", make_tables(seeds=(3,))).axes)
