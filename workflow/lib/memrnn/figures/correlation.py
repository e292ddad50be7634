"""Whether classes with slower points are remembered for longer."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Look, Settings, Tables

NETWORK = ["dataset", "cell", "curriculum", "seed"]


def draw(tables: Tables, settings: Settings) -> Figure:
    """A panel per cell with a mark per class and a line per network; last, rho with its intervals.

    Networks that have not learned the task are left out, as they are from rho; the panel counts them.
    """
    scores = tables["scores"].query("phase == 'trained'")
    score = style.score_of(scores)
    points = tables["slow_points"].query("phase == 'trained'")
    points = points[points["search_steps"] == settings["search_steps"]]
    points = points.merge(scores[[*NETWORK, "label", score, "learned"]], on=[*NETWORK, "label"])
    looks = style.looks(points["curriculum"], style.PROTOCOLS, settings["palette"])
    cells = style.ordered(scores["cell"], style.CELLS)
    rows = _rows(tables["correlation"], score, looks, settings)

    figure = style.compose(_message(rows), height=max(3.0, 0.23 * len(rows) + 1.3))
    axes = figure.subplots(1, len(cells) + 1, squeeze=False, width_ratios=[*(1.2 for _ in cells), 1])[0]
    for panel, cell in zip(axes, cells, strict=False):
        here = points[points["cell"] == cell]
        learned = here[here["learned"]]
        notes = [
            style.count(len(here[~here["learned"]].drop_duplicates(NETWORK)), "network", "not learned"),
            style.count(int((learned["speed"] <= 0).sum()), "point", "of speed 0"),
        ]
        _classes(panel, learned[learned["speed"] > 0], score, looks)
        panel.set_xlabel("\n".join(["speed (per time step)", *filter(None, notes)]))
        panel.set(title=style.CELLS.get(cell, cell), ylim=(-0.05, 1.05))
        panel.tick_params(labelleft=panel is axes[0])
    axes[0].set_ylabel(style.SCORES[score])
    style.forest(axes[-1], rows, list(rows["label"]))
    axes[-1].set(
        xlim=(-1.05, 1.05),
        xlabel=r"Spearman's $\rho$",
        title=f"{style.short(settings['search_steps'])} search steps",
    )
    for panel, letter in zip(axes, style.LETTERS, strict=False):
        style.letter(panel, letter)
    style.legend(figure)
    return figure


def _classes(axes: Axes, points: pd.DataFrame, score: str, looks: Mapping[str, Look]) -> None:
    """A mark per class, and through the classes of each network a straight line in log speed."""
    for protocol in style.ordered(points["curriculum"], style.PROTOCOLS):
        look, part = looks[protocol], points[points["curriculum"] == protocol]
        axes.scatter(
            part["speed"], part[score], s=13, color=look.colour, marker=look.marker, alpha=0.55, linewidth=0,
            label=look.label,
        )  # fmt: skip
        for _, network in part.groupby("seed"):
            if network["speed"].nunique() > 1:
                x = np.log10(network["speed"])
                ends = np.array([x.min(), x.max()])
                line = np.clip(np.polyval(np.polyfit(x, network[score], 1), ends), 0, 1)
                axes.plot(10**ends, line, color=look.colour, linewidth=1.0)
    if points.empty:
        style.say(axes, "no network learned")
    axes.set_xscale("log")
    style.tick_speeds(axes)


def _rows(table: pd.DataFrame, score: str, looks: Mapping[str, Look], settings: Settings) -> pd.DataFrame:
    """Rho of every cell: over all its classes, within its networks, and per protocol."""
    table = table[(table["predictor"] == "speed") & (table["target"] == score)]
    table = table[table["search_steps"] == settings["search_steps"]]
    rows = []
    for (dataset, cell), part in table.groupby(["dataset", "cell"]):
        name = style.CELLS.get(cell, cell) + f", {dataset}" * (table["dataset"].nunique() > 1)
        for row in part.sort_values("curriculum", key=lambda names: names.map(_order)).itertuples():
            if row.curriculum == style.POOLED:
                black = Look(name, "black", "o", "-")
                rows.append((cell, f"{name}, all classes", row.rho, row.low, row.high, black))
                within = (row.within_rho, row.within_low, row.within_high)
                rows.append((cell, f"{name}, within networks", *within, black._replace(marker="d")))
            else:
                look = looks.get(row.curriculum, Look(row.curriculum, style.QUIET, "o", "-"))
                rows.append((cell, f"{name}, {look.label}", row.rho, row.low, row.high, look))
    found = pd.DataFrame(rows, columns=["cell", "label", "value", "low", "high", "look"])
    return found.assign(place=range(len(found)), filled=True)


def _order(name: str) -> int:
    return [style.POOLED, *style.PROTOCOLS, name].index(name)


def _message(rows: pd.DataFrame) -> str:
    """What the intervals over all classes say, in a sentence."""
    said = []
    for row in rows[rows["label"].str.endswith("all classes")].itertuples():
        if np.isnan(row.value) or np.isnan(row.low + row.high):
            says = "not known" if np.isnan(row.value) else f"rho {row.value:.2f}, too few networks for an interval"
        elif row.high < 0:
            says = f"yes (rho {row.value:.2f})"
        elif row.low > 0:
            says = f"the opposite (rho {row.value:.2f})"
        else:
            says = f"not shown (rho {row.value:.2f})"
        said.append(f"{row.look.label}: {says}".replace(" ", "\N{NO-BREAK SPACE}"))  # on one line
    return f"Do classes with slower points last longer? {'; '.join(said) or 'not known'}"


def caption(tables: Tables, settings: Settings) -> str:
    score = style.score_of(tables["scores"])
    learned = tables["scores"].query("phase == 'trained' and learned == True")
    return f"""
    Whether classes with slower points are remembered for longer, in {style.networks_of(learned)} per cell and protocol
    that learned the task.

    Left: each mark is one class of one network. Across is the speed of its slow point after {settings["search_steps"]}
    steps of the search, up is how well it is remembered. Lines are straight-line fits through the classes of single
    networks. {style.score_text(score, settings)}

    Right: Spearman's rank correlation (rho) of speed and score, with {style.percent(settings)} intervals from resampled
    seeds. If slower points mean longer memories, rho is negative. "Within networks" is the mean of the networks' own
    rho. An interval that includes 0 leaves the question open.
    """
