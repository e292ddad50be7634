"""What a penalty on the speed of the points does to a memory."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memrnn.core.stats import mean_interval
from memrnn.figures import style
from memrnn.figures.style import Look, Settings, Tables

CURVES = ("control", "slow_points")  # treatments whose curves are drawn; of the others, the gain
PANEL = ["cell", "curriculum"]


def draw(tables: Tables, settings: Settings) -> Figure:
    """A column per cell and protocol: two curves, and their difference; below, every treatment against the control.

    What is compared are two continuations of one network, so every interval is of a paired difference.
    """
    table, scores = tables["extrapolation"], tables["scores"]
    measure, score = "informedness" if "informedness" in table else "accuracy", style.score_of(scores)
    further = table[table["phase"] != "trained"]
    columns = [
        (cell, protocol)
        for cell in style.ordered(further["cell"], style.CELLS)
        for protocol in style.ordered(further["curriculum"], style.PROTOCOLS)
        if ((further["cell"] == cell) & (further["curriculum"] == protocol)).any()
    ]
    gains = differences(scores[scores["learned"]], score, settings)
    treatments = list(gains.groupby("phase")["value"].mean().sort_values(ascending=False, kind="stable").index)
    if not columns:
        figure = style.compose(_message(gains), height=2.5)
        style.say(figure.subplots(), "no network was trained on")
        return figure

    tall = 0.6 + (0.5 if len(treatments) <= 8 else 0.36) * max(2, len(treatments))
    figure = style.compose(_message(gains), height=4.2 + tall)
    rows = figure.add_gridspec(2, 1, height_ratios=(3.2, tall))
    axes = rows[0].subgridspec(2, len(columns)).subplots(squeeze=False, sharex=True, sharey="row")
    for (above, below), (cell, protocol) in zip(axes.T, columns, strict=True):
        _curves(above, below, table[(table["cell"] == cell) & (table["curriculum"] == protocol)], measure, settings)
        above.set(title=style.panel_name(cell, protocol), ylim=(-0.05, 1.05))
        for panel in (above, below):
            style.delay_axis(panel, table, settings)
        below.set_xlabel("delay (steps)")
    low, high = axes[1, 0].get_ylim()
    axes[1, 0].set_ylim(min(low, -0.05), max(high, 0.05))
    axes[0, 0].set_ylabel(measure)
    axes[1, 0].set_ylabel("gain over control")
    bottom = rows[1].subgridspec(1, 3).subplots(sharey=True)
    names = [style.PHASES.get(name, name.replace("_", " ")) for name in treatments]
    shown = [gains, *(speed_ratios(tables, name, settings) for name in ("speed", "noisy_speed"))]
    for panel, found, none in zip(bottom, shown, (0, 1, 1), strict=True):
        style.forest(panel, _marks(found, treatments, columns, settings["palette"]), names, none)
    bottom[0].set_xlabel(f"gain in {style.SCORES[score]}")
    for panel, name in zip(bottom[1:], ("noise-free", "noisy"), strict=True):
        panel.set(xscale="log", xlabel=f"{name} speed / control's")
        style.tick_speeds(panel)
    for (cell, protocol), mark in _looks(columns, settings["palette"]).items():
        bottom[0].plot(
            [], [], color=mark.look.colour, marker=mark.look.marker, linestyle="none",
            markerfacecolor=mark.look.colour if mark.filled else "white", label=style.panel_name(cell, protocol),
        )  # fmt: skip
    for panel, letter in zip((axes[0, 0], axes[1, 0], *bottom), style.LETTERS, strict=False):
        style.letter(panel, letter)
    style.legend(figure)
    return figure


def _curves(above: Axes, below: Axes, table: pd.DataFrame, measure: str, settings: Settings) -> None:
    """Control and slowed points of one cell and protocol, and the difference of each pair."""
    looks = style.looks(table["phase"], style.PHASES, settings["palette"])
    networks = {phase: style.by_network(part, "delay", measure) for phase, part in table.groupby("phase")}
    drawn = [phase for phase in CURVES if phase in networks]
    for phase in drawn:
        style.curve(above, networks[phase], looks[phase], None)
    if len(drawn) == len(CURVES):
        gain = (networks["slow_points"] - networks["control"]).dropna()
        band = style.interval(gain.to_numpy(), settings["confidence"])
        style.curve(below, gain, looks["slow_points"], band, bounds=(-1, 1))
    below.axhline(0, color=style.QUIET, linewidth=0.8, zorder=0.5)


def differences(table: pd.DataFrame, column: str, settings: Settings, to: str = "control") -> pd.DataFrame:
    """Mean paired difference of every treatment to one of them, with interval, per cell and protocol.

    Args:
        table: PANEL, seed, phase, and the column; rows of a network and phase are averaged first.
        settings: confidence, of the interval.
    Returns:
        PANEL, phase, value, low, high, networks; no rows where nobody was treated so.
    """
    networks = table.groupby([*PANEL, "seed", "phase"])[column].mean().unstack("phase")
    treatments = [phase for phase in networks if phase not in ("trained", "control", to)]
    rows = []
    for (cell, protocol), part in networks.groupby(PANEL):
        for phase in treatments if to in networks else ():
            values = (part[phase] - part[to]).dropna().to_numpy()
            rows.append((cell, protocol, phase, *mean_interval(values, settings["confidence"]), len(values)))
    rows = [row for row in rows if row[-1]]
    return pd.DataFrame(rows, columns=[*PANEL, "phase", "value", "low", "high", "networks"])


def speed_ratios(tables: Tables, name: str, settings: Settings) -> pd.DataFrame:
    """Mean ratio of every treatment to its control, of the geometric mean of a speed of a network's slow points.

    Args:
        tables: slow_points and scores.
        name: speed or noisy_speed.
        settings: search_steps, the budget of the points; confidence, of the interval.
    Returns:
        PANEL, phase, value, low, high, networks.
    """
    points = tables["slow_points"]
    points = points[(points["search_steps"] == settings["search_steps"]) & (points[name] > 0)]
    learned = tables["scores"].loc[tables["scores"]["learned"], [*PANEL, "seed", "phase"]].drop_duplicates()
    points = points.merge(learned).assign(**{name: lambda rows: np.log10(rows[name])})
    found = differences(points, name, settings)
    return found.assign(**{name: 10 ** found[name] for name in ("value", "low", "high")})


def _marks(found: pd.DataFrame, treatments: list[str], columns: list[tuple[str, str]], palette: str) -> pd.DataFrame:
    """Rows of `style.forest`: a place per treatment, around it a mark per cell and protocol."""
    looks = _looks(columns, palette)
    spread = dict(zip(columns, np.linspace(-0.3, 0.3, len(columns)) if len(columns) > 1 else [0], strict=True))
    found = found[found["phase"].isin(treatments)]
    keys = list(found[PANEL].itertuples(index=False, name=None))
    return found.assign(
        place=[treatments.index(phase) + spread[key] for phase, key in zip(found["phase"], keys, strict=True)],
        look=[looks[key].look for key in keys],
        filled=[looks[key].filled for key in keys],
    )


class Mark(NamedTuple):
    """Colour and shape of a protocol, filled for the first cell and open for the others."""

    look: Look
    filled: bool


def _looks(columns: list[tuple[str, str]], palette: str) -> dict[tuple[str, str], Mark]:
    looks = style.looks((protocol for _, protocol in columns), style.PROTOCOLS, palette)
    return {(cell, protocol): Mark(looks[protocol], cell == columns[0][0]) for cell, protocol in columns}


def _message(gains: pd.DataFrame) -> str:
    """In how many panels the penalty at the slow points lengthens memory."""
    rows = gains[gains["phase"] == "slow_points"].dropna(subset="low")
    if rows.empty:
        return "Does a penalty on the points' speed lengthen memory? Too few networks to tell"
    gained, lost = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    shorter = f" and shortens it in {lost}" if lost else ""
    return (
        f"A penalty on the points' speed lengthens memory in {gained} of {len(rows)} cases{shorter} "
        f"(mean gain {rows['value'].mean():.2f})"
    )


def caption(tables: Tables, settings: Settings) -> str:
    table = tables["extrapolation"]
    further = table[table["phase"] != "trained"]
    if further.empty:
        return "What a penalty on the points' speed does to a memory. In this run 0 networks were trained further."
    steps = settings["search_steps"]
    return f"""
    What a penalty on the points' speed does to a memory. Trained networks were trained {settings["regularise_steps"]}
    steps further, with a penalty on speed at their slow points or with another treatment; the control had no penalty.
    There are {style.networks_of(further)} per cell and protocol.

    A: held-out images, mean over networks (thick) and single networks (thin). {style.delays_of(settings)}

    B: each network less its own control (thin), their mean (thick) and its {style.percent(settings)} interval.

    C: the same difference in the score, for every treatment, of networks that learned the task.
    {style.score_text(style.score_of(tables["scores"]), settings)} Bars are {style.percent(settings)} intervals.

    D: the noise-free speed of the slow points, searched anew for {steps} steps in each network: geometric mean over
    classes, divided by that of the control. A ratio below 1 is slower.

    E: the same of the noisy speed, the root mean square of the move in one step under the task's noise. The penalty of
    the paper lowers its square.
    """
