"""How figures look: names for people, the look of a value, panels, axes, intervals, and words for captions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from memrnn.core.stats import mean_interval
from memrnn.models.cells import TITLES as CELLS

Tables = Mapping[str, pd.DataFrame]  # by name
Settings = Mapping[str, Any]  # see render.draw

PROTOCOLS = {"vocu": "VoCu", "decu": "DeCu", "nacu": "NaCu", "recu": "ReCu"}
# What networks were trained on with, after they were trained.
PHASES = {
    "slow_points": "penalty at slow points",
    "control": "control (no penalty)",
    "centroid": "penalty at centroids",
    "trained": "as trained",
}
KINDS = {
    "stable": "stable fixed point",
    "saddle": "saddle",
    "ghost": "ghost",
    "slope": "slope",
    "undecided": "undecided",
}
# One meaning per colour, in all figures: a place in the palette, or a grey. Classes have a ramp of their own.
COLOURS: dict[str, int | str] = {
    "vocu": 0, "decu": 1, "nacu": 2, "recu": 5,
    "slow_points": 3, "centroid": 4, "control": "black", "trained": "0.6",
    "stable": "0.05", "saddle": "0.3", "ghost": "0.5", "slope": "0.68", "undecided": "0.82",
}  # fmt: skip
CLASSES = "viridis"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
POOLED = "all"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))
WIDTH = 7.0  # inches: a text column's width, so that the sizes below are the sizes on the page
QUIET = "0.45"  # grey of what is context, not data


class Look(NamedTuple):
    """How one value of a variable is drawn, alike in every figure."""

    label: str
    colour: Any
    marker: str
    line: Any


def ordered(values: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Distinct values in the order of `names`, then the ones `names` lacks, sorted."""
    found = set(values)
    return [name for name in names if name in found] + sorted(found - set(names))


def panel_name(cell: str, protocol: str) -> str:
    """Title of a panel of one cell and protocol, as "GRU, VoCu"."""
    return f"{CELLS.get(cell, cell)}, {PROTOCOLS.get(protocol, protocol)}"


def looks(values: Iterable[str], names: Mapping[str, str], palette: str) -> dict[str, Look]:
    """Look of each value; one that is in `COLOURS` has the same colour in every figure."""
    order = ordered([*names, *values], names)
    found = seaborn.color_palette(palette, len(order) + 10)
    places = [COLOURS.get(value, at + 2) for at, value in enumerate(order)]
    return {
        value: Look(
            names.get(value, value.replace("_", " ")),
            found[place] if isinstance(place, int) else to_rgb(place),
            MARKERS[at % len(MARKERS)],
            LINES[at % len(LINES)],
        )
        for at, (value, place) in enumerate(zip(order, places, strict=True))
    }


def class_colours(labels: Iterable[int]) -> dict[int, Any]:
    """A colour per class, from dark to light in their order, which is that in which VoCu introduces them."""
    order = sorted(set(labels))
    ramp = seaborn.color_palette(CLASSES, as_cmap=True)
    return {label: ramp(0.92 * at / max(1, len(order) - 1))[:3] for at, label in enumerate(order)}


def ink_on(colour: Any) -> str:
    """Colour of a text that can be read on a colour."""
    return "black" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) > 0.55 else "white"


def panels(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """Figure of the standard width with (rows, columns) panels, each row `height` inches, sharing both axes."""
    figure = Figure(figsize=(WIDTH, rows * height + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def compose(message: str, width: float = WIDTH, height: float = 4.0) -> Figure:
    """An empty figure of several panels under what they show together.

    Args:
        message: one sentence, broken into lines that fit.
        width, height: inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle("\n".join(wrap(message, 84)), x=0.01, ha="left", weight="bold", fontsize="medium")
    return figure


def letter(axes: Axes, text: str) -> None:
    """Name a panel by a letter, left of its title."""
    axes.annotate(
        text, (0, 1), xycoords="axes fraction", xytext=(-14, 7), textcoords="offset points", weight="bold",
        ha="right", va="baseline", fontsize="large",
    )  # fmt: skip


def name_lines(axes: Axes, lines: Sequence[tuple[Look, np.ndarray, np.ndarray]]) -> None:
    """Write the name of each line beside it, where it is furthest from the others.

    Args:
        lines: look, x and y, of the same points each.
    """
    if not lines:
        return
    heights = np.array([y for _, _, y in lines])  # (lines, points)
    inner = slice(1, -1) if heights.shape[1] > 2 else slice(None)
    for at, (look, x, y) in enumerate(lines):
        others = np.delete(heights, at, axis=0)
        apart = np.abs(others - y).min(axis=0)[inner] if len(others) else np.zeros(len(y[inner]))
        place = int(np.argmax(apart)) + (inner.start or 0)
        if apart.max() < 0.05:  # lines that lie on each other are named one after the other
            place = len(y) * (at + 1) // (len(lines) + 1)
        above = not len(others) or y[place] > others[:, place].mean() or y[place] < 0.1
        axes.annotate(
            look.label, (x[place], y[place]), xytext=(3, 5) if above else (-3, -5), textcoords="offset points",
            ha="left" if above else "right", va="bottom" if above else "top", color=look.colour, weight="bold",
            zorder=5,
        )  # fmt: skip


def place_labels(axes: Axes, points: np.ndarray, gap: float) -> np.ndarray:
    """Places near points at which labels do not overlap, for the axes' limits as they are.

    Args:
        points: (points, 2), in data coordinates.
        gap: least distance of two labels, in points of 1/72 inch.
    Returns:
        (points, 2), offsets from the points, in points of 1/72 inch.
    """
    box = axes.get_window_extent()
    scale = 72 / axes.figure.dpi
    start = axes.transData.transform(points) * scale
    low, high = np.array([box.x0, box.y0]) * scale + gap / 2, np.array([box.x1, box.y1]) * scale - gap / 2
    nudge = 1e-3 * np.column_stack([np.cos(np.arange(len(points))), np.sin(np.arange(len(points)))])
    places = start + nudge
    for _ in range(300):
        between = places[:, None] - places  # (points, points, 2)
        # labels in a corner of the panel may lie exactly on each other
        between = np.where(between.any(axis=-1, keepdims=True), between, nudge[:, None] - nudge)
        distance = np.linalg.norm(between, axis=-1) + np.eye(len(points)) * 10 * gap
        push = np.clip(gap - distance, 0, None) / 2
        places = places + (between / distance[..., None] * push[..., None]).sum(axis=1)
        places = np.clip(places, low, high)
        if not push.any():
            break
    return places - start


def forest(axes: Axes, rows: pd.DataFrame, labels: Sequence[str], zero: float = 0.0) -> None:
    """Values with their intervals, lying, the first row on top.

    Args:
        rows: place (0 is the first label's), value, low, high, look and filled (the mark, or open) of each.
        labels: of places 0, 1, ...
        zero: where there is no effect.
    """
    axes.axvline(zero, color=QUIET, linewidth=0.8, zorder=0.5)
    for row in rows.itertuples():
        if np.isnan(row.value):
            axes.text(
                0.98, row.place, "not computed", transform=axes.get_yaxis_transform(), ha="right", va="center",
                color=QUIET,
            )  # fmt: skip
            continue
        if np.isfinite(row.low + row.high):
            axes.plot([row.low, row.high], [row.place] * 2, color=row.look.colour, linewidth=1.3)
        axes.plot(
            row.value, row.place, marker=row.look.marker, color=row.look.colour, markersize=5, linestyle="none",
            markerfacecolor=row.look.colour if row.filled else "white",
        )  # fmt: skip
    axes.set(yticks=range(len(labels)), yticklabels=labels, ylim=(max(1, len(labels)) - 0.4, -0.6))
    axes.tick_params(axis="y", length=0)
    if rows.empty:
        say(axes, "not computed:\ntoo few networks")


def say(axes: Axes, text: str) -> None:
    """Write in the middle of a panel why there is nothing else in it."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET, backgroundcolor="white")


def legend(figure: Figure, columns: int | None = None) -> None:
    """One legend under all panels, each entry once, in the order first drawn; in as few rows as there is room for, but
    rather two than one of more than four."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    columns = columns or (len(handles) if len(handles) <= 4 else -(-len(handles) // 2))
    while columns:
        box = figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)
        if columns == 1 or box.get_window_extent().width <= figure.bbox.width:
            return
        box.remove()
        columns -= 1


def interval(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Interval of a mean over networks, as the claims have it; None with fewer than two networks.

    Args:
        values: (networks, points).
        confidence: coverage of the interval, as a share.
    Returns:
        low and high, each (points,).
    """
    if len(values) < 2:
        return None
    mean, low, high = np.transpose([mean_interval(column, confidence) for column in values.T])
    # where all networks agree there is no interval, and the band has no width
    return np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high)


def by_network(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """`y` at every `x`, (networks, points), averaged within the network, of networks that have all points.

    A network without some of the points would bend the mean at the others.
    """
    return frame.pivot_table(index="seed", columns=x, values=y).dropna()


def curve(
    axes: Axes,
    networks: pd.DataFrame,
    look: Look,
    band: tuple[np.ndarray, np.ndarray] | None,
    bounds: tuple[float, float] = (0, 1),
) -> None:
    """Mean over networks with a band around it, within bounds, and a thin line per network where there are several.

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
        axes.fill_between(points, *np.clip(band, *bounds), color=look.colour, alpha=0.2, linewidth=0)
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


def delay_axis(axes: Axes, table: pd.DataFrame, settings: Settings) -> None:
    """A logarithmic axis of delays, on which those of training are shaded."""
    axes.set(xscale="log", xlim=(table["delay"].min() * 0.85, table["delay"].max() * 1.18))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvspan(*trained_delays(settings), color=QUIET, alpha=0.15, linewidth=0, zorder=0)


def trained_delays(settings: Settings) -> tuple[int, int]:
    """Shortest and longest delay in training, in noise frames between stimulus and trigger."""
    return settings["min_delay"] - 1, settings["max_delay"] - 2


def count(number: int, noun: str, rest: str) -> str:
    """ "3 networks left out", or nothing for none."""
    return f"{number} {noun}{'s' * (number != 1)} {rest}" if number else ""


def short(number: int) -> str:
    """300 as "300", 3000 as "3k"."""
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"


def tick_speeds(panel: Axes) -> None:
    """Ticks of a logarithmic x axis that are as many as there is room for, whatever span it has."""
    low, high = panel.get_xlim()
    span = high / low
    subs = (1, 2, 5) if span < 15 else (1, 3) if span < 100 else (1,)
    panel.xaxis.set_major_locator(MaxNLocator(3) if span < 3 else LogLocator(subs=subs))
    panel.xaxis.set_minor_formatter(NullFormatter())
    if span < 100:
        panel.xaxis.set_major_formatter("{x:g}")


def tick_steps(axis: Any, low: float, high: float) -> None:
    """A few ticks of a logarithmic axis of time steps, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 1000 else (1,)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter("{x:g}")


# ------------------------------------------------------------------------------------------------- words for captions


def percent(settings: Settings) -> str:
    """Coverage of the intervals, as "95 %"."""
    return f"{100 * settings['confidence']:g} %"


def networks_of(table: pd.DataFrame) -> str:
    """How many networks a cell and protocol have, as "4 networks" or "2 to 4 networks"."""
    counts = table.groupby(["cell", "curriculum"])["seed"].nunique()
    if counts.empty:
        return "0 networks"
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} networks" if low < high else f"{high} network{'s' * (high != 1)}"


def bands_of(table: pd.DataFrame, settings: Settings) -> str:
    """What the lines and bands of `curve` are."""
    if not (table.groupby(["cell", "curriculum"])["seed"].nunique() > 1).any():
        return "Lines are single networks."
    return (
        f"Thick lines are means over {networks_of(table)} per cell and protocol, bands are {percent(settings)} "
        "intervals of that mean, thin lines are single networks."
    )


def delays_of(settings: Settings) -> str:
    """What a delay is, and which are those of training."""
    low, high = trained_delays(settings)
    return (
        "The delay is the number of noise frames between stimulus and trigger. Those of training, "
        f"{low} to {high}, are shaded."
    )


# ----------------------------------------------------------------------------------------- what several figures compute

# How well a class is remembered at a delay, and the mean of that over the delays longer than T_max. Accuracy flatters a
# class that is the answer to everything; informedness does not. Tables of older runs lack the latter.
MEASURES = {"accuracy": "extrapolation_score", "informedness": "memory_score"}
SCORES = {"extrapolation_score": "extrapolation score", "memory_score": "memory score"}


def score_of(names: Iterable[str]) -> str:
    """Of the columns of a table of scores, or of other names, what tells best how long classes are remembered."""
    return "memory_score" if "memory_score" in names else "extrapolation_score"


def score_text(score: str, settings: Settings) -> str:
    """What a score is, for captions."""
    what = {
        "extrapolation_score": "mean accuracy",
        "memory_score": "mean informedness (the share of a class's trials answered with it, less that of other trials)",
    }[score]
    return f"The {SCORES[score]} of a class is its {what} at delays longer than T_max = {settings['max_delay']}."
