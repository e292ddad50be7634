"""Slow points followed back through training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """Speed of each class's point against training step, cells in rows and protocols in columns.

    A line is the geometric mean over the networks that learned; it is bold where the point is its class's own in more
    than half of them, thin and broken where it is not. Upright lines stand where the protocol changes the task.
    """
    table = learned_alone(tables["backtrack"], tables["formation"])
    cells, protocols = (
        style.ordered(tables["backtrack"]["cell"], style.CELLS),
        style.ordered(tables["backtrack"]["curriculum"], style.PROTOCOLS),
    )
    colours = style.class_colours(tables["backtrack"]["label"])
    figure, axes = style.panels(max(1, len(cells)), max(1, len(protocols)), 2.2)
    drawn = []
    for panel, cell, protocol in style.grid(axes, cells, protocols):
        part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        moving = part[part["speed"] > 0].assign(speed=lambda rows: np.log10(rows["speed"]))
        means = 10 ** moving.pivot_table(index="step", columns="label", values="speed", aggfunc="mean")
        own = part.assign(own=part["readout"] == part["label"]).pivot_table(index="step", columns="label", values="own")
        drawn.append(means)
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
            style.say(panel, "no network learned")
        panel.plot([], [], color=style.QUIET, linewidth=0.8, linestyle=(0, (2, 1.5)), label="not its own")
        for step in settings["boundaries"].get(protocol, ()):
            panel.axvline(step, color=style.QUIET, linewidth=0.7, linestyle=":", zorder=0.5, label="the task changes")
        panel.set_title(f"{style.panel_name(cell, protocol)}\n{networks} network{'s' * (networks != 1)}")
        panel.locator_params(axis="x", nbins=4)
    if not cells:
        style.say(axes[0, 0], "no network was followed back")
    if (table["speed"] > 0).any():  # without a value, a logarithmic axis has no ticks to make
        axes[0, 0].set_yscale("log")
        # Points of an untrained network can be slower by orders of magnitude, and would take most of the axis.
        later = np.concatenate([means[means.index > 0].to_numpy().ravel() for means in drawn])
        if np.isfinite(later).any():
            axes[0, 0].set_ylim(np.nanmin(later) / 1.3, np.nanmax(later) * 1.3)
    style.label_outer(axes, "training step", "speed (per time step)")
    style.legend(figure, columns=6)
    return figure


def learned_alone(table: pd.DataFrame, formation: pd.DataFrame) -> pd.DataFrame:
    """Rows of the networks that have learned."""
    network = ["cell", "curriculum", "seed"]
    learned = formation.loc[formation["learned"].eq(True), network].drop_duplicates()
    return table.merge(learned, on=network)


def caption(tables: Tables, settings: Settings) -> str:
    if tables["backtrack"].empty:
        return "Slow points followed back through training. In this run 0 networks were followed."
    return f"""
    Slow points followed back through training. Each line is the speed of one class's point: the geometric mean over the
    networks that learned the task, whose number stands in the title.
    {tables["backtrack"]["step"].nunique()} checkpoints were searched, the last one first. At every other one the
    search starts from the points of the next later one.
    A line is bold where most of these networks read the point out as its class, thin and broken elsewhere. A dot is a
    single such checkpoint. At step 0 networks are untrained, and lines may leave the panel.
    Upright lines stand where the protocol changes the task.
    """
