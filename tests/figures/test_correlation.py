"""The figure `correlation`, from made-up tables."""

import itertools

import numpy as np
import pytest

from .made import draw, legend_labels, speed_rows, texts


def test_correlation_shows_learned_networks_and_counts_the_others(tables, drawn):
    figure = drawn("correlation")
    panel = figure.axes[0]
    marks = [points.get_offsets() for points in panel.collections]
    assert [len(points) for points in marks] == [40, 40]  # VoCu and DeCu: 4 networks x 10 classes
    rows = tables["slow_points"].query("cell == 'gru' and curriculum == 'vocu' and phase == 'trained'")
    assert sorted(marks[0][:, 0]) == pytest.approx(sorted(rows.query("search_steps == 3000")["speed"]))
    assert panel.get_xlabel() == "speed (per time step)\n4 networks not learned, left out"
    rho = speed_rows(tables).query("curriculum == 'all' and search_steps == 3000")["rho"].item()
    assert f"pooled $\\rho = {rho:.2f}\\ [" in panel.get_title()
    assert legend_labels(figure) == ["VoCu", "DeCu"]


@pytest.mark.parametrize("span", [1.5, 4, 30, 90, 300, 1e6])
def test_speeds_of_any_span_have_ticks_that_can_be_read(tables, span):
    points = tables["slow_points"]
    squeezed = points["speed"].rank(pct=True)
    figure = draw("correlation", tables | {"slow_points": points.assign(speed=3e-3 * span**squeezed)})
    figure.canvas.draw()
    for panel in figure.axes:
        low, high = panel.get_xlim()
        ticks = [*panel.xaxis.get_major_ticks(), *panel.xaxis.get_minor_ticks()]
        boxes = [
            tick.label1.get_window_extent()
            for tick in ticks
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
        assert len(boxes) >= (1 if span < 2 else 2)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_speed_zero_is_counted(tables):
    still = tables["slow_points"].copy()
    here = (still["cell"] == "gru") & (still["curriculum"] == "vocu") & (still["seed"] == 0) & (still["label"] == 4)
    still.loc[here, "speed"] = 0.0
    panel = draw("correlation", tables | {"slow_points": still}).axes[0]
    assert "1 point with speed 0, not drawn" in panel.get_xlabel()


def test_correlation_says_what_it_lacks(tables):
    unlearned = {"scores": tables["scores"].assign(learned=False)}
    unlearned |= {"correlation": tables["correlation"].assign(rho=np.nan, low=np.nan, high=np.nan)}
    for panel in draw("correlation", tables | unlearned).axes:
        assert texts(panel) == "no network learned"
        assert panel.get_title().endswith("rho not computed")
        assert "12 networks not learned, left out" in panel.get_xlabel()
    alone = tables | {"correlation": tables["correlation"].assign(low=np.nan, high=np.nan)}
    title = draw("correlation", alone).axes[0].get_title()
    assert title.startswith("GRU\npooled $\\rho = -0.") and "[" not in title
