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


def draw(tables: Tables, settings: Settings) -> Figure:
    """Trajectories, slow points and centroids along principal components; a column per protocol, two rows per cell.

    Both rows share the first component; the upper one has the second against it, the lower one the third.
    """
    table = tables["portraits"]
    cells, protocols = style.ordered(table["cell"], style.CELLS), style.ordered(table["curriculum"], style.PROTOCOLS)
    labels = sorted(table.loc[table["label"] >= 0, "label"].unique())
    colours = style.class_colours(labels, settings["palette"])
    figure = Figure(figsize=(style.WIDTH, 2 * len(cells) * 1.75 + 0.6), layout="constrained")
    axes = figure.subplots(2 * len(cells), len(protocols), squeeze=False)
    for row, cell in enumerate(cells):
        for column, protocol in enumerate(protocols):
            part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
            pair = axes[2 * row : 2 * row + 2, column]
            pair[0].sharex(pair[1])
            pair[0].tick_params(labelbottom=False)
            pair[0].set_title(style.panel_name(cell, protocol))
            share = part[part["what"] == "share"][["pc1", "pc2", "pc3"]].mean() * 100
            pair[1].set_xlabel(f"PC 1 ({share['pc1']:.0f} %)")
            for panel, up in zip(pair, ("pc2", "pc3"), strict=True):
                panel.set_ylabel(f"PC {up[-1]} ({share[up]:.0f} %)")
                panel.locator_params(nbins=4)
                _paint(panel, part, up, colours)
    style.legend(figure)
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


def caption(tables: Tables, settings: Settings) -> str:
    paths = tables["portraits"].query("what == 'trajectory'")
    trials = paths["trial"].nunique()
    return f"""
    Hidden states of held-out trials, {trials} a class, from the stimulus through {paths["step"].max()} steps of noise.
    In training the delay was at most T_max = {settings["max_delay"]}. One network a panel, of seed
    {", ".join(map(str, sorted(paths["seed"].unique())))}.

    Axes are the first three principal components of these states, with their shares of the variance. Each network has
    its own; the two panels of a network share the first. Lines grow darker with time and end in a dot. Numbered circles
    are the slow points of the classes, diamonds the centroids where the search for them starts. A line that stays with
    its number is a memory that holds. A line that leaves is a memory lost. Networks are shown whether or not they have
    learned the task.
    """
