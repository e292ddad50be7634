"""One trial as a network sees it."""

import numpy as np
from matplotlib.figure import Figure

from memrnn.figures import style
from memrnn.figures.style import Settings, Tables


def draw(tables: Tables, settings: Settings) -> Figure:
    """One trial as the network sees it: frames, trigger, and the outputs with the target marked, against time."""
    # each (steps, index), but the shape (1, 3)
    pixels, trigger, stimulus, target, output, shape = (
        tables["trial"].query("quantity == @name").pivot_table("value", index="step", columns="index").to_numpy()
        for name in ("pixel", "trigger", "stimulus", "target", "output", "shape")
    )
    steps, units = output.shape
    frames = pixels.reshape(steps, *shape[0].astype(int)).clip(0, 1)
    events = {"stimulus": int(stimulus[:, 0].argmax()), "response": int(trigger[:, 0].argmax())}

    figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(0.32, 0.3, 2))
    for step, frame in enumerate(frames):
        extent = (step - 0.47, step + 0.47, 0, 1)
        top.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
    for event, step in events.items():
        top.annotate(event, (step, 1.1), ha="center", va="bottom", annotation_clip=False)
        middle.axvspan(step - 0.5, step + 0.5, color=style.QUIET, alpha=0.25, linewidth=0)
        bottom.vlines((step - 0.5, step + 0.5), -0.5, units - 0.5, color="white", linewidth=0.8, linestyle=(0, (3, 2)))
    top.set(ylim=(0, 1), yticks=[])
    top.spines[:].set_visible(False)
    top.tick_params(bottom=False)

    middle.step(np.arange(steps), trigger[:, 0], where="mid", color="black", linewidth=1.2)
    middle.set(ylim=(-0.2, 1.2), yticks=[0, 1])
    for axes, label in ((top, "input"), (middle, "trigger")):
        axes.set_ylabel(label, rotation=0, ha="right", va="center")

    image = bottom.imshow(output.T, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    due, unit = np.nonzero(target > 0)
    bottom.scatter(due, unit, s=22, facecolors="white", edgecolors="black", linewidths=0.8, label="target")
    bottom.set_yticks(range(units), ["null", *map(str, range(units - 1))])
    bottom.set(xlabel="time (steps)", ylabel="output (class)", xlim=(-0.6, steps - 0.4))
    bottom.set_xticks(range(0, steps, max(1, steps // 10)))
    figure.colorbar(image, ax=bottom, label="value of the output", pad=0.01, aspect=15)
    style.legend(figure)
    return figure


def caption(tables: Tables, settings: Settings) -> str:
    steps = tables["trial"]["step"].nunique()
    return f"""
    One trial as a trained network sees it, {steps} time steps long.
    Top: the frames. Every frame is noise but the stimulus, which is an image.
    Middle: the trigger, which asks for the answer.
    Bottom: the value of each output at each step.
    White dots mark the output that should be largest: at the response the class of the image, else "null".
    The response comes at least {settings["min_delay"]} steps after the stimulus.
    """
