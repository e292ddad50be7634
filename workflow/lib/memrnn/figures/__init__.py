"""The figures of a run, drawn from its tables alone.

A figure is one entry of `FIGURES`: a draw function and the tables it needs. Importing this module is cheap, because the
rule file asks it for `TABLES` while the run is planned; the plotting libraries are imported when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
from memrnn.core.files import write_atomic

# Columns each table must have for the figures that read it.
COLUMNS = {
    "trial": ("step", "quantity", "index", "value"),
    "training": (
        *("cell", "curriculum", "phase", "seed", "step"),
        *("response_accuracy", "null_accuracy", "classes", "current_steps", "alpha"),
    ),
    "extrapolation": ("cell", "curriculum", "phase", "seed", "label", "delay", "accuracy"),
    "slow_points": ("cell", "curriculum", "phase", "seed", "label", "search_steps", "speed"),
    "scores": ("cell", "curriculum", "phase", "seed", "label", "extrapolation_score", "learned"),
    "correlation": ("cell", "curriculum", "predictor", "search_steps", "target", "rho", "low", "high"),
    "backtrack": ("cell", "curriculum", "seed", "label", "step", "speed", "readout"),
    "formation": (
        *("cell", "curriculum", "seed", "label", "learned", "introduced", "appears", "steps"),
        *("parent", "parent_confusion", "parent_excess"),
    ),
    "confusion_test": ("cell", "curriculum", "excess", "p"),
    "spectrum": ("cell", "curriculum", "phase", "seed", "label", "leading_modulus", "time_constant", "kind"),
    "portraits": ("cell", "curriculum", "seed", "what", "label", "trial", "step", "pc1", "pc2", "pc3"),
    "predictors": (
        *("cell", "curriculum", "target", "predictor", "search_steps", "rho", "low", "high"),
        *("gain", "gain_low", "gain_high"),
    ),
    "predictions": (
        *("cell", "panel", "curriculum", "seed", "label", "model", "search_steps"),
        *("learned", "lifetime", "censored", "predicted"),
    ),
}
MAY_BE_EMPTY = ("backtrack", "formation", "confusion_test")  # where no network is followed back through training

# Names for people, in the order of panels and legends. What is not listed keeps its own name and comes last.
CELLS = {"gru": "GRU", "lstm": "LSTM"}
PROTOCOLS = {"vocu": "VoCu", "decu": "DeCu", "nacu": "NaCu", "recu": "ReCu"}
PHASES = {
    "trained": "none (as trained)",
    "control": "control (penalty 0)",
    "centroid": "centroids slowed",
    "slow_points": "slow points slowed",
}
KINDS = {
    "stable": "stable fixed point",
    "saddle": "saddle",
    "ghost": "ghost",
    "slope": "slope",
    "undecided": "undecided",
}
TARGETS = {  # colour, marker and its face
    "lifetime": ("with the lifetime", "black", "o", "black"),
    "extrapolation_score": ("with the extrapolation score", "0.5", "s", "white"),
}
PREDICTORS = {
    "centroid_speed": "speed, centroid",
    "speed": "speed",
    "relaxation_speed": "speed, relaxing",
    "relaxation_kept": "noise-free lifetime",
    "window_speed": "speed, first steps",
    "time_constant": "time constant",
    "drift": "drift",
    "diffusion": "diffusion",
    "nominal_accuracy": "accuracy at $T_{max}$",
    "speed + drift + diffusion": "speed + noise",
    "time_constant + drift + diffusion": "time const. + noise",
    "constant": "constant",
}
NULL = "nominal_accuracy"
POOLED = "all"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))

WIDTH = 7.0  # inches: a text column's width, so that the sizes below are the sizes on the page
QUIET = "0.45"  # grey of what is context, not data
TREES = 4  # networks of a cell whose formation is drawn
GROWN = "first logged step after the task grew"


class Figure(NamedTuple):
    """One figure: `draw(tables, style, settings)` and the tables it reads."""

    draw: Callable[[Mapping[str, pd.DataFrame], Mapping[str, Any], Mapping[str, Any]], Drawing]
    tables: tuple[str, ...]


class Look(NamedTuple):
    """How one value of a variable is drawn, alike in every figure."""

    label: str
    colour: Any
    marker: str
    line: Any


def tables_for(name: str) -> tuple[str, ...]:
    """Tables that a figure reads.

    Raises:
        ValueError: no such figure; the message lists those there are.
    """
    if name not in TABLES:
        raise ValueError(f"no figure named {name!r}; expected one of {', '.join(TABLES)}")
    return TABLES[name]


def draw(
    name: str, tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Draw one figure.

    Args:
        name: key of `FIGURES`.
        tables: the tables of `tables_for(name)`, with the columns in `COLUMNS`.
        style: context and palette (names of seaborn's).
        settings: search_steps (budget at which the claims are judged), max_delay (T_max, time steps), confidence (of
            the intervals over networks, as a share) and boundaries (of each protocol, the training steps at which it
            changes the task).
    Raises:
        ValueError: no such figure, or a table it needs was not given.
    """
    import seaborn
    from matplotlib import rc_context

    missing = [table for table in tables_for(name) if table not in tables]
    if missing:
        raise ValueError(f"figure {name!r} needs the tables {', '.join(missing)}; given: {', '.join(tables) or 'none'}")
    base = seaborn.axes_style("ticks") | seaborn.plotting_context(style["context"])
    with rc_context(base | {"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": "medium"}):
        figure = FIGURES[name].draw(tables, style, settings)
        # Ticks are made when first needed: make them, and settle the layout, while the style is in force.
        figure.draw_without_rendering()
    return figure


def save(figure: Drawing, png: str | Path, svg: str | Path, dpi: int) -> None:
    """Write a figure as PNG and SVG, each file whole or absent; the same figure always gives the same bytes."""
    from matplotlib import rc_context

    with write_atomic(png) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
    # Identifiers inside an SVG are random and its header dated unless told otherwise.
    with write_atomic(svg) as temporary, rc_context({"svg.hashsalt": "memrnn"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


# ------------------------------------------------------------------------------------------------------ shared pieces


def ordered(values: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Distinct values in the order of `names`, then the ones `names` lacks, sorted."""
    found = set(values)
    return [name for name in names if name in found] + sorted(found - set(names))


def looks(values: Iterable[str], names: Mapping[str, str], palette: str) -> dict[str, Look]:
    """Look of each value; a value in `names` has the same one whichever others are present."""
    import seaborn

    order = ordered([*names, *values], names)
    colours = seaborn.color_palette(palette, len(order))
    return {
        value: Look(names.get(value, value), colours[at], MARKERS[at % len(MARKERS)], LINES[at % len(LINES)])
        for at, value in enumerate(order)
    }


def panels(rows: int, columns: int, height: float) -> tuple[Drawing, np.ndarray]:
    """Figure of the standard width with (rows, columns) panels, each row `height` inches, sharing both axes."""
    from matplotlib.figure import Figure as Drawing

    figure = Drawing(figsize=(WIDTH, rows * height + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def say(axes: Axes, text: str) -> None:
    """Write in the middle of a panel why there is nothing else in it."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET, backgroundcolor="white")


def legend(figure: Drawing, columns: int | None = None) -> None:
    """One legend under all panels, each entry once, in the order first drawn; by default in one row or two."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        columns = columns or (len(handles) if len(handles) <= 4 else -(-len(handles) // 2))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)


def interval(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Student's t interval of a mean over networks, as the claims have it; None with fewer than two networks.

    Args:
        values: (networks, points).
        confidence: coverage of the interval, as a share.
    Returns:
        low and high, each (points,).
    """
    from scipy.stats import sem, t

    if len(values) < 2:
        return None
    mean, half = values.mean(axis=0), t.ppf((1 + confidence) / 2, len(values) - 1) * sem(values, axis=0)
    return mean - half, mean + half


def by_network(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """`y` at every `x`, (networks, points), averaged within the network, of networks that have all points.

    A network without some of the points would bend the mean at the others.
    """
    return frame.pivot_table(index="seed", columns=x, values=y).dropna()


def curve(axes: Axes, networks: pd.DataFrame, look: Look, band: tuple[np.ndarray, np.ndarray] | None) -> None:
    """Mean over networks with a band around it, within [0, 1], and a thin line per network where there are several.

    Args:
        networks: of `by_network`.
        band: low and high, each (points,).
    """
    values, points = networks.to_numpy(), networks.columns.to_numpy(dtype=float)
    if not values.size:
        return
    if len(values) > 1:
        axes.plot(points, values.T, color=look.colour, linewidth=0.5, alpha=0.4)
    if band:
        axes.fill_between(points, *np.clip(band, 0, 1), color=look.colour, alpha=0.2, linewidth=0)
    axes.plot(points, values.mean(axis=0), color=look.colour, linewidth=1.6, linestyle=look.line, label=look.label)


def grid(axes: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Iterable[tuple[Axes, str, str]]:
    """Each panel of (rows, columns) with the names of its row and column."""
    for line, row in zip(axes, rows, strict=False):
        for panel, column in zip(line, columns, strict=False):
            yield panel, row, column


def label_outer(axes: np.ndarray, x: str, y: str) -> None:
    """Label the lowest panels' x axes and the leftmost panels' y axes."""
    for panel in axes[-1]:
        panel.set_xlabel(x)
    for panel in axes[:, 0]:
        panel.set_ylabel(y)


def tick_speeds(panel: Axes) -> None:
    """Ticks of a logarithmic x axis that are as many as there is room for, whatever span it has."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    if high / low < 100:
        panel.xaxis.set_major_formatter("{x:g}")


def delay_panels(axes: np.ndarray, table: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Scales, labels, and the lines of T_max and of chance of panels that show accuracy against delay."""
    label_outer(axes, "delay (time steps)", "accuracy")
    for panel in axes.flat:
        panel.set(xscale="log", ylim=(-0.03, 1.03))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.axvline(
            settings["max_delay"], color=QUIET, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0.5,
            label=f"$T_{{max}}$ = {settings['max_delay']}",
        )  # fmt: skip
        if not table.empty:
            panel.set_xlim(table["delay"].min() * 0.85, table["delay"].max() * 1.18)
            chance = 1 / table["label"].nunique()
            panel.axhline(chance, color=QUIET, linewidth=0.9, linestyle=":", zorder=0.5, label=f"chance, {chance:.2g}")


# ------------------------------------------------------------------------------------------------------------ figures


def draw_trial(tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]) -> Drawing:
    """One trial as the network sees it: frames, trigger, and the outputs with the target marked, against time."""
    from matplotlib.figure import Figure as Drawing

    # each (steps, index), but the shape (1, 3)
    pixels, trigger, stimulus, target, output, shape = (
        tables["trial"].query("quantity == @name").pivot_table("value", index="step", columns="index").to_numpy()
        for name in ("pixel", "trigger", "stimulus", "target", "output", "shape")
    )
    steps, units = output.shape
    frames = pixels.reshape(steps, *shape[0].astype(int)).clip(0, 1)
    events = {"stimulus": int(stimulus[:, 0].argmax()), "response": int(trigger[:, 0].argmax())}

    figure = Drawing(figsize=(WIDTH, 3.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(0.32, 0.3, 2))
    for step, frame in enumerate(frames):
        extent = (step - 0.47, step + 0.47, 0, 1)
        top.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
    for event, step in events.items():
        top.annotate(event, (step, 1.1), ha="center", va="bottom", annotation_clip=False)
        middle.axvspan(step - 0.5, step + 0.5, color=QUIET, alpha=0.25, linewidth=0)
        bottom.vlines((step - 0.5, step + 0.5), -0.5, units - 0.5, color="white", linewidth=0.8, linestyle=(0, (3, 2)))
    top.set(ylim=(0, 1), yticks=[])
    top.spines[:].set_visible(False)
    top.tick_params(bottom=False)

    middle.step(np.arange(steps), trigger[:, 0], where="mid", color="black", linewidth=1.2)
    middle.set(ylim=(-0.2, 1.2), yticks=[0, 1])
    for axes, label in ((top, "input"), (middle, "trigger")):
        axes.set_ylabel(label, rotation=0, ha="right", va="center")

    image = bottom.imshow(output.T, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    due, unit = np.nonzero(target > 0)
    bottom.scatter(due, unit, s=22, facecolors="white", edgecolors="black", linewidths=0.8, label="target")
    bottom.set_yticks(range(units), ["null", *map(str, range(units - 1))])
    bottom.set(xlabel="time (steps)", ylabel="output (class)", xlim=(-0.6, steps - 0.4))
    bottom.set_xticks(range(0, steps, max(1, steps // 10)))
    figure.colorbar(image, ax=bottom, label="value of the output", pad=0.01, aspect=15)
    legend(figure)
    return figure


def draw_training(tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]) -> Drawing:
    """Accuracy on held-out images against training step, cells in rows and protocols in columns.

    Upright lines stand at the first logged step after the protocol made the task larger; the title says what
    grows, from where to where.
    """
    import seaborn

    table = tables["training"].query("phase == 'trained'")
    cells, protocols = ordered(table["cell"], CELLS), ordered(table["curriculum"], PROTOCOLS)
    colours = seaborn.color_palette(style["palette"])
    measures = {
        "response_accuracy": Look("at the response (class)", colours[0], "o", "-"),
        "null_accuracy": Look("at all other steps (null)", colours[1], "s", (0, (3, 1))),
    }
    figure, axes = panels(len(cells), len(protocols), 1.55)
    for panel, cell, protocol in grid(axes, cells, protocols):
        part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        if part.empty:
            say(panel, "not trained")
        for measure, look in measures.items():
            networks = by_network(part, "step", measure)
            curve(panel, networks, look, interval(networks.to_numpy(), settings["confidence"]))
        changes, what = growth(part)
        for step in changes:
            panel.axvline(step, color=QUIET, linewidth=0.7, linestyle=":", zorder=0.5, label=GROWN)
        panel.set_title(f"{CELLS.get(cell, cell)}, {PROTOCOLS.get(protocol, protocol)}\n{what}")
        panel.set_ylim(-0.03, 1.03)
        panel.locator_params(axis="x", nbins=3)
    label_outer(axes, "training step", "accuracy")
    legend(figure)
    return figure


def growth(part: pd.DataFrame) -> tuple[list[int], str]:
    """First steps of a training table after each change of the task, and in words what grew."""
    units = {"classes": "classes", "current_steps": "time steps", "alpha": "null weight"}
    table = part.drop_duplicates("step").sort_values("step").set_index("step")[list(units)]
    changed = table.ne(table.shift()).iloc[1:]
    words = [
        f"{table[name].iloc[0]:g} to {table[name].iloc[-1]:g} {unit}"
        for name, unit in units.items()
        if changed[name].any()
    ]
    return list(changed.index[changed.any(axis=1)]), ", ".join(words) or "full task throughout"


def draw_extrapolation(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Accuracy against delay, one panel per cell, one line per protocol, with T_max and chance."""
    table = tables["extrapolation"].query("phase == 'trained'")
    cells, protocols = ordered(table["cell"], CELLS), looks(table["curriculum"], PROTOCOLS, style["palette"])
    figure, axes = panels(1, max(1, len(cells)), 2.5)
    for panel, cell in zip(axes[0], cells, strict=False):
        for protocol in ordered(table["curriculum"], PROTOCOLS):
            part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
            networks = by_network(part, "delay", "accuracy")
            curve(panel, networks, protocols[protocol], interval(networks.to_numpy(), settings["confidence"]))
        panel.set_title(CELLS.get(cell, cell))
    delay_panels(axes, table, settings)
    legend(figure)
    return figure


def draw_regularisation(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Accuracy against delay of the networks as trained and after each kind of further training, cell by protocol.

    What is compared are continuations of one network, so a band is the interval of the difference to the control,
    drawn upon the control's mean: where it does not touch that line, the difference excludes 0.
    """
    table = tables["extrapolation"]
    further = table[table["phase"] != "trained"]
    # protocols that were only trained have nothing to compare
    table = table[table["curriculum"].isin(further["curriculum"])]
    cells, protocols = ordered(table["cell"], CELLS), ordered(table["curriculum"], PROTOCOLS)
    phases = looks(table["phase"], PHASES, style["palette"])
    figure, axes = panels(max(1, len(cells)), max(1, len(protocols)), 1.9)
    for panel, cell, protocol in grid(axes, cells, protocols):
        here = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        networks = {phase: by_network(part, "delay", "accuracy") for phase, part in here.groupby("phase")}
        for phase in ordered(here["phase"], PHASES):
            band = None
            if phase not in ("trained", "control") and "control" in networks:
                control = networks["control"]
                found = interval((networks[phase] - control).dropna().to_numpy(), settings["confidence"])
                band = found and tuple(control.mean().to_numpy() + side for side in found)
            curve(panel, networks[phase], phases[phase], band)
        panel.set_title(f"{CELLS.get(cell, cell)}, {PROTOCOLS.get(protocol, protocol)}")
    if further.empty:
        say(axes[0, 0], "no network was trained on")
    delay_panels(axes, table, settings)
    legend(figure)
    return figure


def draw_correlation(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Speed of each class's slow point against its extrapolation score, one panel per cell, one mark per class.

    Networks that have not learned the task are left out, as they are from rho; the panel counts them.
    """
    import seaborn

    network = ["cell", "curriculum", "seed"]
    scores = tables["scores"].query("phase == 'trained'")
    points = tables["slow_points"].query("phase == 'trained'")
    points = points[points["search_steps"] == settings["search_steps"]]
    points = points.merge(scores[[*network, "label", "extrapolation_score", "learned"]], on=[*network, "label"])
    protocols = looks(points["curriculum"], PROTOCOLS, style["palette"])
    cells = ordered(scores["cell"], CELLS)

    figure, axes = panels(1, max(1, len(cells)), 2.7)
    for panel, cell in zip(axes[0], cells, strict=False):
        here = points[points["cell"] == cell]
        learned = here[here["learned"]]
        drawn = learned[learned["speed"] > 0]
        for protocol in ordered(drawn["curriculum"], PROTOCOLS):
            look, part = protocols[protocol], drawn[drawn["curriculum"] == protocol]
            seaborn.scatterplot(
                part, x="speed", y="extrapolation_score", ax=panel, color=look.colour, marker=look.marker, s=22,
                alpha=0.75, linewidth=0.3, label=look.label, legend=False,
            )  # fmt: skip
        notes = [
            count(len(here[~here["learned"]].drop_duplicates(network)), "network", "not learned, left out"),
            count(len(learned) - len(drawn), "point", "with speed 0, not drawn"),
        ]
        if drawn.empty:
            say(panel, "no network learned")
        panel.set_title("\n".join([CELLS.get(cell, cell), rho_text(tables["correlation"], cell, settings)]))
        panel.set(xscale="log", ylim=(-0.03, 1.03))
        tick_speeds(panel)
        panel.set_xlabel("\n".join(["speed (per time step)", *filter(None, notes)]))
        panel.set_ylabel("")
    if not cells:
        say(axes[0, 0], "no network")
    axes[0, 0].set_ylabel("extrapolation score")
    legend(figure)
    return figure


def count(number: int, noun: str, rest: str) -> str:
    """ "3 networks left out", or nothing for none."""
    return f"{number} {noun}{'s' * (number != 1)} {rest}" if number else ""


def rho_text(table: pd.DataFrame, cell: str, settings: Mapping[str, Any]) -> str:
    """Pooled rho of a cell at the budget of the claims, with its interval."""
    row = table[(table["cell"] == cell) & (table["curriculum"] == POOLED) & (table["predictor"] == "speed")]
    row = row[(row["search_steps"] == settings["search_steps"]) & (row["target"] == "extrapolation_score")]
    row = row.dropna(subset="rho")
    if row.empty:
        return "rho not computed"
    rho, low, high = row[["rho", "low", "high"]].iloc[0]
    between = f"\\ [{{{low:.2f}}}, {{{high:.2f}}}]" if np.isfinite(low + high) else ""
    return f"pooled $\\rho = {rho:.2f}{between}$"


def draw_budget(tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]) -> Drawing:
    """Rho between speed and extrapolation score against the search's budget, with the centroid at the left, per cell.

    Each protocol is shifted a little sideways so that intervals can be told apart.
    """
    table = tables["correlation"].query("target == 'extrapolation_score' and predictor in ('centroid_speed', 'speed')")
    cells = ordered(table["cell"], CELLS)
    kinds = looks(table.loc[table["curriculum"] != POOLED, "curriculum"], PROTOCOLS, style["palette"])
    kinds = {POOLED: Look("all protocols", "black", "o", "-")} | kinds

    figure, axes = panels(1, max(1, len(cells)), 2.4)
    budgets = sorted(table.loc[table["search_steps"] > 0, "search_steps"].unique())
    # The axis is logarithmic by hand, so that the centroid (budget 0) has a place on it, left of the first budget.
    places = {budget: float(np.log10(budget)) for budget in budgets}
    places[0] = min(places.values(), default=1.0) - 0.6
    for panel, cell in zip(axes[0], cells, strict=False):
        here = table[table["cell"] == cell].dropna(subset="rho").sort_values("search_steps")
        present = [kind for kind in kinds if kind in set(here["curriculum"])]
        for shift, kind in enumerate(present):
            part, look = here[here["curriculum"] == kind], kinds[kind]
            for predictor, line in (("centroid_speed", "none"), ("speed", look.line)):
                rows = part[part["predictor"] == predictor]
                x = rows["search_steps"].map(places) + 0.07 * (shift - (len(present) - 1) / 2)
                # an interval that could not be computed has no length
                spread = np.abs(rows[["low", "high"]].sub(rows["rho"], axis=0)).fillna(0).to_numpy().T
                panel.errorbar(
                    x, rows["rho"], yerr=spread, color=look.colour, marker=look.marker, markersize=4.5, linestyle=line,
                    linewidth=1.3, elinewidth=1.0, capsize=2, label=look.label if predictor == "speed" else None,
                )  # fmt: skip
        if here.empty:
            say(panel, "rho not computed:\ntoo few networks learned")
        panel.axhline(0, color=QUIET, linewidth=0.8, zorder=0.5)
        if settings["search_steps"] in places:
            panel.axvline(
                places[settings["search_steps"]], color=QUIET, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0.5,
                label="budget of the claims",
            )  # fmt: skip
        panel.set_title(CELLS.get(cell, cell))
        panel.set(ylim=(-1.05, 1.05), xlim=(places[0] - 0.25, max(places.values()) + 0.25))
        panel.set_xticks([places[0], *(places[budget] for budget in budgets)])
        panel.set_xticklabels(["centroid", *(short(budget) for budget in budgets)])
    if not cells:
        say(axes[0, 0], "no network")
    label_outer(axes, "search budget (descent steps)", r"$\rho$ of speed and score")
    legend(figure)
    return figure


def draw_kinds(tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]) -> Drawing:
    """Shares of kinds of slow points per cell and protocol, and the points' time constants beside them.

    Colours tell what lies below a slow point, fills what a displacement does at the slow point itself.
    Networks that have not learned the task are left out, as they are from correlations.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure as Drawing

    scores = tables["scores"].query("phase == 'trained'")
    points = tables["spectrum"].query("phase == 'trained'")
    network = ["cell", "curriculum", "seed"]
    points = points.merge(scores[[*network, "label", "learned"]], on=[*network, "label"])
    kinds = looks(KINDS, KINDS, style["palette"])
    kinds["undecided"] = kinds["undecided"]._replace(colour=to_rgb(QUIET))
    lines = [
        (cell, protocol)
        for cell in ordered(points["cell"], CELLS)
        for protocol in ordered(points["curriculum"], PROTOCOLS)
    ]
    figure = Drawing(figsize=(WIDTH, 0.34 * max(3, len(lines)) + 1.3), layout="constrained")
    shares, constants = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.2))
    for place, (cell, protocol) in enumerate(lines):
        here = points[(points["cell"] == cell) & (points["curriculum"] == protocol)]
        here = here[here["learned"]]
        if here.empty:
            shares.text(0.5, place, "no network learned", ha="center", va="center", color=QUIET)
        end = 0.0
        for row, (kind, look) in enumerate(kinds.items()):
            part = here[here["kind"] == kind]
            share = len(part) / max(1, len(here))
            shares.barh(place, share, left=end, height=0.7, color=look.colour, label=look.label)
            if share > 0.06:
                shares.text(
                    end + share / 2, place, str(len(part)), ha="center", va="center", color="white", weight="bold"
                )
            end += share
            grows = (part["leading_modulus"] > 1).to_numpy()
            height = place + 0.15 * (row - 2) + np.linspace(-0.06, 0.06, len(part))
            colours = np.where(grows[:, None], (*look.colour, 1.0), (1.0, 1.0, 1.0, 1.0))
            constants.scatter(
                part["time_constant"], height, s=13, marker=look.marker, facecolors=colours, edgecolors=[look.colour],
                linewidths=0.8,
            )  # fmt: skip
    shares.set_yticks(range(len(lines)), [f"{CELLS.get(c, c)}, {PROTOCOLS.get(p, p)}" for c, p in lines])
    shares.set(ylim=(len(lines) - 0.5, -0.5), xlim=(0, 1), xlabel="share of points")
    # a logarithmic axis without data has no ticks
    constants.set(
        xscale="log" if points["learned"].any() else "linear", xlabel="time constant at the slow point (steps)"
    )
    for filled, label in ((True, "filled: grows"), (False, "open: fades")):
        constants.scatter([], [], s=13, facecolors="black" if filled else "white", edgecolors="black", label=label)
    if points.empty:
        say(shares, "no network")
    legend(figure)
    return figure


FADING = (0.2, 0.35, 0.55, 0.9)  # opacity of a trajectory's quarters, the first to the last


def draw_portraits(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Trajectories, slow points and centroids along principal components; a column per protocol, two rows per cell.

    Both rows share the first component; the upper one has the second against it, the lower one the third.
    """
    from matplotlib.figure import Figure as Drawing

    table = tables["portraits"]
    cells, protocols = ordered(table["cell"], CELLS), ordered(table["curriculum"], PROTOCOLS)
    labels = sorted(table.loc[table["label"] >= 0, "label"].unique())
    colours = class_colours(labels, style["palette"])
    figure = Drawing(figsize=(WIDTH, 2 * len(cells) * 1.75 + 0.6), layout="constrained")
    axes = figure.subplots(2 * len(cells), len(protocols), squeeze=False)
    for row, cell in enumerate(cells):
        for column, protocol in enumerate(protocols):
            part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
            pair = axes[2 * row : 2 * row + 2, column]
            pair[0].sharex(pair[1])
            pair[0].tick_params(labelbottom=False)
            pair[0].set_title(f"{CELLS.get(cell, cell)}, {PROTOCOLS.get(protocol, protocol)}")
            share = part[part["what"] == "share"][["pc1", "pc2", "pc3"]].mean() * 100
            pair[1].set_xlabel(f"PC 1 ({share['pc1']:.0f} %)")
            for panel, up in zip(pair, ("pc2", "pc3"), strict=True):
                panel.set_ylabel(f"PC {up[-1]} ({share[up]:.0f} %)")
                panel.locator_params(nbins=4)
                _paint(panel, part, up, colours)
    legend(figure)
    return figure


def _paint(panel: Axes, part: pd.DataFrame, up: str, colours: Mapping[int, Any]) -> None:
    """Trajectories that grow more opaque with time, and slow points and centroids, in one panel of a portrait."""
    for (label, _), path in part[part["what"] == "trajectory"].groupby(["label", "trial"]):
        path = path.sort_values("step")[["pc1", up]].to_numpy()
        for piece, opacity in zip(np.array_split(np.arange(len(path) - 1), len(FADING)), FADING, strict=True):
            if len(piece):
                panel.plot(*path[piece[0] : piece[-1] + 2].T, color=colours[label], linewidth=0.7, alpha=opacity)
        panel.plot(*path[-1], ".", color=colours[label], markersize=3)
    for what, name, size, look in (
        ("centroid", "centroid", 22, {"marker": "D", "edgecolors": "black", "linewidths": 0.6}),
        ("slow_point", "slow point", 66, {"marker": "o", "edgecolors": "black", "linewidths": 0.8}),
    ):
        found = part[part["what"] == what]
        panel.scatter(found["pc1"], found[up], s=size, c=[colours[label] for label in found["label"]], zorder=3, **look)
        panel.scatter([], [], s=size, facecolors="white", label=name, **look)
        for point in found.itertuples() if what == "slow_point" else ():
            ink = "black" if np.dot(colours[point.label], (0.3, 0.59, 0.11)) > 0.6 else "white"  # by its brightness
            panel.text(
                point.pc1, getattr(point, up), str(point.label), ha="center", va="center", color=ink, zorder=4,
                weight="bold", fontsize=8,
            )  # fmt: skip
    for label, colour in colours.items():
        panel.plot([], [], color=colour, linewidth=2, label=f"class {label}")


def short(number: int) -> str:
    """300 as "300", 3000 as "3k"."""
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"


def draw_backtrack(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Speed of each class's point against training step, cells in rows and protocols in columns.

    A line is the geometric mean over the networks that learned; it is bold where the point is its class's own in more
    than half of them, thin and broken where it is not. Upright lines stand where the protocol changes the task.
    """
    table = learned_alone(tables["backtrack"], tables["formation"])
    cells, protocols = (
        ordered(tables["backtrack"]["cell"], CELLS),
        ordered(tables["backtrack"]["curriculum"], PROTOCOLS),
    )
    colours = class_colours(tables["backtrack"]["label"], style["palette"])
    figure, axes = panels(max(1, len(cells)), max(1, len(protocols)), 2.2)
    for panel, cell, protocol in grid(axes, cells, protocols):
        part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        moving = part[part["speed"] > 0].assign(speed=lambda rows: np.log10(rows["speed"]))
        means = 10 ** moving.pivot_table(index="step", columns="label", values="speed", aggfunc="mean")
        own = part.assign(own=part["readout"] == part["label"]).pivot_table(index="step", columns="label", values="own")
        for label in means.columns:
            speed, colour = means[label], colours[label]
            panel.plot(speed.index, speed, color=colour, linewidth=0.8, linestyle=(0, (2, 1.5)), alpha=0.7)
            # A stretch between two checkpoints is bold where the point is its own at both.
            bold = speed.where(own[label].reindex(speed.index) > 0.5)
            panel.plot(bold.index, bold, color=colour, linewidth=1.8, label=f"class {label}")
            # At a single checkpoint there is no stretch to be bold.
            single = bold[bold.notna() & bold.shift(1).isna() & bold.shift(-1).isna()]
            panel.plot(single.index, single, color=colour, marker="o", markersize=2.5, linestyle="none")
        networks = len(part.drop_duplicates(["cell", "curriculum", "seed"]))
        if part.empty:
            say(panel, "no network learned")
        panel.plot([], [], color=QUIET, linewidth=0.8, linestyle=(0, (2, 1.5)), label="not its own")
        for step in settings["boundaries"].get(protocol, ()):
            panel.axvline(step, color=QUIET, linewidth=0.7, linestyle=":", zorder=0.5, label="the task changes")
        panel.set_title(
            f"{CELLS.get(cell, cell)}, {PROTOCOLS.get(protocol, protocol)}\n{networks} network{'s' * (networks != 1)}"
        )
        panel.locator_params(axis="x", nbins=4)
    if not cells:
        say(axes[0, 0], "no network was followed back")
    if (table["speed"] > 0).any():  # without a value, a logarithmic axis has no ticks to make
        axes[0, 0].set_yscale("log")
    label_outer(axes, "training step", "speed (per time step)")
    legend(figure, columns=6)
    return figure


def draw_formation(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """VoCu: from which class's point each class's point split and when, and how much it was confused with that class.

    Above, a tree per network, of the first few of each cell that learned; below, per cell, the share of a new class's
    images that were taken for its parent, against what is expected of a network that answers every new class alike.
    """
    from matplotlib.figure import Figure as Drawing

    table = tables["formation"].query("curriculum == 'vocu'")
    table = table[table["learned"].eq(True)]
    cells = ordered(table["cell"], CELLS)
    colours = class_colours(tables["formation"]["label"], style["palette"])
    if not cells:
        figure = Drawing(figsize=(WIDTH, 2.5), layout="constrained")
        why = "no network learned" if (tables["formation"]["curriculum"] == "vocu").any() else "none was followed back"
        say(figure.subplots(), f"of VoCu, {why}")
        return figure
    figure = Drawing(figsize=(WIDTH, 1.7 * len(cells) + 2.9), layout="constrained")
    columns = math.lcm(TREES, len(cells))
    places = figure.add_gridspec(len(cells) + 1, columns, height_ratios=[1.7] * len(cells) + [2.1])
    for row, cell in enumerate(cells):
        of_cell = table[table["cell"] == cell]
        wide = columns // TREES
        for at, seed in enumerate(sorted(of_cell["seed"].unique())[:TREES]):
            panel = figure.add_subplot(places[row, at * wide : (at + 1) * wide])
            tree(panel, of_cell[of_cell["seed"] == seed], colours)
            panel.set_title(f"{CELLS.get(cell, cell)}, seed {seed}")
            panel.set(xlabel="training step", ylabel="class" if at == 0 else "")
            panel.tick_params(labelleft=at == 0)
    wide = columns // len(cells)
    for at, cell in enumerate(cells):
        panel = figure.add_subplot(places[len(cells), at * wide : (at + 1) * wide])
        confusion_panel(panel, table[table["cell"] == cell], tables["confusion_test"], cell, colours)
        panel.set(xlabel="new class", ylabel="share taken\nfor the parent" if at == 0 else "")
        panel.tick_params(labelleft=at == 0)
    legend(figure)
    return figure


def draw_predictors(
    tables: Mapping[str, pd.DataFrame], style: Mapping[str, Any], settings: Mapping[str, Any]
) -> Drawing:
    """Which predictor is best, a row of panels per cell, protocols pooled: oriented rho of every predictor, its gain in
    predicting lifetimes of left-out networks, and the lifetimes predicted from the speed against those measured."""
    from matplotlib.figure import Figure as Drawing

    pooled = tables["predictors"].query("curriculum == @POOLED", local_dict={"POOLED": POOLED})
    cells = ordered(pooled["cell"], CELLS)
    models = [
        (name, steps)
        for name in ordered(pooled["predictor"], PREDICTORS)
        for steps in sorted(pooled.loc[pooled["predictor"] == name, "search_steps"].unique())
    ]
    places = {model: -place for place, model in enumerate(models)}
    reference = predictor_label("speed", settings["search_steps"])
    pooled = pooled.assign(
        place=[places[model] for model in zip(pooled["predictor"], pooled["search_steps"], strict=True)]
    )
    figure = Drawing(figsize=(WIDTH, max(1, len(cells)) * (0.17 * len(models) + 0.9) + 0.6), layout="constrained")
    axes = figure.subplots(max(1, len(cells)), 3, squeeze=False, width_ratios=(1, 1, 1.35))
    for line, cell in zip(axes, cells, strict=False):
        here = pooled[pooled["cell"] == cell]
        name = CELLS.get(cell, cell)
        predictor_ranks(line[0], here)
        predictor_gains(line[1], here[here["target"] == "lifetime"])
        predicted_lifetimes(line[2], tables["predictions"].query("cell == @cell"), style, settings)
        for panel, title in zip(line, ("rank correlation", "gain in prediction", f"from {reference}"), strict=True):
            panel.set_title(f"{name}\n{title}")
        for panel in line[:2]:
            panel.set(yticks=list(places.values()), ylim=(min(places.values()) - 0.7, 0.7))
            panel.axhspan(
                *(places.get((NULL, 0), 0) + shift for shift in (-0.5, 0.5)), color=QUIET, alpha=0.15, linewidth=0,
                zorder=0, label="null predictor",
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
        say(axes[0, 0], "no network")
    legend(figure)
    return figure


def learned_alone(table: pd.DataFrame, formation: pd.DataFrame) -> pd.DataFrame:
    """Rows of the networks that have learned."""
    network = ["cell", "curriculum", "seed"]
    learned = formation.loc[formation["learned"].eq(True), network].drop_duplicates()
    return table.merge(learned, on=network)


def class_colours(labels: Iterable[int], palette: str) -> dict[int, Any]:
    """A colour per class, the same in every figure of a run: of the palette, or of hues where it has too few."""
    import seaborn

    order = sorted(set(labels))
    return dict(zip(order, seaborn.color_palette(palette if len(order) <= 10 else "husl", len(order)), strict=True))


def tree(panel: Axes, network: pd.DataFrame, colours: Mapping[int, Any]) -> None:
    """Formation of one network's points: a line from where each appears, and one up or down to its parent."""
    last = network["steps"].max()
    for row in network.sort_values("label").itertuples():
        colour = colours[row.label]
        never = np.isnan(row.appears)
        waits = last if never else row.appears
        panel.plot([row.introduced, waits], [row.label] * 2, color=colour, linewidth=0.8, linestyle=(0, (1, 1.5)))
        panel.plot(
            row.introduced, row.label, marker="|", color="black", markersize=5, linestyle="none",
            label="class introduced",
        )  # fmt: skip
        if never:
            panel.plot(last, row.label, marker="x", color=colour, markersize=4, linestyle="none")
            continue
        panel.plot([row.appears, last], [row.label] * 2, color=colour, linewidth=2, solid_capstyle="butt")
        if row.parent >= 0:
            panel.plot([row.appears] * 2, [row.parent, row.label], color=colour, linewidth=1)
            panel.plot(row.appears, row.parent, marker="o", color=colour, markersize=3, linestyle="none")
            panel.plot(
                [], [], marker="o", color=QUIET, markersize=3, linestyle="none", label="split from this class's point"
            )
    panel.set(ylim=(-0.7, network["label"].max() + 0.7), xlim=(-0.03 * last, 1.03 * last))
    panel.set_yticks(range(0, int(network["label"].max()) + 1, 3))
    panel.locator_params(axis="x", nbins=2)


def confusion_panel(
    panel: Axes, table: pd.DataFrame, test: pd.DataFrame, cell: str, colours: Mapping[int, Any]
) -> None:
    """Share of each new class's images taken for its parent, one mark per network, with what is expected of it."""
    entered = table[table["parent_excess"].notna()].sort_values(["label", "seed"])
    for label, rows in entered.groupby("label"):
        x = label + np.linspace(-0.25, 0.25, len(rows) + 2)[1:-1]
        panel.plot(
            x, rows["parent_confusion"] - rows["parent_excess"], color="black", marker="_", markersize=6,
            linestyle="none", label="expected share",
        )  # fmt: skip
        panel.plot(x, rows["parent_confusion"], color=colours[label], marker="D", markersize=3.2, linestyle="none")
    panel.plot([], [], color=QUIET, marker="D", markersize=3.2, linestyle="none", label="one network")
    found = test[(test["cell"] == cell) & (test["curriculum"] == "vocu")].dropna(subset="p")
    if entered.empty or found.empty:
        say(panel, "no class has\na choice of parents")
    said = "" if found.empty else f"\nexcess {found['excess'].iloc[0]:.2f}, $p = {found['p'].iloc[0]:.2g}$"
    later = table["introduced"] > table["introduced"].min()
    panel.set_title(f"{CELLS.get(cell, cell)}, {len(entered)} of {later.sum()} later classes{said}")
    panel.set(ylim=(-0.04, 1.04), xticks=sorted(entered["label"].unique()))


def predictor_label(predictor: str, steps: int) -> str:
    """Name of a predictor for people; of the speed with its budget."""
    name = PREDICTORS.get(predictor, predictor)
    return f"{name}, {short(steps)} steps" if predictor == "speed" else name


def predictor_ranks(panel: Axes, table: pd.DataFrame) -> None:
    """Oriented rho of every predictor with its interval, for both targets, at the rows' `place`."""
    panel.axvline(0, color=QUIET, linewidth=0.8, zorder=0.5)
    for target, shift in zip(TARGETS, (0.17, -0.17), strict=True):
        bars(panel, table[table["target"] == target].dropna(subset="rho"), ("rho", "low", "high"), target, shift)
    if table["rho"].isna().all():
        say(panel, "not computed:\ntoo few\nnetworks learned")
    panel.set_xlim(-1.05, 1.05)


def predictor_gains(panel: Axes, table: pd.DataFrame) -> None:
    """Gain of every model on the null predictor with its interval, at the rows' `place`."""
    panel.axvline(0, color=QUIET, linewidth=0.8, zorder=0.5)
    rows = table.dropna(subset="gain")
    bars(panel, rows, ("gain", "gain_low", "gain_high"), "lifetime", 0)
    if rows.empty:
        say(panel, "not computed:\ntoo few\nnetworks learned")
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


def predicted_lifetimes(
    panel: Axes, table: pd.DataFrame, style: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Lifetimes predicted from the reference against those measured, one mark per class of a left-out network."""
    table = table[(table["panel"] == POOLED) & (table["model"] == "speed")]
    table = table[table["search_steps"] == settings["search_steps"]]
    protocols = looks(table["curriculum"], PROTOCOLS, style["palette"])
    known = table.dropna(subset="predicted")
    for protocol in ordered(known["curriculum"], PROTOCOLS):
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
    panel.plot(ends, ends, color=QUIET, linewidth=0.9, zorder=0.5)
    panel.scatter([], [], s=16, facecolors="none", edgecolors=QUIET, linewidths=0.8, label="outlasts the longest delay")
    if known.empty:
        say(panel, "not computed:\ntoo few networks learned")
    for axis, set_scale in ((panel.xaxis, panel.set_xscale), (panel.yaxis, panel.set_yscale)):
        set_scale("log")
        tick_steps(axis, *ends)
    limits = ends[0] / 1.15, ends[1] * 1.15
    panel.set(xlim=limits, ylim=limits, ylabel="predicted (steps)")


def tick_steps(axis: Any, low: float, high: float) -> None:
    """A few ticks of a logarithmic axis of time steps, in plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 1000 else (1,)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter("{x:g}")


FIGURES: dict[str, Figure] = {
    "trial": Figure(draw_trial, ("trial",)),
    "training": Figure(draw_training, ("training",)),
    "extrapolation": Figure(draw_extrapolation, ("extrapolation",)),
    "correlation": Figure(draw_correlation, ("slow_points", "scores", "correlation")),
    "budget": Figure(draw_budget, ("correlation",)),
    "backtrack": Figure(draw_backtrack, ("backtrack", "formation")),
    "formation": Figure(draw_formation, ("formation", "confusion_test")),
    "regularisation": Figure(draw_regularisation, ("extrapolation",)),
    "kinds": Figure(draw_kinds, ("spectrum", "scores")),
    "portraits": Figure(draw_portraits, ("portraits",)),
    "predictors": Figure(draw_predictors, ("predictors", "predictions")),
}
TABLES: dict[str, tuple[str, ...]] = {name: figure.tables for name, figure in FIGURES.items()}
