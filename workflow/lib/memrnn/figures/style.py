"""How figures look: names for people, the look of a value, panels, axes, intervals, and words for captions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from memrnn.core.stats import mean_interval
from memrnn.models.cells import TITLES as CELLS

Tables = Mapping[str, pd.DataFrame]  # by name
Settings = Mapping[str, Any]  # see render.draw

PROTOCOLS = {"vocu": "VoCu", "decu": "DeCu", "nacu": "NaCu", "recu": "ReCu"}
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
    """Look of each value; a value in `names` has the same one whichever others are present."""
    order = ordered([*names, *values], names)
    colours = seaborn.color_palette(palette, len(order))
    return {
        value: Look(names.get(value, value), colours[at], MARKERS[at % len(MARKERS)], LINES[at % len(LINES)])
        for at, value in enumerate(order)
    }


def panels(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """Figure of the standard width with (rows, columns) panels, each row `height` inches, sharing both axes."""
    figure = Figure(figsize=(WIDTH, rows * height + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


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


def delay_panels(axes: np.ndarray, table: pd.DataFrame, settings: Settings) -> None:
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


def count(number: int, noun: str, rest: str) -> str:
    """ "3 networks left out", or nothing for none."""
    return f"{number} {noun}{'s' * (number != 1)} {rest}" if number else ""


def short(number: int) -> str:
    """300 as "300", 3000 as "3k"."""
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"


def class_colours(labels: Iterable[int], palette: str) -> dict[int, Any]:
    """A colour per class, the same in every figure of a run: of the palette, or of hues where it has too few."""
    order = sorted(set(labels))
    return dict(zip(order, seaborn.color_palette(palette if len(order) <= 10 else "husl", len(order)), strict=True))


def tick_speeds(panel: Axes) -> None:
    """Ticks of a logarithmic x axis that are as many as there is room for, whatever span it has."""
    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    if high / low < 100:
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


def delays_of(table: pd.DataFrame, settings: Settings) -> str:
    """What delays, T_max and chance are, and why accuracy may dip at short delays."""
    shortest = settings["min_delay"] - 1
    dips = (
        f" In training at least {shortest} noise frames lie between stimulus and response, so accuracy may dip at "
        "shorter delays."
    )
    return (
        "The delay is the number of noise frames between stimulus and trigger. In training it was at most "
        f"T_max = {settings['max_delay']} (upright line). The dotted line is chance: a class drawn at random."
        + dips
        * bool((table["delay"] < shortest).any())
    )
