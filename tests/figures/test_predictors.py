"""The figure `predictors`, from made-up tables."""

import numpy as np

from memrnn.figures import predictors

from .made import draw, legend_labels, texts


def test_predictors_compares_them_pooled_and_marks_reference_and_null(tables, drawn):
    figure = drawn("predictors")
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        "GRU\nrank correlation",
        "GRU\ngain in prediction",
        "GRU\nfrom speed, 3k steps",
        "LSTM\nrank correlation",
    ]
    ranks, gains = figure.axes[:2]
    names = [text.get_text() for text in ranks.get_yticklabels()]
    assert names == [
        *("speed, centroid", "speed, 300 steps", "speed, 1k steps", "speed, 3k steps", "speed, 10k steps"),
        *(
            "speed, relaxing",
            "noise-free lifetime",
            "speed, first steps",
            "time constant",
            "drift",
            "diffusion",
            "accuracy at $T_{max}$",
        ),
        *("speed + noise", "time const. + noise", "constant"),
    ]
    assert [text.get_text() for text in ranks.get_yticklabels() if text.get_fontweight() == "bold"] == [
        "speed, 3k steps"
    ]
    here = tables["predictors"].query("cell == 'gru' and curriculum == 'all'").set_index(["predictor", "search_steps"])
    for bars, target in zip(ranks.containers, predictors.TARGETS, strict=True):
        rho = here[here["target"] == target]["rho"].dropna()
        heights = [float(height) for height in bars.lines[0].get_ydata()]
        shown = dict(zip(map(round, heights), bars.lines[0].get_xdata(), strict=True))
        assert [shown[-3], shown[-10], shown[-11]] == [
            *rho[[("speed", 3000), ("diffusion", 3000), (predictors.NULL, 0)]]
        ]
        assert len(shown) == 12
        assert heights[0] != round(heights[0])  # the two targets lie side by side
    gain = here[here["target"] == "lifetime"]["gain"]
    shown = dict(zip(gains.lines[-1].get_ydata(), gains.lines[-1].get_xdata(), strict=True))
    assert (shown[-3], shown[-14]) == (gain["speed", 3000], gain["constant", 0])
    assert len(shown) == 14 and -11 not in shown  # of the null predictor on itself there is none
    for panel in (ranks, gains):
        (band,) = [patch for patch in panel.patches if patch.get_label() == "null predictor"]
        assert band.get_y() == -11.5 and band.get_height() == 1


def test_predictors_shows_left_out_networks_and_marks_what_is_censored(tables, drawn):
    panel = drawn("predictors").axes[2]
    rows = tables["predictions"].query("cell == 'gru' and panel == 'all' and model == 'speed' and search_steps == 3000")
    rows = rows[rows["learned"]]
    filled = [marks for marks in panel.collections if len(marks.get_facecolors())]
    hollow = [marks for marks in panel.collections if not len(marks.get_facecolors())]
    for marks, censored in ((filled, False), (hollow, True)):
        expected = rows[rows["censored"] == censored][["lifetime", "predicted"]].to_numpy()
        shown = np.concatenate([points.get_offsets() for points in marks])
        assert len(shown) == len(expected) > 0
        np.testing.assert_allclose(sorted(map(tuple, shown)), sorted(map(tuple, expected)))
    assert panel.get_xscale() == panel.get_yscale() == "log"
    assert panel.get_xlim() == panel.get_ylim()
    # A prediction of the longest delay is seen though no lifetime is so long.
    short = tables["predictions"].assign(lifetime=lambda made: made["lifetime"].clip(upper=300), censored=False)
    panel = draw("predictors", tables | {"predictions": short}).axes[2]
    assert panel.get_ylim()[1] > short["predicted"].max() > 900
    assert "outlasts the longest delay" in legend_labels(drawn("predictors"))


def test_predictors_says_what_it_lacks(tables):
    nothing = {
        "predictors": tables["predictors"].assign(**dict.fromkeys(("rho", "low", "high", "gain"), np.nan)),
        "predictions": tables["predictions"].assign(learned=False, predicted=np.nan),
    }
    for panel in draw("predictors", nothing).axes:
        assert " ".join(texts(panel).split()) == "not computed: too few networks learned"
