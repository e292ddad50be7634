"""What tells best how long a class is remembered."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables

TARGETS = {  # colour, marker and its face
    "lifetime": ("with the lifetime", "black", "o", "black"),
    "extrapolation_score": ("with the extrapolation score", "0.5", "s", "white"),
}
PREDICTORS = {
    "centroid_speed": "speed, centroid",
    "speed": "speed",
    "relaxed_speed": "speed, relaxed",
    "relaxation_speed": "speed, relaxing",
    "relaxation_kept": "noise-free lifetime",
    "window_speed": "speed, first steps",
    "time_constant": "time constant",
    "drift": "drift",
    "diffusion": "diffusion",
    "nominal_accuracy": "nominal accuracy",
    "speed + drift + diffusion": "speed + noise",
    "time_constant + drift + diffusion": "time const. + noise",
    "constant": "constant",
}
NULL = "nominal_accuracy"


def draw(tables: Tables, settings: Settings) -> Figure:
    """Which predictor is best, a row of panels per cell, protocols pooled: oriented rho of every predictor, its gain in
    predicting lifetimes of left-out networks, and the lifetimes predicted from the speed against those measured."""
    pooled = tables["predictors"].query("curriculum == @POOLED", local_dict={"POOLED": style.POOLED})
    # Of the times of the relaxed speed, the one that the claims use.
    other_time = (pooled["predictor"] == "relaxed_speed") & (pooled["search_steps"] != 2 * settings["max_delay"])
    pooled = pooled[~other_time]
    cells = style.ordered(pooled["cell"], style.CELLS)
    # The best first, over cells, by rho with the lifetime; what has no rho comes last, by its gain.
    means = pooled[pooled["target"] == "lifetime"].groupby(["predictor", "search_steps"])[["rho", "gain"]].mean()
    models = list(means.sort_values(["rho", "gain"], ascending=False, kind="stable").index)
    places = {model: -place for place, model in enumerate(models)}
    reference = predictor_label("speed", settings["search_steps"])
    pooled = pooled.assign(
        place=[places[model] for model in zip(pooled["predictor"], pooled["search_steps"], strict=True)]
    )
    figure = Figure(figsize=(style.WIDTH, max(1, len(cells)) * (0.17 * len(models) + 0.9) + 0.6), layout="constrained")
    axes = figure.subplots(max(1, len(cells)), 3, squeeze=False, width_ratios=(1, 1, 1.35))
    for line, cell in zip(axes, cells, strict=False):
        here = pooled[pooled["cell"] == cell]
        name = style.CELLS.get(cell, cell)
        predictor_ranks(line[0], here)
        predictor_gains(line[1], here[here["target"] == "lifetime"])
        predicted_lifetimes(line[2], tables["predictions"].query("cell == @cell"), settings)
        for panel, title in zip(line, ("rank correlation", "gain in prediction", f"from {reference}"), strict=True):
            panel.set_title(f"{name}\n{title}")
        for panel in line[:2]:
            panel.set(yticks=list(places.values()), ylim=(min(places.values()) - 0.7, 0.7))
            panel.axhspan(
                *(places.get((NULL, 0), 0) + shift for shift in (-0.5, 0.5)), color=style.QUIET, alpha=0.15,
                linewidth=0, zorder=0, label="null predictor",
            )  # fmt: skip
            panel.tick_params(axis="y", length=0)
        line[0].set_yticklabels([predictor_label(*model) for model in models])
        for text in line[0].get_yticklabels():
            text.set_fontweight("bold" if text.get_text() == reference else "normal")
        line[1].set_yticklabels([])
    for panel, label in zip(
        axes[-1], (r"$\rho$, + as expected", r"gain ($\log_{10}$ steps)", "lifetime (steps)"), strict=True
    ):
        panel.set_xlabel(label)
    if not cells:
        style.say(axes[0, 0], "no network")
    style.legend(figure)
    return figure


def predictor_label(predictor: str, steps: int) -> str:
    """Name of a predictor for people; of the speed with its budget."""
    name = PREDICTORS.get(predictor, predictor)
    return f"{name}, {style.short(steps)} steps" if predictor == "speed" else name


def predictor_ranks(panel: Axes, table: pd.DataFrame) -> None:
    """Oriented rho of every predictor with its interval, for both targets, at the rows' `place`."""
    panel.axvline(0, color=style.QUIET, linewidth=0.8, zorder=0.5)
    for target, shift in zip(TARGETS, (0.17, -0.17), strict=True):
        bars(panel, table[table["target"] == target].dropna(subset="rho"), ("rho", "low", "high"), target, shift)
    if table["rho"].isna().all():
        style.say(panel, "not computed:\ntoo few\nnetworks learned")
    panel.set_xlim(-1.05, 1.05)


def predictor_gains(panel: Axes, table: pd.DataFrame) -> None:
    """Gain of every model on the null predictor with its interval, at the rows' `place`."""
    panel.axvline(0, color=style.QUIET, linewidth=0.8, zorder=0.5)
    rows = table.dropna(subset="gain")
    bars(panel, rows, ("gain", "gain_low", "gain_high"), "lifetime", 0)
    if rows.empty:
        style.say(panel, "not computed:\ntoo few\nnetworks learned")
    panel.locator_params(axis="x", nbins=4)


def bars(panel: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], target: str, shift: float) -> None:
    """Values with their intervals, lying at the rows' `place` plus `shift`, in the look of a target."""
    label, colour, marker, face = TARGETS[target]
    value, low, high = columns
    # an interval that could not be computed has no length
    spread = np.abs(rows[[low, high]].sub(rows[value], axis=0)).fillna(0).to_numpy().T
    panel.errorbar(
        rows[value], rows["place"] + shift, xerr=spread, color=colour, marker=marker, markerfacecolor=face,
        markersize=3.5, markeredgewidth=0.8, linestyle="none", elinewidth=1.0, label=label,
    )  # fmt: skip


def predicted_lifetimes(panel: Axes, table: pd.DataFrame, settings: Settings) -> None:
    """Lifetimes predicted from the reference against those measured, one mark per class of a left-out network."""
    table = table[(table["panel"] == style.POOLED) & (table["model"] == "speed")]
    table = table[table["search_steps"] == settings["search_steps"]]
    protocols = style.looks(table["curriculum"], style.PROTOCOLS, settings["palette"])
    known = table.dropna(subset="predicted")
    for protocol in style.ordered(known["curriculum"], style.PROTOCOLS):
        look, part = protocols[protocol], known[known["curriculum"] == protocol]
        for censored, face in ((False, look.colour), (True, "none")):
            rows = part[part["censored"] == censored]
            panel.scatter(
                rows["lifetime"], rows["predicted"], s=16, marker=look.marker, facecolors=face,
                edgecolors=[look.colour], linewidths=0.8, alpha=0.75, label=None if censored else look.label,
            )  # fmt: skip
    # Predictions go up to the longest delay, lifetimes need not.
    longest = max(settings["max_delay"] + 1, *np.nan_to_num(table[["lifetime", "predicted"]].max()))
    ends = np.array([settings["max_delay"], longest], dtype=float)
    panel.plot(ends, ends, color=style.QUIET, linewidth=0.9, zorder=0.5)
    panel.scatter(
        [], [], s=16, facecolors="none", edgecolors=style.QUIET, linewidths=0.8, label="outlasts the longest delay"
    )
    if known.empty:
        style.say(panel, "not computed:\ntoo few networks learned")
    for axis, set_scale in ((panel.xaxis, panel.set_xscale), (panel.yaxis, panel.set_yscale)):
        set_scale("log")
        style.tick_steps(axis, *ends)
    limits = ends[0] / 1.15, ends[1] * 1.15
    panel.set(xlim=limits, ylim=limits, ylabel="predicted (steps)")


def caption(tables: Tables, settings: Settings) -> str:
    spectrum, steps = settings["spectrum"], settings["search_steps"]
    return f"""
    What tells best how long a class is remembered? Protocols are pooled.
    Bars are {style.percent(settings)} intervals over seeds.

    Left: Spearman's rank correlation (rho) of each predictor with the lifetime, the delay at which accuracy has
    fallen half-way to chance, and with the extrapolation score, the mean accuracy beyond T_max =
    {settings["max_delay"]}. Signs are turned so that a positive rho is as expected: slower, less moved by noise, more
    accurate, with a longer time constant. "Speed, relaxed" is the speed after {2 * settings["max_delay"]} noise-free
    steps from the centroid, the same for all classes. "Speed, relaxing" is the least speed on the noise-free way from
    the centroid while the class is read out, and "noise-free lifetime" is how long that is, up to
    {spectrum["relaxation_steps"]} steps. Both hold part of the outcome. "Speed, first steps" is the least speed of
    the first {spectrum["noise_steps"]} of those steps, which cannot hold it. The grey band is the null predictor:
    accuracy in the training task, which needs no look at the dynamics.

    Middle: the lifetimes of each network's classes are predicted by a straight line through the networks of all other
    seeds. The gain is how much smaller the error is than with the null predictor; 0.3 is a factor of 2. "+ noise" adds
    drift and diffusion. "Constant" knows only the lifetimes of the other networks.

    Right: lifetimes predicted from the speed after {steps} steps of the search (bold on the left) against those
    measured, one mark a class.
    """
