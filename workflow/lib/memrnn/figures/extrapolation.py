"""How long a memory lasts, by protocol and cell."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.core.stats import mean_interval
from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """Rows: accuracy and, where the table has it, informedness. A panel per cell, and one with a score per network."""
    table = tables["extrapolation"].query("phase == 'trained'")
    scores = tables["scores"].query("phase == 'trained'")
    cells, protocols = style.ordered(table["cell"], style.CELLS), style.ordered(table["curriculum"], style.PROTOCOLS)
    looks = style.looks(protocols, style.PROTOCOLS, settings["palette"])
    looks = {protocol: looks[protocol] for protocol in protocols}
    measures = [measure for measure, score in style.MEASURES.items() if measure in table and score in scores]
    figure = style.compose(_message(scores, settings), height=2.6 * len(measures) + 0.6)
    axes = figure.subplots(len(measures), len(cells) + 1, squeeze=False, sharey="row")
    letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for row, measure in zip(axes, measures, strict=True):
        for panel, cell in zip(row, cells, strict=False):
            lines = []
            for protocol in protocols:
                part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
                networks = style.by_network(part, "delay", measure)
                style.curve(
                    panel, networks, looks[protocol], style.interval(networks.to_numpy(), settings["confidence"])
                )
                if len(networks):
                    lines.append((looks[protocol], networks.columns.to_numpy(float), networks.mean().to_numpy()))
            style.name_lines(panel, lines)
            style.delay_axis(panel, table, settings)
            panel.set(title=style.CELLS.get(cell, cell), xlabel="delay (time steps)", ylim=(-0.05, 1.05))
            style.letter(panel, next(letters))
        chance = 1 / table["label"].nunique() if measure == "accuracy" else 0
        for panel in row[:-1]:
            panel.axhline(chance, color=style.QUIET, linewidth=0.9, linestyle=":", zorder=0.5)
        row[0].text(
            0.02, chance + 0.01, "chance", transform=row[0].get_yaxis_transform(), ha="left", va="bottom",
            color=style.QUIET,
        )  # fmt: skip
        row[0].set_ylabel(measure)
        _scores(row[-1], scores, style.MEASURES[measure], cells, looks, settings["confidence"])
        style.letter(row[-1], next(letters))
    return figure


def _message(scores: pd.DataFrame, settings: Settings) -> str:
    """How long networks of each protocol remember, against how long they were trained to."""
    medians = scores[scores["learned"]].groupby("curriculum")["lifetime"].median()
    longest = style.trained_delays(settings)[1]
    if medians.empty:
        return f"No network learned to remember for the {longest} steps of training"
    over = {name: "more than " * bool(steps >= scores["lifetime"].max()) for name, steps in medians.items()}
    said = [
        f"{over[name]}{medians[name]:.0f} ({style.PROTOCOLS.get(name, name)})"
        for name in style.ordered(medians.index, style.PROTOCOLS)
    ]
    return (
        f"Trained on delays of up to {longest} steps, networks remember half of the classes for at least "
        f"{' or '.join(said)} steps"
    )


def _scores(axes: Axes, scores: pd.DataFrame, score: str, cells: list[str], looks: dict, confidence: float) -> None:
    """A mark per network, and mean and interval beside them, per cell and protocol."""
    ticks = {}
    for group, cell in enumerate(cells):
        first = group * (len(looks) + 0.6)
        for at, (protocol, look) in enumerate(looks.items()):
            part = scores[(scores["cell"] == cell) & (scores["curriculum"] == protocol)]
            values, place = part.groupby("seed")[score].mean().sort_values().to_numpy(), first + at
            ticks[place] = look.label
            spread = place - 0.15 + np.linspace(-0.12, 0.12, len(values))
            axes.plot(
                spread, values, marker=look.marker, markersize=3, color=look.colour, alpha=0.6, linestyle="none",
                markeredgewidth=0,
            )  # fmt: skip
            mean, low, high = mean_interval(values, confidence)
            axes.plot([place + 0.22] * 2, [low, high], color=look.colour, linewidth=1.3)
            axes.plot(place + 0.22, mean, marker=look.marker, color=look.colour, markersize=4.5)
        axes.text(
            first + (len(looks) - 1) / 2, 0.99, style.CELLS.get(cell, cell), ha="center", va="top",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=90)
    axes.set_title(style.SCORES[score])


def caption(tables: Tables, settings: Settings) -> str:
    table, scores = tables["extrapolation"].query("phase == 'trained'"), tables["scores"].query("phase == 'trained'")
    measures = [score for measure, score in style.MEASURES.items() if measure in table and score in scores]
    return f"""
    How long a memory lasts, on held-out images. Networks were trained with different protocols; each line is one
    protocol. {style.delays_of(settings)}

    Curves: {style.bands_of(table, settings)} Dotted: what chance gives.

    Rightmost: small marks are single networks, each averaged over classes; large marks are their means with
    {style.percent(settings)} intervals. {" ".join(style.score_text(score, settings) for score in measures)}
    A class lasts until the delay at which its accuracy has fallen half-way to chance; the title gives medians over
    classes of all networks that learned the task. The panels show all networks.
    """
