"""Accuracy while networks are trained."""

import pandas as pd
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables

GROWN = "first logged step after the task grew"


def draw(tables: Tables, settings: Settings) -> Figure:
    """Accuracy on held-out images against training step, cells in rows and protocols in columns.

    Upright lines stand at the first logged step after the protocol made the task larger; the title says what
    grows, from where to where.
    """
    table = tables["training"].query("phase == 'trained'")
    cells, protocols = style.ordered(table["cell"], style.CELLS), style.ordered(table["curriculum"], style.PROTOCOLS)
    measures = {
        "response_accuracy": style.Look("at the response (class)", "black", "o", "-"),
        "null_accuracy": style.Look("at all other steps (null)", "0.55", "s", (0, (3, 1))),
    }
    figure, axes = style.panels(len(cells), len(protocols), 1.55)
    for panel, cell, protocol in style.grid(axes, cells, protocols):
        part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        if part.empty:
            style.say(panel, "not trained")
        for measure, look in measures.items():
            networks = style.by_network(part, "step", measure)
            style.curve(panel, networks, look, style.interval(networks.to_numpy(), settings["confidence"]))
        changes, what = growth(part)
        for step in changes:
            panel.axvline(step, color=style.QUIET, linewidth=0.7, linestyle=":", zorder=0.5, label=GROWN)
        panel.set_title(f"{style.panel_name(cell, protocol)}\n{what}")
        panel.set_ylim(-0.03, 1.03)
        panel.locator_params(axis="x", nbins=3)
    style.label_outer(axes, "training step", "accuracy")
    style.legend(figure)
    return figure


def growth(part: pd.DataFrame) -> tuple[list[int], str]:
    """First steps of a training table after each change of the task, and in words what grew."""
    units = {"classes": "classes", "current_steps": "time steps", "alpha": "null weight"}
    table = part.drop_duplicates("step").sort_values("step").set_index("step")[list(units)]
    changed = table.ne(table.shift()).iloc[1:]
    words = [
        f"{table[name].iloc[0]:g} to {table[name].iloc[-1]:g} {unit}"
        for name, unit in units.items()
        if changed[name].any()
    ]
    return list(changed.index[changed.any(axis=1)]), ", ".join(words) or "full task throughout"


def caption(tables: Tables, settings: Settings) -> str:
    return f"""
    Accuracy on held-out images while networks are trained, on the task as it is at that step.
    One line is the accuracy at the response, where the network should name the class. The other is the accuracy at all
    other steps, where it should say nothing (null). A network that always says nothing scores 0 on the first and close
    to 1 on the second.
    {style.bands_of(tables["training"], settings)}
    Upright lines stand where the protocol made the task larger: at the first logged step after that, as accuracies are
    logged every {settings["log_every"]} steps. The title of a panel says what grew.
    """
