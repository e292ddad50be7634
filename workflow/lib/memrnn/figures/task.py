"""The task, the network and the protocols: a scheme, with one real trial."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables

GROWS = {  # what a protocol changes, and the values it has in the full task
    "vocu": "classes in play",
    "decu": "steps of a trial",
    "recu": "weight of null",
    "nacu": "full task from the start",
}


def draw(tables: Tables, settings: Settings) -> Figure:
    """A: frames, trigger and outputs of one trial. B: the network. C: what each protocol changes during training."""
    low, high = style.trained_delays(settings)
    figure = style.compose(
        f"The task: keep the class of one image in mind through {low} to {high} frames of noise, then name it",
        height=5.6,
    )
    rows = figure.add_gridspec(2, 1, height_ratios=(1.5, 1))
    _trial(figure, rows[0], tables["trial"])
    lower = rows[1].subgridspec(1, 2, width_ratios=(1, 1.15))
    _network(figure.add_subplot(lower[0]), tables["trial"])
    _protocols(figure, lower[1], settings)
    return figure


def _trial(figure: Figure, place: SubplotSpec, table: pd.DataFrame) -> None:
    """Frames, trigger and outputs against time, the target marked."""
    # each (steps, index), but the shape (1, 3)
    pixels, trigger, stimulus, target, output, shape = (
        table[table["quantity"] == name].pivot_table("value", index="step", columns="index").to_numpy()
        for name in ("pixel", "trigger", "stimulus", "target", "output", "shape")
    )
    steps, units = output.shape
    frames = pixels.reshape(steps, *shape[0].astype(int)).clip(0, 1)
    shown, asked = int(stimulus[:, 0].argmax()), int(trigger[:, 0].argmax())

    top, middle, bottom = place.subgridspec(3, 1, height_ratios=(0.5, 0.26, 1.6), hspace=0).subplots(sharex=True)
    for step, frame in enumerate(frames):
        extent = (step - 0.47, step + 0.47, 0, 1)
        top.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
    for step, event in ((shown, "image"), (asked, "trigger: answer now")):
        top.annotate(event, (step, 1.15), ha="center", va="bottom", annotation_clip=False)
        middle.axvspan(step - 0.5, step + 0.5, color=style.QUIET, alpha=0.25, linewidth=0)
        bottom.vlines((step - 0.5, step + 0.5), -0.5, units - 0.5, color="white", linewidth=0.8, linestyle=(0, (3, 2)))
    top.set(ylim=(0, 1), yticks=[])
    top.spines[:].set_visible(False)
    top.tick_params(bottom=False)
    middle.step(np.arange(steps), trigger[:, 0], where="mid", color="black", linewidth=1.2)
    middle.set(ylim=(-0.2, 1.2), yticks=[0, 1])
    for axes, label in ((top, "frames"), (middle, "trigger")):
        axes.set_ylabel(label, rotation=0, ha="right", va="center")

    image = bottom.imshow(output.T, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    due, unit = np.nonzero(target > 0)
    bottom.scatter(due, unit, s=16, facecolors="white", edgecolors="black", linewidths=0.8)
    bottom.set_yticks(range(units), ["null", *map(str, range(units - 1))])
    bottom.set(xlabel="time (steps)", ylabel="output", xlim=(-0.6, steps - 0.4))
    bottom.set_xticks(range(0, steps, max(1, steps // 10)))
    figure.colorbar(image, ax=[top, middle, bottom], label="value of the output", pad=0.01, aspect=25)
    style.letter(top, "A")


def _network(axes: Axes, table: pd.DataFrame) -> None:
    """Frames and trigger go into the recurrent layer, its state into the outputs."""
    pixels = table.loc[table["quantity"] == "pixel", "index"].nunique()
    outputs = table.loc[table["quantity"] == "output", "index"].nunique()
    boxes = {
        "frame": (0.02, 0.58, f"frame $x_t$\n{pixels} pixels"),
        "trigger": (0.02, 0.12, "trigger\n0 or 1"),
        "state": (0.38, 0.35, "recurrent\nlayer,\nstate $h_t$"),
        "read-out": (0.74, 0.35, f"read-out\nnull and\n{outputs - 1} classes"),
    }
    for name, (x, y, text) in boxes.items():
        fill = "0.92" if name == "state" else "white"
        look = {"boxstyle": "round,pad=0.02", "facecolor": fill, "edgecolor": "black", "linewidth": 1.0}
        axes.add_patch(FancyBboxPatch((x, y), 0.24, 0.26, transform=axes.transAxes, **look))
        axes.text(x + 0.12, y + 0.13, text, ha="center", va="center", transform=axes.transAxes)
    look = {"arrowstyle": "-|>", "mutation_scale": 9, "color": "black", "linewidth": 1.0}
    for start, end, bend in (
        *(((0.28, 0.70), (0.36, 0.54), 0), ((0.28, 0.26), (0.36, 0.42), 0)),
        *(((0.64, 0.48), (0.72, 0.48), 0), ((0.56, 0.64), (0.44, 0.64), 1.4)),
    ):
        arc = f"arc3,rad={bend}"
        axes.add_patch(FancyArrowPatch(start, end, transform=axes.transAxes, connectionstyle=arc, **look))
    axes.text(0.5, 0.83, "next step", ha="center", va="bottom", transform=axes.transAxes, color=style.QUIET)
    axes.set_axis_off()
    style.letter(axes, "B")


def _protocols(figure: Figure, place: SubplotSpec, settings: Settings) -> None:
    """What each protocol changes, against the share of training."""
    protocols = style.ordered(settings["protocols"], style.PROTOCOLS)
    looks = style.looks(protocols, style.PROTOCOLS, settings["palette"])
    panels = place.subgridspec(len(protocols), 1).subplots(sharex=True, squeeze=False)[:, 0]
    for panel, protocol in zip(panels, protocols, strict=True):
        values, starts, out_of = (settings["protocols"][protocol][name] for name in ("values", "starts", "out_of"))
        look, full = looks[protocol], not values
        values, starts = ([1], [0]) if full else (values, starts)
        panel.step(
            [*(100 * start / out_of for start in starts), 100], [*values, values[-1]], where="post", color=look.colour,
            linewidth=1.8,
        )  # fmt: skip
        panel.set(xlim=(0, 100), ylim=(0, 1.35 * max(values)), yticks=[] if full else [values[0], values[-1]])
        panel.text(
            98, 0.06 * max(values), f"{look.label}: {GROWS.get(protocol, 'grows')}", ha="right", va="bottom",
            color=look.colour, weight="bold",
        )  # fmt: skip
    panels[-1].set_xlabel("share of training (%)")
    style.letter(panels[0], "C")


def caption(tables: Tables, settings: Settings) -> str:
    steps = tables["trial"]["step"].nunique()
    low, high = style.trained_delays(settings)
    words = {
        "vocu": "VoCu (vocabulary) adds the classes one by one.",
        "decu": "DeCu (delay) lengthens the trial.",
        "nacu": "NaCu (none) trains the full task from the start.",
        "recu": "ReCu (response) first asks for the answer alone and then also for silence at all other steps.",
    }
    said = " ".join(words[name] for name in style.ordered(settings["protocols"], style.PROTOCOLS) if name in words)
    return f"""
    The task, the network and the protocols.

    A: One trial as a trained network sees it, {steps} time steps long. Every frame is noise but one, the image. Below:
    the value of each output at each step. White dots mark the output that should be largest: at the trigger the class
    of the image, else "null". In training {low} to {high} noise frames lie between image and trigger.

    B: Frame and trigger enter a recurrent layer (a GRU, an LSTM or another cell). One step later its state enters it
    again. A linear read-out with logistic units gives the outputs.

    C: Protocols differ in what is trained when. {said}
    """
