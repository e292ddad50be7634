"""How long a memory lasts, by protocol."""

from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """Accuracy against delay, one panel per cell, one line per protocol, with T_max and chance."""
    table = tables["extrapolation"].query("phase == 'trained'")
    cells, protocols = (
        style.ordered(table["cell"], style.CELLS),
        style.looks(table["curriculum"], style.PROTOCOLS, settings["palette"]),
    )
    figure, axes = style.panels(1, max(1, len(cells)), 2.5)
    for panel, cell in zip(axes[0], cells, strict=False):
        for protocol in style.ordered(table["curriculum"], style.PROTOCOLS):
            part = table[(table["cell"] == cell) & (table["curriculum"] == protocol)]
            networks = style.by_network(part, "delay", "accuracy")
            style.curve(
                panel, networks, protocols[protocol], style.interval(networks.to_numpy(), settings["confidence"])
            )
        panel.set_title(style.CELLS.get(cell, cell))
    style.delay_panels(axes, table, settings)
    style.legend(figure)
    return figure


def caption(tables: Tables, settings: Settings) -> str:
    table = tables["extrapolation"]
    return f"""
    How long a memory lasts: accuracy on held-out images against the delay.
    {style.delays_of(table, settings)}
    {style.bands_of(table[table["phase"] == "trained"], settings)}
    Networks that have not learned the task are shown with the others.
    """
