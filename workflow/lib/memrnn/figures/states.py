"""Where memories lie in state space, and when their points form."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.figures import portraits, style
from memrnn.figures.style import Look, Settings, Tables

NETWORK = ["cell", "curriculum", "seed"]


def draw(tables: Tables, settings: Settings) -> Figure:
    """A portrait per protocol (rows) and cell (columns), of networks that learned; below, when points form.

    Where no network was followed back there is no lowest row, if there is any other.
    """
    scores = tables["scores"].query("phase == 'trained'")
    learned = scores.loc[scores["learned"], NETWORK].drop_duplicates()
    table = tables["portraits"].merge(learned, on=NETWORK)
    cells = style.ordered(scores["cell"], style.CELLS)
    protocols = style.ordered(table["curriculum"], style.PROTOCOLS)
    colours = style.class_colours(scores["label"])
    kept = _kept(table)
    forming = not _formed(tables).empty or not protocols

    figure = style.compose(_message(table, kept), height=2.35 * (len(protocols) + forming) + 0.25)
    axes = figure.subplots(len(protocols) + forming, len(cells), squeeze=False)
    drawn = []
    for panel, protocol, cell in style.grid(axes[: len(protocols)], protocols, cells):
        part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        panel.set_title(style.panel_name(cell, protocol))
        if part.empty:
            style.say(panel, "not learned")
            continue
        panel.set_title(f"{style.panel_name(cell, protocol)}: {100 * kept[cell, protocol]:.0f} % kept")
        portraits.paint(panel, part, "pc2", colours)
        drawn.append((panel, part))
    for panel, cell in zip(axes[len(protocols) :].flat, cells, strict=False):
        _formation(panel, _formed(tables).query("cell == @cell"), settings)
        panel.set(title=style.CELLS.get(cell, cell), xlabel="training step")
    if forming:
        axes[-1, 0].set_ylabel("classes with a\npoint of their own")
    for row, letter in zip(axes, style.LETTERS, strict=False):
        style.letter(row[0], letter)
    style.legend(figure)
    figure.get_layout_engine().execute(figure)
    for panel, part in drawn:
        portraits.number(panel, part, "pc2", colours)
    return figure


def _formed(tables: Tables) -> pd.DataFrame:
    return tables["formation"][tables["formation"]["learned"].eq(True)]


def _kept(table: pd.DataFrame) -> Mapping[tuple[str, str], float]:
    """Of each cell and protocol, the share of trials that end nearest to the slow point of their class."""
    shares = {}
    axes = ["pc1", "pc2", "pc3"]
    for key, part in table.groupby(["cell", "curriculum"]):
        points = part[part["what"] == "slow_point"].set_index("label")[axes]
        paths = part[part["what"] == "trajectory"]
        ends = paths[paths["step"] == paths["step"].max()]
        apart = np.linalg.norm(ends[axes].to_numpy()[:, None] - points.to_numpy(), axis=-1)  # (trials, points)
        shares[key] = float((points.index.to_numpy()[apart.argmin(axis=1)] == ends["label"]).mean())
    return shares


def _message(table: pd.DataFrame, kept: Mapping[tuple[str, str], float]) -> str:
    if not kept:
        return "Where memories lie in state space: no network shown here learned the task"
    steps = table["step"].max()
    return (
        f"After {steps} steps of noise, {100 * np.mean(list(kept.values())):.0f} % of trials are nearest to the slow "
        "point of their own class"
    )


def _formation(axes: Axes, table: pd.DataFrame, settings: Settings) -> None:
    """Number of classes with a point of their own, against training step: mean, interval and networks of a protocol."""
    looks = style.looks(table["curriculum"], style.PROTOCOLS, settings["palette"])
    lines: list[tuple[Look, np.ndarray, np.ndarray]] = []
    for protocol in style.ordered(table["curriculum"], style.PROTOCOLS):
        part = table[table["curriculum"] == protocol]
        steps = np.unique([0, *part["appears"].dropna(), part["steps"].max()])
        counts = pd.DataFrame(
            {seed: [(rows["appears"] <= step).sum() for step in steps] for seed, rows in part.groupby("seed")}, steps
        ).T
        band = style.interval(counts.to_numpy(), settings["confidence"])
        style.curve(axes, counts, looks[protocol], band, bounds=(0, part["label"].nunique()))
        lines.append((looks[protocol], steps, counts.mean().to_numpy()))
        introduced = np.sort(part.drop_duplicates("label")["introduced"])
        if introduced[-1] > introduced[0]:
            axes.step(
                [*introduced, steps[-1]], [*range(1, len(introduced) + 1), len(introduced)], where="post",
                linewidth=1.0, color=style.QUIET, linestyle=":",
                label=f"classes that {looks[protocol].label} has introduced",
            )  # fmt: skip
    if table.empty:
        style.say(axes, "no network was followed back,\nor none learned")
        axes.set(xticks=[], yticks=[])
    else:
        axes.locator_params(nbins=5, integer=True)


def caption(tables: Tables, settings: Settings) -> str:
    formed = _formed(tables)
    lowest = (
        ""
        if formed.empty
        else f"""
    Lowest row: how many classes have a point of their own, against the step of training. A class has one from the
    checkpoint on from which its point is read out as the class to the end. {style.bands_of(formed, settings)}
    """
    )
    return (
        f"""
    Where memories lie in state space, and when their points form, in networks that learned the task.

    Portraits: hidden states of held-out trials. {portraits.words(tables["portraits"])} The titles tell which share of
    trials ends nearest to the slow point of its own class, along the first three components.
    """
        + lowest
    )
