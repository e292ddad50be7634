"""Hidden states of held-out trials, with slow points and centroids."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables

FADING = (0.2, 0.35, 0.55, 0.9)  # opacity of a trajectory's quarters, the first to the last
LABEL_GAP = 11.0, 15.0  # between the numbers of two slow points, of one digit and of two, in points of 1/72 inch


def draw(tables: Tables, settings: Settings) -> Figure:
    """Trajectories, slow points and centroids along principal components; a column per protocol, two rows per cell.

    Both rows share the first component; the upper one has the second against it, the lower one the third.
    """
    table = tables["portraits"]
    cells, protocols = style.ordered(table["cell"], style.CELLS), style.ordered(table["curriculum"], style.PROTOCOLS)
    colours = style.class_colours(table.loc[table["label"] >= 0, "label"])
    figure = Figure(figsize=(style.WIDTH, 2 * len(cells) * 1.75 + 0.6), layout="constrained")
    axes = figure.subplots(2 * len(cells), len(protocols), squeeze=False)
    drawn = []
    for row, cell in enumerate(cells):
        for column, protocol in enumerate(protocols):
            part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
            pair = axes[2 * row : 2 * row + 2, column]
            pair[0].sharex(pair[1])
            pair[0].set_title(style.panel_name(cell, protocol))
            for panel, up in zip(pair, ("pc2", "pc3"), strict=True):
                paint(panel, part, up, colours)
                drawn.append((panel, part, up))
            pair[0].tick_params(labelbottom=False)
            pair[0].set_xlabel("")
    style.legend(figure)
    figure.get_layout_engine().execute(figure)  # numbers are placed for the size that panels have in the end
    for panel, part, up in drawn:
        number(panel, part, up, colours)
    return figure


def paint(panel: Axes, part: pd.DataFrame, up: str, colours: Mapping[int, Any]) -> None:
    """Trajectories of a network that grow more opaque with time, its slow points and centroids, and labels of axes.

    Args:
        part: rows of the network's portrait.
        up: component on the y axis, pc2 or pc3.
        colours: of the classes.
    """
    for (label, _), path in part[part["what"] == "trajectory"].groupby(["label", "trial"]):
        path = path.sort_values("step")[["pc1", up]].to_numpy()
        for piece, opacity in zip(np.array_split(np.arange(len(path) - 1), len(FADING)), FADING, strict=True):
            if len(piece):
                panel.plot(*path[piece[0] : piece[-1] + 2].T, color=colours[label], linewidth=0.7, alpha=opacity)
        panel.plot(*path[-1], ".", color=colours[label], markersize=3)
    for what, name, size, marker in (("centroid", "centroid", 20, "D"), ("slow_point", "slow point", 26, "o")):
        found = part[part["what"] == what]
        look = {"s": size, "marker": marker, "edgecolors": "black", "linewidths": 0.7}
        panel.scatter(found["pc1"], found[up], c=[colours[label] for label in found["label"]], zorder=3, **look)
        panel.scatter([], [], facecolors="white", label=name, **look)
    share = part[part["what"] == "share"][["pc1", "pc2", "pc3"]].mean() * 100
    panel.set(xlabel=f"PC 1 ({share['pc1']:.0f} %)", ylabel=f"PC {up[-1]} ({share[up]:.0f} %)")
    panel.locator_params(nbins=4)


def number(panel: Axes, part: pd.DataFrame, up: str, colours: Mapping[int, Any]) -> None:
    """Number the slow points by class, so that no two numbers overlap; for panels whose size is settled."""
    points = part[part["what"] == "slow_point"]
    places = points[["pc1", up]].to_numpy()
    offsets = style.place_labels(panel, places, LABEL_GAP[int((points["label"] > 9).any())])
    for label, place, offset in zip(points["label"], places, offsets, strict=True):
        panel.annotate(
            str(label), place, xytext=offset, textcoords="offset points", ha="center", va="center", fontsize=8,
            weight="bold", color=style.ink_on(colours[label]), zorder=5,
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": colours[label], "edgecolor": "black", "linewidth": 0.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "black", "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def caption(tables: Tables, settings: Settings) -> str:
    return f"""
    Hidden states of held-out trials. {words(tables["portraits"])}
    The two panels of a network share the first component. Networks are shown whether or not they have learned the task.
    """


def words(table: pd.DataFrame) -> str:
    """What a portrait shows, for captions."""
    paths = table[table["what"] == "trajectory"]
    seeds = ", ".join(map(str, sorted(paths["seed"].unique())))
    return (
        f"{paths['trial'].nunique()} trials a class, from the stimulus through {paths['step'].max()} steps of noise, "
        f"of one network a panel (seed {seeds}). Axes are principal components of these states, with their shares of "
        "the variance; each network has its own. Lines grow darker with time and end in a dot. Circles are slow "
        "points, numbered by class; diamonds are the centroids where the search for them starts. Colours tell classes. "
        "A line that stays with its number is a memory that holds. A line that leaves is a memory lost."
    )
