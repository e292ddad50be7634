"""What slowing the points does to a memory."""

from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables

PHASES = {
    "trained": "none (as trained)",
    "control": "control (penalty 0)",
    "centroid": "centroids slowed",
    "slow_points": "slow points slowed",
}


def draw(tables: Tables, settings: Settings) -> Figure:
    """Accuracy against delay of the networks as trained and after each kind of further training, cell by protocol.

    What is compared are continuations of one network, so a band is the interval of the difference to the control,
    drawn upon the control's mean: where it does not touch that line, the difference excludes 0.
    """
    table = tables["extrapolation"]
    further = table[table["phase"] != "trained"]
    # protocols that were only trained have nothing to compare
    table = table[table["curriculum"].isin(further["curriculum"])]
    cells, protocols = style.ordered(table["cell"], style.CELLS), style.ordered(table["curriculum"], style.PROTOCOLS)
    phases = style.looks(table["phase"], PHASES, settings["palette"])
    figure, axes = style.panels(max(1, len(cells)), max(1, len(protocols)), 1.9)
    for panel, cell, protocol in style.grid(axes, cells, protocols):
        here = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
        networks = {phase: style.by_network(part, "delay", "accuracy") for phase, part in here.groupby("phase")}
        for phase in style.ordered(here["phase"], PHASES):
            band = None
            if phase not in ("trained", "control") and "control" in networks:
                control = networks["control"]
                found = style.interval((networks[phase] - control).dropna().to_numpy(), settings["confidence"])
                band = found and tuple(control.mean().to_numpy() + side for side in found)
            style.curve(panel, networks[phase], phases[phase], band)
        panel.set_title(style.panel_name(cell, protocol))
    if further.empty:
        style.say(axes[0, 0], "no network was trained on")
    style.delay_panels(axes, table, settings)
    style.legend(figure)
    return figure


def caption(tables: Tables, settings: Settings) -> str:
    table = tables["extrapolation"]
    return f"""
    What slowing the points does to a memory: accuracy on held-out images against the delay.
    Trained networks were trained {settings["regularise_steps"]} steps further. A penalty on speed acted at their slow
    points or at their centroids, where the search for those points starts; the control had no penalty.
    {style.delays_of(table, settings)}
    Thick lines are means over {style.networks_of(table[table["phase"] != "trained"])} a panel.
    Thin lines are single networks.
    Each network is compared with its own control. A band is the {style.percent(settings)} interval of the mean
    difference to the control, drawn around the control's mean plus that difference. Where a band does not touch the
    control's line, the interval excludes 0.
    """
