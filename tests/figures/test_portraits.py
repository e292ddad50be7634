"""The figure `portraits`, from made-up tables."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from memrnn.figures import style

from .made import CLASSES, draw, legend_labels


def test_portraits_place_every_point_and_fade_the_past(tables, drawn):
    figure = drawn("portraits")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["GRU, VoCu", "GRU, DeCu", "GRU, NaCu"]
    assert titles[3:6] == [""] * 3
    assert titles[6] == "LSTM, VoCu"
    assert legend_labels(figure) == ["centroid", "slow point"]
    rows = tables["portraits"].query("cell == 'gru' and curriculum == 'vocu'")
    for panel, up in ((figure.axes[0], "pc2"), (figure.axes[3], "pc3")):
        points = rows[rows["what"] == "slow_point"]
        assert [(text.get_text(), *text.xy) for text in panel.texts] == [
            (str(label), pytest.approx(x), pytest.approx(y))
            for label, x, y in points[["label", "pc1", up]].itertuples(index=False)
        ]
        path = rows.query("what == 'trajectory' and label == 4 and trial == 1")[["pc1", up]].to_numpy()
        colour = style.class_colours(CLASSES)[4]
        pieces = [line for line in panel.lines if line.get_color() == colour and line.get_alpha()]
        assert [line.get_alpha() for line in pieces[:4]] == sorted(line.get_alpha() for line in pieces[:4])
        drawn_path = np.concatenate([line.get_xydata()[int(k > 0) :] for k, line in enumerate(pieces[4:8])])
        assert drawn_path == pytest.approx(path)
    assert figure.axes[0].get_xlim() == figure.axes[3].get_xlim()
    assert figure.axes[3].get_xlabel() == "PC 1 (30 %)"
    assert figure.axes[3].get_ylabel() == "PC 3 (10 %)"


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_portraits_of_few_steps_and_many_classes(tables, steps):
    rows = tables["portraits"].query("step <= 5 * @steps")
    more = pd.concat([rows, rows.query("label >= 0").assign(label=rows["label"] + 10)])
    figure = draw("portraits", {"portraits": more})
    figure.canvas.draw()
    numbers = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without the line to its point
    assert len(numbers) == 20
    assert not any(a.overlaps(b) for a, b in itertools.combinations(numbers, 2))
