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
    bold = [text.get_text() for text in ranks.get_yticklabels() if text.get_fontweight() == "bold"]
    assert bold == ["speed, 3k steps"]
    pooled = tables["predictors"].query("curriculum == 'all'")
    here = pooled.query("cell == 'gru'").set_index(["predictor", "search_steps"])
    of = {"speed, 3k steps": ("speed", 3000), "diffusion": ("diffusion", 3000), "constant": ("constant", 0)}
    of["nominal accuracy"] = (predictors.NULL, 0)
    ranked = list(of)[:2] + list(of)[3:]
    for bars, target in zip(ranks.containers, predictors.TARGETS, strict=True):
        rho = here[here["target"] == target]["rho"].dropna()
        heights = [float(height) for height in bars.lines[0].get_ydata()]
        shown = dict(zip(map(round, heights), bars.lines[0].get_xdata(), strict=True))
        assert [shown[-names.index(name)] for name in ranked] == [rho[of[name]] for name in ranked]
        assert len(shown) == 12
        assert heights[0] != round(heights[0])  # the two targets lie side by side
    best = pooled[pooled["target"] == "lifetime"].groupby(["predictor", "search_steps"])["rho"].mean().dropna()
    order = list(best.sort_values(ascending=False).index)
    assert [order.index(of[name]) for name in ranked] == [names.index(name) for name in ranked]
    gain = here[here["target"] == "lifetime"]["gain"]
    shown = dict(zip(gains.lines[-1].get_ydata(), gains.lines[-1].get_xdata(), strict=True))
    assert [shown[-names.index(name)] for name in (*ranked[:2], "constant")] == [
        gain[of[name]] for name in (*ranked[:2], "constant")
    ]
    null = names.index("nominal accuracy")
    assert len(shown) == 14 and -null not in shown  # of the null predictor on itself there is none
    for panel in (ranks, gains):
        (band,) = [patch for patch in panel.patches if patch.get_label() == "null predictor"]
        assert band.get_y() == -null - 0.5 and band.get_height() == 1


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
