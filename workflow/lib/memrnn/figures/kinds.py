"""What kinds of points slow points are."""

import numpy as np
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """Shares of kinds of slow points per cell and protocol, and the points' time constants beside them.

    Colours tell what lies below a slow point, fills what a displacement does at the slow point itself.
    Networks that have not learned the task are left out, as they are from correlations.
    """
    scores = tables["scores"].query("phase == 'trained'")
    points = tables["spectrum"].query("phase == 'trained'")
    network = ["cell", "curriculum", "seed"]
    points = points.merge(scores[[*network, "label", "learned"]], on=[*network, "label"])
    kinds = style.looks(style.KINDS, style.KINDS, settings["palette"])
    lines = [
        (cell, protocol)
        for cell in style.ordered(points["cell"], style.CELLS)
        for protocol in style.ordered(points["curriculum"], style.PROTOCOLS)
    ]
    figure = Figure(figsize=(style.WIDTH, 0.34 * max(3, len(lines)) + 1.3), layout="constrained")
    shares, constants = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.2))
    for place, (cell, protocol) in enumerate(lines):
        here = points[(points["cell"] == cell) & (points["curriculum"] == protocol)]
        here = here[here["learned"]]
        if here.empty:
            shares.text(0.5, place, "no network learned", ha="center", va="center", color=style.QUIET)
        end = 0.0
        for row, (kind, look) in enumerate(kinds.items()):
            part = here[here["kind"] == kind]
            share = len(part) / max(1, len(here))
            shares.barh(place, share, left=end, height=0.7, color=look.colour, label=look.label)
            if share > 0.06:
                shares.text(
                    end + share / 2,
                    place,
                    str(len(part)),
                    ha="center",
                    va="center",
                    weight="bold",
                    color=style.ink_on(look.colour),
                )
            end += share
            grows = (part["leading_modulus"] > 1).to_numpy()
            height = place + 0.15 * (row - 2) + np.linspace(-0.06, 0.06, len(part))
            colours = np.where(grows[:, None], (*look.colour, 1.0), (1.0, 1.0, 1.0, 1.0))
            constants.scatter(
                part["time_constant"], height, s=13, marker=look.marker, facecolors=colours, edgecolors=[look.colour],
                linewidths=0.8,
            )  # fmt: skip
    shares.set_yticks(range(len(lines)), [style.panel_name(*line) for line in lines])
    shares.set(ylim=(len(lines) - 0.5, -0.5), xlim=(0, 1), xlabel="share of points")
    # a logarithmic axis without data has no ticks
    constants.set(
        xscale="log" if points["learned"].any() else "linear", xlabel="time constant at the slow point (steps)"
    )
    for filled, label in ((True, "filled: grows"), (False, "open: fades")):
        constants.scatter([], [], s=13, facecolors="black" if filled else "white", edgecolors="black", label=label)
    if points.empty:
        style.say(shares, "no network")
    style.legend(figure)
    return figure


def caption(tables: Tables, settings: Settings) -> str:
    spectrum = settings["spectrum"]
    return f"""
    What kinds of points the slow points are, after {spectrum["search_steps"]} steps of the search, in networks that
    learned the task. The speed is followed further down from each slow point by Newton's method, for at most
    {spectrum["newton_steps"]} steps and no further away than {spectrum["newton_distance"]:g}.

    Left: share of points of each kind, and their numbers. At a stable fixed point every small displacement fades. At a
    saddle some grow. A ghost is a place where the speed is least but not zero, so states slow down there and move on.
    On a slope the speed keeps falling until the point is too far away or its class is lost. Undecided: the steps were
    too few, or an LSTM's cell state left the range where a fixed point can be.

    Right: the time constant of each slow point itself, from its largest eigenvalue. In that many steps a displacement
    grows (filled mark) or fades (open mark) by a factor of e. Where it grows, this is not the time a memory lasts.
    """
