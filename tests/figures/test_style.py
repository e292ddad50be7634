"""What figures share: looks, intervals, the style."""

import numpy as np
import pytest

from memrnn.figures import render, style

from .made import SETTINGS


def test_interval_is_students_over_networks():
    # 0.4, 0.5, 0.5, 0.6: mean 0.5, standard error 0.0816 / 2; t(97.5 %, 3) = 3.1824
    low, high = style.interval(np.array([[0.4, 1.0], [0.5, 1.0], [0.5, 1.0], [0.6, 1.0]]), confidence=0.95)
    assert low == pytest.approx([0.5 - 3.1824 * 0.040825, 1.0], abs=1e-4)
    assert high == pytest.approx([0.5 + 3.1824 * 0.040825, 1.0], abs=1e-4)
    assert style.interval(np.array([[0.3, 0.4]]), confidence=0.95) is None


def test_a_protocol_looks_the_same_whichever_others_there_are():
    alone = style.looks(["decu"], style.PROTOCOLS, "colorblind")["decu"]
    among = style.looks(["vocu", "decu", "mine"], style.PROTOCOLS, "colorblind")
    assert alone == among["decu"]
    assert len({look.colour for look in among.values()}) == len(among)
    assert among["mine"].label == "mine"


def test_style_changes_the_picture(tables, drawn):
    plain = drawn("extrapolation")
    talk = render.draw("extrapolation", tables, SETTINGS | {"context": "talk", "palette": "deep"})
    size = [figure.axes[0].xaxis.label.get_fontsize() for figure in (plain, talk)]
    assert size[0] < size[1]
    assert plain.axes[0].lines[-3].get_color() != talk.axes[0].lines[-3].get_color()
