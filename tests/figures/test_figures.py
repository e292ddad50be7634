"""Figures drawn from made-up tables: what is in them, what they say when there is nothing to show, and their files."""

import functools
import itertools
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memrnn import figures

STYLE = {"context": "paper", "palette": "colorblind", "dpi": 100}
SETTINGS = {"search_steps": 3000, "max_delay": 20, "confidence": 0.95}
SETTINGS["boundaries"] = {"vocu": [343, 686, 1114, 1543, 2057, 2657, 3343, 4200], "decu": [857, 1286, 1714, 2143, 2571]}
CELLS = ("gru", "lstm")
PROTOCOLS = ("vocu", "decu", "nacu")
DELAYS = (1, 2, 5, 10, 20, 30, 45, 70, 100, 150, 200, 300, 450, 700, 1000)
BUDGETS = (300, 1000, 3000, 10000)
CLASSES = range(10)
PREDICTORS_AT_0 = [
    (name, 0) for name in ("centroid_speed", "relaxation_speed", "relaxation_kept", "window_speed", "nominal_accuracy")
]
HOLD = {"trained": 120, "control": 115, "centroid": 600, "slow_points": 700}  # delay at which accuracy has halved
GROWTH = {  # value that grows, and the shares of training at which it does
    "vocu": ("classes", (2, 3, 4, 5, 6, 7, 8, 9, 10), (0, 8, 16, 26, 36, 48, 62, 78, 98)),
    "decu": ("current_steps", (6, 8, 10, 12, 14, 16, 18, 20), (0, 20, 30, 40, 50, 60, 70, 80)),
    "nacu": ("classes", (10,), (0,)),
}


def networks(seeds, phases=("trained",)):
    """Keys of every network of the made-up run."""
    for cell, protocol, phase, seed in itertools.product(CELLS, PROTOCOLS, phases, seeds):
        if phase == "trained" or protocol != "nacu":
            yield {"dataset": "digits", "cell": cell, "curriculum": protocol, "phase": phase, "seed": seed}


def make_tables(seeds=(0, 1, 2, 3)) -> dict[str, pd.DataFrame]:
    """Tables as a run would write them: NaCu learns nothing, slower points hold longer, regularised ones longest."""
    rng = np.random.default_rng(7)
    rows = {name: [] for name in figures.COLUMNS}
    for key in networks(seeds, phases=tuple(HOLD)):
        learns = key["curriculum"] != "nacu"
        skill = rng.normal(0, 0.3)
        for label in CLASSES:
            hold = HOLD[key["phase"]] * np.exp(skill + rng.normal(0, 0.4))
            accuracy = 0.97 / (1 + (np.array(DELAYS) / hold) ** 1.5) * learns
            rows["extrapolation"] += [
                key | {"label": label, "delay": delay, "accuracy": value}
                for delay, value in zip(DELAYS, accuracy, strict=True)
            ]
            rows["scores"].append(key | {"label": label, "extrapolation_score": accuracy[5:].mean(), "learned": learns})
            for budget in BUDGETS:
                speed = 3 / hold / budget**0.3 * np.exp(rng.normal(0, 0.3))
                rows["slow_points"].append(key | {"label": label, "search_steps": budget, "speed": speed})
    for key in networks(seeds):
        name, values, starts = GROWTH[key["curriculum"]]
        for step in range(100, 6001, 100):
            now = values[np.searchsorted(starts, step / 6000 * 140, side="right") - 1]
            task = {"classes": 10, "current_steps": 20, "alpha": 1.0} | {name: now}
            response = 1 / (1 + np.exp(-(step - 900) / 400)) * (key["curriculum"] != "nacu")
            null = 1 - 0.3 * np.exp(-step / 300)
            noise = rng.normal(0, 0.02, 2)
            rows["training"].append(
                key
                | {"step": step, "loss": 0.3, "penalty": 0.0}
                | {"response_accuracy": np.clip(response + noise[0], 0, 1), "null_accuracy": min(1, null + noise[1])}
                | task
            )
    for cell, protocol, budget in itertools.product(CELLS, ("all", *PROTOCOLS), (0, *BUDGETS)):
        rho = np.nan if protocol == "nacu" else -0.7 + 0.1 * rng.normal()
        predictor = "speed" if budget else "centroid_speed"
        key = {"cell": cell, "curriculum": protocol, "predictor": predictor, "search_steps": budget}
        interval = {"low": rho - 0.15, "high": rho + 0.2}
        rows["correlation"].append(key | {"target": "extrapolation_score", "rho": rho} | interval)
        # What the figures of the speed and the score must not show.
        rows["correlation"].append(key | {"target": "lifetime", "rho": 0.99, "low": 0.98, "high": 1.0})
        other = "drift" if budget else "nominal_accuracy"
        other_row = {"target": "extrapolation_score", "rho": 0.97, "low": 0.96, "high": 0.98}
        rows["correlation"].append(key | {"predictor": other} | other_row)
    rows["predictors"], rows["predictions"] = predictor_rows(rng, seeds)
    rows["trial"] = trial_rows(rng)
    for key in networks(seeds):
        if key["curriculum"] != "nacu":
            formed = formation_rows(rng, key)
            rows["formation"] += formed
            rows["backtrack"] += history_rows(rng, formed)
        rows["spectrum"] += spectrum_rows(rng, key)
        if key["seed"] == min(seeds):
            rows["portraits"] += portrait_rows(rng, key)
    for cell in CELLS:
        key = {"dataset": "digits", "cell": cell, "curriculum": "vocu"}
        rows["confusion_test"].append(key | {"excess": 0.21, "p": 0.0123, "classes": 29})
    return {name: pd.DataFrame(made) for name, made in rows.items()}


def formation_rows(rng, key):
    """One network: VoCu's classes appear soon after they are introduced, DeCu's in any order."""
    grows = key["curriculum"] == "vocu"
    introduced = [0, 0, *SETTINGS["boundaries"]["vocu"]] if grows else [0] * 10
    rows = []
    for label, start in enumerate(introduced):
        appears = min(6000, 300 * np.ceil((start + rng.exponential(400 if grows else 1500)) / 300 + 0.01))
        parent = int(rng.integers(max(1, label if grows else 10)))
        shares = rng.dirichlet(np.ones(label)) if grows and label > 1 else [np.nan]
        if (key["seed"], label) == (1, 7):
            appears, parent = np.nan, -1
        of_parent = shares[parent] if len(shares) > 1 and parent >= 0 else np.nan
        rows.append(
            key
            | {"label": label, "learned": True, "introduced": start, "appears": appears, "steps": 6000}
            | {"parent": parent, "parent_confusion": of_parent, "parent_excess": of_parent - np.mean(shares)}
        )
    return rows


def history_rows(rng, formed):
    """Points of one network at 21 checkpoints: slower and slower, and their class's own from `appears` on."""
    return [
        {name: row[name] for name in ("dataset", "cell", "curriculum", "phase", "seed", "label")}
        | {"step": step, "speed": 0.3 * np.exp(-step / 2500 - 0.1 * row["label"] + rng.normal(0, 0.2))}
        | {"readout": row["label"] if step >= row["appears"] else row["parent"]}
        for row in formed
        for step in range(0, 6001, 300)
    ]


def spectrum_rows(rng, key):
    """One network: of ten points three stable, one a saddle, four ghosts of which one fades, a slope, one undecided."""
    modulus = [0.99, 0.95, 0.999, 1.2, 1.01, 1.001, 1.05, 0.98, 0.96, 1.003]
    return [
        key
        | {"label": label, "kind": (["stable"] * 3 + ["saddle"] + ["ghost"] * 4 + ["slope", "undecided"])[label]}
        | {"leading_modulus": size, "time_constant": abs(1 / np.log(size)) * np.exp(rng.normal(0, 0.2))}
        for label, size in enumerate(modulus)
    ]


def portrait_rows(rng, key, trials=2, delay=200):
    """One network: classes on a circle, trajectories that stay around them, centroids a little inside."""
    rows = [{"what": "share", "label": -1, "trial": -1, "step": -1, "pc1": 0.3, "pc2": 0.2, "pc3": 0.1}]
    for label in CLASSES:
        place = 3 * np.array([np.cos(label * 0.628), np.sin(label * 0.628), np.sin(label * 1.256)])
        for what, scale in (("slow_point", 1.0), ("centroid", 0.8)):
            point = dict(zip(("pc1", "pc2", "pc3"), scale * place, strict=True))
            rows.append({"what": what, "label": label, "trial": -1, "step": -1} | point)
        for trial in range(trials):
            for step in range(0, delay + 1, 5):
                here = dict(zip(("pc1", "pc2", "pc3"), place * (step > 0) + rng.normal(0, 0.2, 3), strict=True))
                rows.append({"what": "trajectory", "label": label, "trial": trial, "step": step} | here)
    return [key | row for row in rows]


def predictor_rows(rng, seeds):
    """Predictors of lifetimes: the speed is best, the null predictor and the constant know little."""
    at_points = ("time_constant", "drift", "diffusion")
    single = [*PREDICTORS_AT_0, *(("speed", budget) for budget in BUDGETS), *((name, 3000) for name in at_points)]
    joint = [("speed + drift + diffusion", 3000), ("time_constant + drift + diffusion", 3000), ("constant", 0)]
    compared, predicted = [], []
    for cell, panel, target in itertools.product(CELLS, ("all", *PROTOCOLS), figures.TARGETS):
        for model, steps in single if target == "extrapolation_score" else single + joint:
            rho = np.nan if panel == "nacu" or (model, steps) in joint else rng.uniform(-0.1, 0.8)
            gain = (
                np.nan if "nacu" in panel or model == figures.NULL or target != "lifetime" else rng.uniform(-0.1, 0.2)
            )
            key = {"cell": cell, "curriculum": panel, "target": target, "predictor": model, "search_steps": steps}
            interval = {"low": rho - 0.2, "high": rho + 0.15, "gain_low": gain - 0.1, "gain_high": gain + 0.1}
            compared.append(key | {"rho": rho, "gain": gain} | interval)
    for key in networks(seeds):
        for label, (model, steps) in itertools.product(CLASSES, (("speed", 3000), ("speed", 300), ("constant", 0))):
            learned = key["curriculum"] != "nacu"
            lifetime = min(1000.0, 120 * np.exp(rng.normal(0, 1))) if learned else 20.0
            outcome = {"learned": learned, "lifetime": lifetime, "censored": lifetime == 1000}
            outcome["predicted"] = np.clip(lifetime * np.exp(rng.normal(0, 0.3)), 20, 1000) if learned else np.nan
            for panel in ("all", key["curriculum"]):
                where = {"panel": panel, "label": label, "model": model, "search_steps": steps}
                predicted.append(key | where | outcome)
    return compared, predicted


def trial_rows(rng, steps=20, stimulus=5, response=14, label=3, shape=(8, 8, 1), noise=0.37):
    """One trial: noise with an image at `stimulus`, a trigger at `response`, and outputs that are nearly right."""
    image = rng.normal(0.3, noise, (steps, np.prod(shape)))
    image[stimulus] = np.indices(shape).sum(0).ravel() / np.sum(shape)
    target = np.zeros((steps, 11))
    target[np.arange(steps), 0] = 1
    target[response] = np.eye(11)[label + 1]
    values = {
        "pixel": image,
        "trigger": (np.arange(steps) == response)[:, None].astype(float),
        "stimulus": (np.arange(steps) == stimulus)[:, None].astype(float),
        "target": target,
        "output": np.clip(0.9 * target + rng.normal(0.05, 0.03, target.shape), 0, 1),
        "shape": np.array([shape], dtype=float),
    }
    return [
        {"step": step, "quantity": quantity, "index": index, "value": value}
        for quantity, array in values.items()
        for (step, index), value in np.ndenumerate(array)
    ]


@pytest.fixture(scope="module")
def tables():
    return make_tables()


@pytest.fixture(scope="module")
def drawn(tables):
    """Figure of the full tables by name, each drawn once; tests look at it and leave it as it is."""
    return functools.cache(lambda name: draw(name, tables))


def draw(name, tables):
    return figures.draw(name, tables, STYLE, SETTINGS)


def texts(axes) -> str:
    return "\n".join(text.get_text() for text in axes.texts)


def legend_labels(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# ------------------------------------------------------------------------------------------------ what is in a figure

PANELS = {  # number of panels, x label of the lowest, y label of the first
    "trial": (4, "time (steps)", "input"),  # frames, trigger, outputs, colour bar
    "training": (6, "training step", "accuracy"),
    "extrapolation": (2, "delay (time steps)", "accuracy"),
    "correlation": (2, "speed (per time step)", "extrapolation score"),
    "budget": (2, "search budget (descent steps)", r"$\rho$ of speed and score"),
    "backtrack": (4, "training step", "speed (per time step)"),
    "formation": (10, "training step", "class"),
    "regularisation": (4, "delay (time steps)", "accuracy"),
    "kinds": (2, "share of points", ""),
    "portraits": (12, "PC 1 (30 %)", "PC 2 (20 %)"),
    "predictors": (6, "lifetime (steps)", ""),
}


@pytest.mark.parametrize("name", PANELS)
def test_panels_and_labels(name, drawn):
    count, x, y = PANELS[name]
    figure = drawn(name)
    assert len(figure.axes) == count
    assert x in [axes.get_xlabel().splitlines()[0] for axes in figure.axes if axes.get_xlabel()]
    assert figure.axes[0].get_ylabel() == y


def words_of(figure) -> list:
    """Every text that is drawn: titles, labels, notes, legend, and the ticks within the axes' limits."""
    found = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("name", PANELS)
def test_every_word_lies_inside_the_figure_and_is_readable(name, drawn):
    figure = drawn(name)
    words, box = words_of(figure), figure.bbox
    assert len(words) > 15
    for text in words:
        found = text.get_window_extent()
        assert box.x0 <= found.x0 < found.x1 <= box.x1, text
        assert box.y0 <= found.y0 < found.y1 <= box.y1, text
        assert text.get_fontsize() >= 8, text


@pytest.mark.parametrize("name", PANELS)
def test_titles_legends_and_labels_do_not_overlap(name, drawn):
    figure = drawn(name)
    words = list(figure.legends)
    words += [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    words = [word for word in words if not hasattr(word, "get_text") or word.get_text()]
    boxes = [word.get_window_extent() for word in words]
    for (one, a), (other, b) in itertools.combinations(zip(words, boxes, strict=True), 2):
        assert not a.shrunk(0.98, 0.98).overlaps(b.shrunk(0.98, 0.98)), (one, other)


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


def test_trial_marks_stimulus_response_and_target(drawn):
    frames, trigger, outputs, bar = drawn("trial").axes
    assert {(text.get_text(), text.xy[0]) for text in frames.texts} == {("stimulus", 5), ("response", 14)}
    assert len(frames.images) == 20
    assert list(trigger.lines[0].get_ydata()) == [0] * 14 + [1] + [0] * 5
    due = {tuple(map(int, point)) for point in outputs.collections[-1].get_offsets()}
    assert due == {(step, 0) for step in range(20) if step != 14} | {(14, 4)}  # null, and class 3 at the response
    assert outputs.images[0].get_array().shape == (11, 20)
    assert bar.get_ylabel() == "value of the output"


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 10, 1), (6, 4, 3)], ids=["square", "wide", "colour"])
def test_trial_shows_frames_in_their_shape_and_the_stimulus_where_the_table_has_it(shape):
    # Every frame is within an image's range, so that nothing but the table tells which one is the stimulus.
    rows = pd.DataFrame(trial_rows(np.random.default_rng(1), stimulus=2, shape=shape, noise=0.01))
    frames = draw("trial", {"trial": rows}).axes[0]
    assert ("stimulus", 2) in {(text.get_text(), text.xy[0]) for text in frames.texts}
    pixels = rows[rows["quantity"] == "pixel"].pivot(index="step", columns="index", values="value").to_numpy()
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert len(frames.images) == 20
    for image, flat in zip(frames.images, pixels, strict=True):
        np.testing.assert_allclose(np.reshape(image.get_array(), shape), flat.reshape(shape))
        assert image.get_array().shape[:2] == shape[:2]


def test_training_says_what_grows_and_when(drawn):
    figure = drawn("training")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == [
        "GRU, VoCu\n2 to 10 classes",
        "GRU, DeCu\n6 to 20 time steps",
        "GRU, NaCu\nfull task throughout",
    ]
    upright = [
        [line.get_xdata()[0] for line in axes.lines if line.get_label() == figures.GROWN] for axes in figure.axes
    ]
    assert [len(steps) for steps in upright[:3]] == [8, 7, 0]
    assert upright[0][:2] == [400, 700]  # first logged steps past 8/140 and 16/140 of 6,000
    assert legend_labels(figure) == ["at the response (class)", "at all other steps (null)", figures.GROWN]


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


def test_regularisation_compares_four_rows_of_the_protocols_trained_on(tables, drawn):
    figure = drawn("regularisation")
    assert [axes.get_title() for axes in figure.axes] == ["GRU, VoCu", "GRU, DeCu", "LSTM, VoCu", "LSTM, DeCu"]
    assert legend_labels(figure)[:4] == list(figures.PHASES.values())
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


def test_a_band_stays_within_what_accuracies_can_be(tables):
    wide = tables["extrapolation"].assign(accuracy=lambda rows: rows["seed"] % 2)
    for panel in draw("extrapolation", tables | {"extrapolation": wide}).axes:
        for band in panel.collections:
            ys = np.vstack([path.vertices for path in band.get_paths()])[:, 1]
            assert (ys.min(), ys.max()) == (0, 1)


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


def speed_rows(tables):
    """Rho of the GRU's speed and the extrapolation score."""
    mine = "cell == 'gru' and target == 'extrapolation_score' and predictor in ('speed', 'centroid_speed')"
    return tables["correlation"].query(mine)


def test_budget_shows_the_speed_and_the_score_alone(tables, drawn):
    for panel in drawn("budget").axes:
        shown = np.concatenate([bars.lines[0].get_ydata() for bars in panel.containers])
        assert len(shown) == 3 * 5 and shown.max() < 0
    alone = figures.draw("budget", {"correlation": speed_rows(tables)}, STYLE, SETTINGS).axes[0]
    same = [
        [bars.lines[0].get_ydata().tolist() for bars in axes.containers] for axes in (alone, drawn("budget").axes[0])
    ]
    assert same[0] == same[1]


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
    for bars, target in zip(ranks.containers, figures.TARGETS, strict=True):
        rho = here[here["target"] == target]["rho"].dropna()
        heights = [float(height) for height in bars.lines[0].get_ydata()]
        shown = dict(zip(map(round, heights), bars.lines[0].get_xdata(), strict=True))
        assert [shown[-3], shown[-10], shown[-11]] == [*rho[[("speed", 3000), ("diffusion", 3000), (figures.NULL, 0)]]]
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


def test_budget_puts_the_centroid_before_the_budgets(tables, drawn):
    panel = drawn("budget").axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["centroid", "300", "1k", "3k", "10k"]
    assert sorted(panel.get_xticks()) == list(panel.get_xticks())
    pooled = speed_rows(tables).query("curriculum == 'all' and search_steps > 0")
    line = next(bars for bars in panel.containers if bars.get_label() == "all protocols")
    assert line.lines[0].get_ydata() == pytest.approx(pooled["rho"].to_numpy())


def test_interval_is_students_over_networks():
    # 0.4, 0.5, 0.5, 0.6: mean 0.5, standard error 0.0816 / 2; t(97.5 %, 3) = 3.1824
    low, high = figures.interval(np.array([[0.4, 1.0], [0.5, 1.0], [0.5, 1.0], [0.6, 1.0]]), confidence=0.95)
    assert low == pytest.approx([0.5 - 3.1824 * 0.040825, 1.0], abs=1e-4)
    assert high == pytest.approx([0.5 + 3.1824 * 0.040825, 1.0], abs=1e-4)
    assert figures.interval(np.array([[0.3, 0.4]]), confidence=0.95) is None


def test_a_protocol_looks_the_same_whichever_others_there_are():
    alone = figures.looks(["decu"], figures.PROTOCOLS, "colorblind")["decu"]
    among = figures.looks(["vocu", "decu", "mine"], figures.PROTOCOLS, "colorblind")
    assert alone == among["decu"]
    assert len({look.colour for look in among.values()}) == len(among)
    assert among["mine"].label == "mine"


def stretches(panel, label) -> list[tuple[float, float]]:
    """First and last x of what is drawn of the lines with a label."""
    lines = [line for line in panel.lines if line.get_label() == label]
    kept = [line.get_xdata()[np.isfinite(line.get_ydata())] for line in lines]
    return [(x.min(), x.max()) for x in kept if len(x)]


def test_backtrack_marks_boundaries_and_whose_point_it_is(tables):
    history = tables["backtrack"].copy()
    # Class 3 of GRU under VoCu becomes its own at 1200 in three networks of four; at 900 in two, which is no majority.
    here = (history["cell"] == "gru") & (history["curriculum"] == "vocu") & (history["label"] == 3)
    begins = here & (history["step"] < history["seed"].map({0: 900, 1: 900, 2: 1200, 3: 6001}))
    history.loc[here, "readout"] = 3
    history.loc[begins, "readout"] = 0
    history.loc[here, "speed"] = np.where(history.loc[here, "seed"] < 2, 0.01, 1.0)
    panel = draw("backtrack", tables | {"backtrack": history}).axes[0]
    assert panel.get_title() == "GRU, VoCu\n4 networks"
    assert panel.get_yscale() == "log"
    assert stretches(panel, "class 3") == [(1200, 6000)]
    (line,) = [line for line in panel.lines if line.get_label() == "class 3"]
    assert line.get_ydata()[-1] == pytest.approx(0.1)  # the geometric mean of 0.01, 0.01, 1, 1
    faint = [other for other in panel.lines if other.get_color() == line.get_color() and other.get_linestyle() == "--"]
    assert [(each.get_xdata().min(), each.get_xdata().max()) for each in faint] == [(0, 6000)]
    marks = [line.get_xdata()[0] for line in panel.lines if line.get_label() == "the task changes"]
    assert marks == SETTINGS["boundaries"]["vocu"]
    dots = [other for other in panel.lines if other.get_color() == line.get_color() and other.get_marker() == "o"]
    assert [len(each.get_xdata()) for each in dots] == [0]


def test_backtrack_marks_a_point_that_is_its_own_at_a_single_checkpoint(tables):
    history = tables["backtrack"].copy()
    here = (history["cell"] == "gru") & (history["curriculum"] == "vocu") & (history["label"] == 3)
    history.loc[here, "readout"] = np.where(history.loc[here, "step"].isin([600, 1500, 1800, 6000]), 3, 0)
    panel = draw("backtrack", tables | {"backtrack": history}).axes[0]
    (line,) = [line for line in panel.lines if line.get_label() == "class 3"]
    (dots,) = [each for each in panel.lines if each.get_color() == line.get_color() and each.get_marker() == "o"]
    assert dots.get_xdata().tolist() == [600, 6000]


def test_followed_networks_that_have_not_learned_are_left_out(tables):
    formed = tables["formation"].copy()
    formed.loc[(formed["cell"] == "gru") & (formed["seed"] > 0), "learned"] = False
    formed.loc[formed["cell"] == "lstm", "learned"] = False
    figure = draw("backtrack", tables | {"formation": formed})
    assert [axes.get_title().splitlines()[1] for axes in figure.axes] == ["1 network"] * 2 + ["0 networks"] * 2
    assert [texts(axes) for axes in figure.axes] == ["", "", *["no network learned"] * 2]
    titles = [axes.get_title() for axes in draw("formation", tables | {"formation": formed}).axes]
    assert [title.splitlines()[0] for title in titles] == ["GRU, seed 0", "GRU, 8 of 8 later classes"]
    formed["learned"] = False
    assert {texts(axes) for axes in draw("backtrack", tables | {"formation": formed}).axes} == {"no network learned"}
    assert texts(draw("formation", tables | {"formation": formed}).axes[0]) == "of VoCu, no network learned"


def test_formation_draws_every_split_and_every_class_that_never_appeared(tables, drawn):
    figure = drawn("formation")
    formed = tables["formation"].query("cell == 'lstm' and curriculum == 'vocu' and seed == 1")
    panel = figure.axes[5]
    assert panel.get_title() == "LSTM, seed 1"
    upright = {
        (line.get_xdata()[0], *line.get_ydata())
        for line in panel.lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    }
    split = formed[formed["appears"].notna() & (formed["parent"] >= 0)]
    assert upright == set(zip(split["appears"], split["parent"], split["label"], strict=True))
    crosses = [line for line in panel.lines if line.get_marker() == "x"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in crosses] == [(6000, 7)]
    marks = [line for line in panel.lines if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in marks] == formed["introduced"].tolist()
    shares = figure.axes[9]
    assert shares.get_title() == "LSTM, 31 of 32 later classes\nexcess 0.21, $p = 0.012$"
    shown = np.concatenate([line.get_ydata() for line in shares.lines if line.get_marker() == "D"])
    entered = tables["formation"].query("cell == 'lstm'").dropna(subset="parent_excess")
    assert sorted(shown) == sorted(entered["parent_confusion"])
    expected = np.concatenate([line.get_ydata() for line in shares.lines if line.get_marker() == "_"])
    assert sorted(expected) == pytest.approx(sorted(entered["parent_confusion"] - entered["parent_excess"]))


def test_nobody_followed_back_is_said(tables):
    nothing = {name: pd.DataFrame(columns=list(figures.COLUMNS[name])) for name in figures.MAY_BE_EMPTY}
    assert texts(draw("backtrack", nothing).axes[0]) == "no network was followed back"
    assert texts(draw("formation", nothing).axes[0]) == "of VoCu, none was followed back"
    decu = {name: frame[frame["curriculum"] == "decu"] for name, frame in tables.items() if name in nothing}
    assert [axes.get_title().split("\n")[0] for axes in draw("backtrack", decu).axes] == ["GRU, DeCu", "LSTM, DeCu"]
    assert texts(draw("formation", decu).axes[0]) == "of VoCu, none was followed back"


def test_kinds_are_counted_over_the_networks_that_learned(tables, drawn):
    shares, constants = drawn("kinds").axes
    lines = [f"{cell}, {protocol}" for cell in ("GRU", "LSTM") for protocol in ("VoCu", "DeCu", "NaCu")]
    assert [label.get_text() for label in shares.get_yticklabels()] == lines
    assert texts(shares).splitlines() == [*["12", "4", "16", "4", "4"] * 2, "no network learned"] * 2
    widths = [round(bar.get_width(), 6) for bar in shares.patches[:5]]
    assert widths == [0.3, 0.1, 0.4, 0.1, 0.1]
    assert [bar.get_x() for bar in shares.patches[:5]] == pytest.approx([0, 0.3, 0.4, 0.8, 0.9])
    assert legend_labels(drawn("kinds"))[:5] == list(figures.KINDS.values())
    stable = constants.collections[0]
    rows = tables["spectrum"].query("cell == 'gru' and curriculum == 'vocu' and kind == 'stable'")
    assert stable.get_offsets()[:, 0].tolist() == pytest.approx(rows["time_constant"].tolist())
    assert constants.get_xscale() == "log"
    ghost = constants.collections[2]
    filled = (ghost.get_facecolors()[:, :3] != 1).any(axis=1)
    growing = (
        tables["spectrum"].query("cell == 'gru' and curriculum == 'vocu' and kind == 'ghost'")["leading_modulus"] > 1
    )
    assert filled.tolist() == growing.tolist()


def test_portraits_place_every_point_and_fade_the_past(tables, drawn):
    figure = drawn("portraits")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["GRU, VoCu", "GRU, DeCu", "GRU, NaCu"]
    assert titles[3:6] == [""] * 3
    assert titles[6] == "LSTM, VoCu"
    assert legend_labels(figure) == ["centroid", "slow point", *(f"class {k}" for k in CLASSES)]
    rows = tables["portraits"].query("cell == 'gru' and curriculum == 'vocu'")
    for panel, up in ((figure.axes[0], "pc2"), (figure.axes[3], "pc3")):
        points = rows[rows["what"] == "slow_point"]
        assert [(text.get_text(), *text.get_position()) for text in panel.texts] == [
            (str(label), pytest.approx(x), pytest.approx(y))
            for label, x, y in points[["label", "pc1", up]].itertuples(index=False)
        ]
        path = rows.query("what == 'trajectory' and label == 4 and trial == 1")[["pc1", up]].to_numpy()
        colour = next(line.get_color() for line in panel.lines if line.get_label() == "class 4")
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
    assert len(legend_labels(figure)) == 22


# ------------------------------------------------------------------------------------------- little or nothing to show


@pytest.mark.parametrize("name", PANELS)
def test_one_seed_has_no_interval(name):
    figure = draw(name, make_tables(seeds=(3,)))
    assert len(figure.axes) == (4 if name == "formation" else PANELS[name][0])
    if name in ("extrapolation", "training", "regularisation"):
        assert not any(axes.collections for axes in figure.axes)


@pytest.mark.parametrize("name", PANELS)
def test_one_cell_one_protocol(name, tables):
    table = tables | {
        key: frame[(frame["cell"] == "gru") & frame["curriculum"].isin(["vocu", "all"])]
        for key, frame in tables.items()
        if key != "trial"
    }
    assert len(draw(name, table).axes) == {"trial": 4, "formation": 5, "kinds": 2, "portraits": 2, "predictors": 3}.get(
        name, 1
    )


def test_nothing_learned_is_said(tables):
    unlearned = tables | {
        "scores": tables["scores"].assign(learned=False),
        "correlation": tables["correlation"].assign(rho=np.nan, low=np.nan, high=np.nan),
    }
    for panel in draw("correlation", unlearned).axes:
        assert texts(panel) == "no network learned"
        assert panel.get_title().endswith("rho not computed")
        assert "12 networks not learned, left out" in panel.get_xlabel()
    nothing = {
        "predictors": tables["predictors"].assign(**dict.fromkeys(("rho", "low", "high", "gain"), np.nan)),
        "predictions": tables["predictions"].assign(learned=False, predicted=np.nan),
    }
    for panel in draw("predictors", nothing).axes:
        assert " ".join(texts(panel).split()) == "not computed: too few networks learned"
    assert set(texts(draw("kinds", unlearned).axes[0]).splitlines()) == {"no network learned"}
    for panel in draw("budget", unlearned).axes:
        assert texts(panel) == "rho not computed:\ntoo few networks learned"


def test_no_interval_leaves_rho_bare(tables):
    alone = tables | {"correlation": tables["correlation"].assign(low=np.nan, high=np.nan)}
    assert draw("correlation", alone).axes[0].get_title().startswith("GRU\npooled $\\rho = -0.")
    assert "[" not in draw("correlation", alone).axes[0].get_title()
    draw("budget", alone)


def test_nobody_regularised_is_said(tables):
    trained = tables["extrapolation"].query("phase == 'trained'")
    assert texts(draw("regularisation", {"extrapolation": trained}).axes[0]) == "no network was trained on"


def test_speed_zero_is_counted(tables):
    still = tables["slow_points"].copy()
    here = (still["cell"] == "gru") & (still["curriculum"] == "vocu") & (still["seed"] == 0) & (still["label"] == 4)
    still.loc[here, "speed"] = 0.0
    panel = draw("correlation", tables | {"slow_points": still}).axes[0]
    assert "1 point with speed 0, not drawn" in panel.get_xlabel()


def test_refuses_unknown_figures_and_missing_tables(tables):
    with pytest.raises(ValueError, match="no figure named 'trail'; expected one of trial, training"):
        figures.tables_for("trail")
    with pytest.raises(ValueError, match="'correlation' needs the tables slow_points, correlation; given: scores"):
        draw("correlation", {"scores": tables["scores"]})


# ------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", PANELS)
def test_files_are_whole_not_blank_and_repeatable(name, tables, drawn, tmp_path):
    for copy, figure in {"one": drawn(name), "two": draw(name, tables)}.items():
        figures.save(figure, tmp_path / f"{copy}.png", tmp_path / f"{copy}.svg", dpi=100)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()

    image = Image.open(tmp_path / "one.png").convert("RGB")
    assert image.width == 700  # inches x dots per inch
    pixels = np.asarray(image, dtype=float)
    assert pixels.std() > 15
    assert len(image.getcolors(maxcolors=image.width * image.height)) > 100

    root = ElementTree.parse(tmp_path / "one.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg", "two.png", "two.svg"]


def test_style_changes_the_picture(tables, drawn):
    plain = drawn("extrapolation")
    talk = figures.draw("extrapolation", tables, STYLE | {"context": "talk", "palette": "deep"}, SETTINGS)
    size = [figure.axes[0].xaxis.label.get_fontsize() for figure in (plain, talk)]
    assert size[0] < size[1]
    assert plain.axes[0].lines[-3].get_color() != talk.axes[0].lines[-3].get_color()


def test_planning_needs_no_plotting_library():
    check = (
        "import sys; from memrnn.figures import TABLES; "
        "assert TABLES['correlation'] == ('slow_points', 'scores', 'correlation'); "
        "print(*{'torch', 'seaborn', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == ""


def test_every_table_has_its_columns_listed():
    assert {table for needed in figures.TABLES.values() for table in needed} == set(figures.COLUMNS)
