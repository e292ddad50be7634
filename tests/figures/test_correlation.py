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
    assert panel.get_xlabel() == "speed (per time step)\n4 networks not learned"
    assert len(panel.lines) == 2 * 4  # a line through the classes of each network
    assert legend_labels(figure) == ["VoCu", "DeCu"]


def test_the_forest_has_rho_over_all_classes_within_networks_and_per_protocol(tables, drawn):
    forest = drawn("correlation").axes[2]
    names = [text.get_text() for text in forest.get_yticklabels()]
    assert names[:5] == ["GRU, all classes", "GRU, within networks", "GRU, VoCu", "GRU, DeCu", "GRU, NaCu"]
    rows = speed_rows(tables).query("search_steps == 3000").set_index("curriculum")
    marks = {line.get_ydata()[0]: line.get_xdata()[0] for line in forest.lines if line.get_marker() in "osd"}
    assert [marks[place] for place in range(4)] == [
        *(rows.at["all", "rho"], rows.at["all", "within_rho"], rows.at["vocu", "rho"], rows.at["decu", "rho"])
    ]
    (missing,) = [text for text in forest.texts if text.get_position()[1] == 4]
    assert missing.get_text() == "not computed"


def test_the_title_says_what_the_intervals_say_without_a_break_in_it(tables):
    for interval, words in (
        ({}, "yes"),
        ({"low": -1.0, "high": 1.0}, "not shown"),
        ({"rho": 0.5, "low": 0.2, "high": 0.8}, "the opposite"),
    ):
        title = draw("correlation", tables | {"correlation": tables["correlation"].assign(**interval)})._suptitle
        assert title.get_text().replace("\N{NO-BREAK SPACE}", " ").count(words) == 2


@pytest.mark.parametrize("span", [1.5, 4, 30, 90, 300, 1e6])
def test_speeds_of_any_span_have_ticks_that_can_be_read(tables, span):
    points = tables["slow_points"]
    squeezed = points["speed"].rank(pct=True)
    figure = draw("correlation", tables | {"slow_points": points.assign(speed=3e-3 * span**squeezed)})
    figure.canvas.draw()
    for panel in figure.axes[:2]:
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
    assert "1 point of speed 0" in panel.get_xlabel()


def test_correlation_says_what_it_lacks(tables):
    unlearned = {"scores": tables["scores"].assign(learned=False)}
    unlearned |= {"correlation": tables["correlation"].assign(rho=np.nan, low=np.nan, high=np.nan)}
    for panel in draw("correlation", tables | unlearned).axes[:2]:
        assert texts(panel).startswith("no network learned")
        assert "12 networks not learned" in panel.get_xlabel()
