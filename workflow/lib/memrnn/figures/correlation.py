"""Whether slow points are those of long memories."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """Speed of each class's slow point against its extrapolation score, one panel per cell, one mark per class.

    Networks that have not learned the task are left out, as they are from rho; the panel counts them.
    """
    network = ["cell", "curriculum", "seed"]
    scores = tables["scores"].query("phase == 'trained'")
    points = tables["slow_points"].query("phase == 'trained'")
    points = points[points["search_steps"] == settings["search_steps"]]
    points = points.merge(scores[[*network, "label", "extrapolation_score", "learned"]], on=[*network, "label"])
    protocols = style.looks(points["curriculum"], style.PROTOCOLS, settings["palette"])
    cells = style.ordered(scores["cell"], style.CELLS)

    figure, axes = style.panels(1, max(1, len(cells)), 2.7)
    for panel, cell in zip(axes[0], cells, strict=False):
        here = points[points["cell"] == cell]
        learned = here[here["learned"]]
        drawn = learned[learned["speed"] > 0]
        for protocol in style.ordered(drawn["curriculum"], style.PROTOCOLS):
            look, part = protocols[protocol], drawn[drawn["curriculum"] == protocol]
            seaborn.scatterplot(
                part, x="speed", y="extrapolation_score", ax=panel, color=look.colour, marker=look.marker, s=22,
                alpha=0.75, linewidth=0.3, label=look.label, legend=False,
            )  # fmt: skip
        notes = [
            style.count(len(here[~here["learned"]].drop_duplicates(network)), "network", "not learned, left out"),
            style.count(len(learned) - len(drawn), "point", "with speed 0, not drawn"),
        ]
        if drawn.empty:
            style.say(panel, "no network learned")
        panel.set_title("\n".join([style.CELLS.get(cell, cell), rho_text(tables["correlation"], cell, settings)]))
        panel.set(xscale="log", ylim=(-0.03, 1.03))
        style.tick_speeds(panel)
        panel.set_xlabel("\n".join(["speed (per time step)", *filter(None, notes)]))
        panel.set_ylabel("")
    if not cells:
        style.say(axes[0, 0], "no network")
    axes[0, 0].set_ylabel("extrapolation score")
    style.legend(figure)
    return figure


def rho_text(table: pd.DataFrame, cell: str, settings: Settings) -> str:
    """Pooled rho of a cell at the budget of the claims, with its interval."""
    row = table[(table["cell"] == cell) & (table["curriculum"] == style.POOLED) & (table["predictor"] == "speed")]
    row = row[(row["search_steps"] == settings["search_steps"]) & (row["target"] == "extrapolation_score")]
    row = row.dropna(subset="rho")
    if row.empty:
        return "rho not computed"
    rho, low, high = row[["rho", "low", "high"]].iloc[0]
    between = f"\\ [{{{low:.2f}}}, {{{high:.2f}}}]" if np.isfinite(low + high) else ""
    return f"pooled $\\rho = {rho:.2f}{between}$"


def caption(tables: Tables, settings: Settings) -> str:
    return f"""
    Whether slow points are those of long memories. Each mark is one class of one network.
    Across: the speed of its slow point, after {settings["search_steps"]} steps of the search.
    Up: its extrapolation score, the mean accuracy at delays longer than T_max = {settings["max_delay"]}, the longest in
    training.
    If slower points mean longer memories, Spearman's rank correlation rho is negative. The brackets hold its
    {style.percent(settings)} interval, from resampled seeds.
    Networks that have not learned the task are left out and counted below their panel.
    An interval that includes 0 leaves the question open: it does not show that there is no correlation.
    """
