"""How the correlation of speed and score depends on how long one searches."""

import numpy as np
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """Rho between speed and score against the search's budget, with the centroid at the left, per cell.

    Each protocol is shifted a little sideways so that intervals can be told apart.
    """
    table = tables["correlation"].query("predictor in ('centroid_speed', 'speed')")
    table = table[table["target"] == style.score_of({*table["target"]})]
    cells = style.ordered(table["cell"], style.CELLS)
    kinds = style.looks(
        table.loc[table["curriculum"] != style.POOLED, "curriculum"], style.PROTOCOLS, settings["palette"]
    )
    kinds = {style.POOLED: style.Look("all protocols", "black", "o", "-")} | kinds

    figure, axes = style.panels(1, max(1, len(cells)), 2.4)
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
            style.say(panel, "rho not computed:\ntoo few networks learned")
        panel.axhline(0, color=style.QUIET, linewidth=0.8, zorder=0.5)
        if settings["search_steps"] in places:
            panel.axvline(
                places[settings["search_steps"]], color=style.QUIET, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0.5,
                label="budget of the claims",
            )  # fmt: skip
        panel.set_title(style.CELLS.get(cell, cell))
        panel.set(ylim=(-1.05, 1.05), xlim=(places[0] - 0.25, max(places.values()) + 0.25))
        panel.set_xticks([places[0], *(places[budget] for budget in budgets)])
        panel.set_xticklabels(["centroid", *(style.short(budget) for budget in budgets)])
    if not cells:
        style.say(axes[0, 0], "no network")
    style.label_outer(axes, "search budget (descent steps)", r"$\rho$ of speed and score")
    style.legend(figure)
    return figure


def caption(tables: Tables, settings: Settings) -> str:
    score = style.score_of({*tables["correlation"]["target"]})
    return f"""
    The search for slow points never quite ends, so its length is part of what "slow point" means.
    Each mark is Spearman's rank correlation (rho) of the speed of a class's point with its {style.SCORES[score]},
    against the number of search steps. "Centroid" is the state where the search starts.
    Bars are {style.percent(settings)} intervals of rho, from resampled seeds.
    The broken upright line marks the {settings["search_steps"]} steps that the claims use.
    """
