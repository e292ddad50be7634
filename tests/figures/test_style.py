"""What figures share: looks, intervals, the style."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from memrnn.figures import render, style

from .made import SETTINGS

ROOT = Path(__file__).resolve().parents[2]


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
    assert plain.axes[0].lines[-2].get_color() != talk.axes[0].lines[-2].get_color()


PALETTES = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())["properties"]["figures"][
    "properties"
]["palette"]["enum"]


@pytest.mark.parametrize("palette", PALETTES)
def test_no_colour_means_two_things(palette):
    names = (style.PROTOCOLS, style.PHASES, style.KINDS)
    colours = [look.colour for each in names for look in style.looks(each, each, palette).values()]
    colours += style.class_colours(range(10)).values()
    assert len({tuple(np.round(colour, 3)) for colour in colours}) == len(colours)


def test_labels_are_moved_apart_and_stay_near():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.51, 0.5], [0.9, 0.1]])
    axes.set(xlim=(0, 1), ylim=(0, 1))
    offsets = style.place_labels(axes, points, gap=11.0)
    places = axes.transData.transform(points) * 72 / figure.dpi + offsets
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2)]
    assert min(apart) > 10.9
    assert np.abs(offsets).max() < 12
    assert np.abs(offsets[3]).max() < 0.1  # nothing is near this one


@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_labels_of_one_place_in_a_corner_are_moved_apart(corner):
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    points = np.full((10, 2), corner)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    places = axes.transData.transform(points) * 72 / figure.dpi + style.place_labels(axes, points, gap=11.0)
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2)) > 8
