"""From which class's point each class's point split, under VoCu."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables

TREES = 4  # networks of a cell whose formation is drawn


def draw(tables: Tables, settings: Settings) -> Figure:
    """VoCu: from which class's point each class's point split and when, and how much it was confused with that class.

    Above, a tree per network, of the first few of each cell that learned; below, per cell, the share of a new class's
    images that were taken for its parent, against what is expected of a network that answers every new class alike.
    """
    table = tables["formation"].query("curriculum == 'vocu'")
    table = table[table["learned"].eq(True)]
    cells = style.ordered(table["cell"], style.CELLS)
    colours = style.class_colours(tables["formation"]["label"])
    if not cells:
        figure = Figure(figsize=(style.WIDTH, 2.5), layout="constrained")
        why = "no network learned" if (tables["formation"]["curriculum"] == "vocu").any() else "none was followed back"
        style.say(figure.subplots(), f"of VoCu, {why}")
        return figure
    figure = Figure(figsize=(style.WIDTH, 1.7 * len(cells) + 2.9), layout="constrained")
    columns = math.lcm(TREES, len(cells))
    places = figure.add_gridspec(len(cells) + 1, columns, height_ratios=[1.7] * len(cells) + [2.1])
    for row, cell in enumerate(cells):
        of_cell = table[table["cell"] == cell]
        wide = columns // TREES
        for at, seed in enumerate(sorted(of_cell["seed"].unique())[:TREES]):
            panel = figure.add_subplot(places[row, at * wide : (at + 1) * wide])
            tree(panel, of_cell[of_cell["seed"] == seed], colours)
            panel.set_title(f"{style.CELLS.get(cell, cell)}, seed {seed}")
            panel.set(xlabel="training step", ylabel="class" if at == 0 else "")
            panel.tick_params(labelleft=at == 0)
    wide = columns // len(cells)
    for at, cell in enumerate(cells):
        panel = figure.add_subplot(places[len(cells), at * wide : (at + 1) * wide])
        confusion_panel(panel, table[table["cell"] == cell], tables["confusion_test"], cell, colours)
        panel.set(xlabel="new class", ylabel="share taken\nfor the parent" if at == 0 else "")
        panel.tick_params(labelleft=at == 0)
    style.legend(figure)
    return figure


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
                [], [], marker="o", color=style.QUIET, markersize=3, linestyle="none",
                label="split from this class's point",
            )  # fmt: skip
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
    panel.plot([], [], color=style.QUIET, marker="D", markersize=3.2, linestyle="none", label="one network")
    found = test[(test["cell"] == cell) & (test["curriculum"] == "vocu")].dropna(subset="p")
    if entered.empty or found.empty:
        style.say(panel, "no class has\na choice of parents")
    said = "" if found.empty else f"\nexcess {found['excess'].iloc[0]:.2f}, $p = {found['p'].iloc[0]:.2g}$"
    later = table["introduced"] > table["introduced"].min()
    panel.set_title(f"{style.CELLS.get(cell, cell)}, {len(entered)} of {later.sum()} later classes{said}")
    panel.set(ylim=(-0.04, 1.04), xticks=sorted(entered["label"].unique()))


def caption(tables: Tables, settings: Settings) -> str:
    followed = tables["formation"]["curriculum"].eq("vocu")
    if not followed.any():
        return "How points form under VoCu (classes are added one by one). In this run 0 such networks were followed."
    return f"""
    How points form under VoCu (classes are added one by one), in networks that learned the task.

    Top: one panel a network, for the first {TREES} of each cell. A tick marks the step at which a class was introduced.
    Its line starts where its point is read out as the class for good, and hangs on the class whose point it was just
    before. A cross marks a class that never had a point of its own. That lines hang on older classes, in the order of
    introduction, follows from the protocol and is no finding.

    Bottom: the share of a new class's held-out images that the network took for that parent before it had met the
    class. The black dash is the share to expect if the network answered every new class alike. The title gives the mean
    excess over it, and the p-value of a permutation test.
    """
