"""Memories of a network that keeps three bits, and the saddles between them (Sussillo & Barak 2013).

    python docs/examples/flip_flop.py --out docs/examples/flip_flop.png

Three input channels are silent but for rare pulses of +1 or -1; three outputs tell the sign of each channel's last
pulse. A small GRU learns this. Its fixed points under silent inputs are then found, told apart and drawn. Some twenty
seconds of one core, most of them training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "lib"))

from memrnn import FixedPoints, find_fixed_points

BITS, UNITS = 3, 24
PULSE = 0.15  # probability per channel and step
TRIAL_STEPS, BATCH, RATE = 40, 64, 5e-3  # time steps; trials per update; Adam's learning rate
STARTS = 600  # searches from states that trials go through, and as many from half-way between two of them
KINDS = ["memory", "saddle, 1 direction", "saddle, 2 directions", "saddle, 3 directions"]


def draw_trials(trials: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (steps, trials, 3); every channel has a pulse at the first step, so that all bits are set."""
    shape = TRIAL_STEPS, trials, BITS
    signs = torch.randint(2, shape, generator=generator) * 2.0 - 1
    pulses = torch.rand(shape, generator=generator) < PULSE
    pulses[0] = True
    last = torch.where(pulses, torch.arange(TRIAL_STEPS).view(-1, 1, 1), 0).cummax(0).values
    return signs * pulses, signs.gather(0, last)


def run(cell: torch.nn.GRUCell, inputs: Tensor) -> Tensor:
    """h after each step from the zero state, (steps, trials, units)."""
    h, states = inputs.new_zeros(inputs.shape[1], UNITS), []
    for x in inputs:
        h = cell(x, h)
        states.append(h)
    return torch.stack(states)


def train(updates: int, seed: int) -> tuple[torch.nn.GRUCell, torch.nn.Linear]:
    """A cell and a read-out that keep three bits, in float64."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        cell, readout = torch.nn.GRUCell(BITS, UNITS), torch.nn.Linear(UNITS, BITS)
    optimiser = torch.optim.Adam([*cell.parameters(), *readout.parameters()], lr=RATE)
    for _ in range(updates):
        inputs, targets = draw_trials(BATCH, generator)
        loss = (readout(run(cell, inputs)) - targets).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return cell.double().requires_grad_(False), readout.double().requires_grad_(False)


def leave(cell: torch.nn.GRUCell, points: FixedPoints, steps: int = 300) -> Tensor:
    """Where saddles of one direction lead, pushed a little either way; (steps + 1, saddles, 2, units)."""
    simple = points[points.unstable == 1]
    out = simple.eigenvectors[:, :, 0].real  # of the largest eigenvalue
    h = (simple.state.unsqueeze(1) + 0.02 * torch.stack([out, -out], 1)).flatten(0, 1)
    path, silence = [h], h.new_zeros(len(h), BITS)
    for _ in range(steps):
        path.append(cell(silence, path[-1]))
    return torch.stack(path).unflatten(1, (-1, 2))


def signs(outputs: Tensor) -> list[str]:
    """Outputs (points, 3) as "+-+"."""
    return ["".join("+" if value > 0 else "−" for value in row) for row in outputs]


def describe(points: FixedPoints, ways: Tensor, readout: torch.nn.Linear) -> pd.DataFrame:
    """A row per fixed point."""
    table = pd.DataFrame(readout(points.state).numpy().round(2), columns=["bit 1", "bit 2", "bit 3"])
    table.insert(0, "kind", [KINDS[k] for k in points.unstable])
    table["largest |λ|"] = points.eigenvalues[:, 0].abs().numpy().round(3)
    table["speed"] = points.speed.numpy()
    table["between"] = ""
    ends = [signs(readout(ways[-1, :, side])) for side in range(2)]
    table.loc[(points.unstable == 1).numpy(), "between"] = [" ".join(sorted(pair)) for pair in zip(*ends, strict=True)]
    return table


def draw(points: FixedPoints, ways: Tensor, states: Tensor, readout: torch.nn.Linear, out: Path) -> None:
    """Portrait on the first principal components of the states that trials go through, and the eigenvalues."""
    centre = states.flatten(0, 1).mean(0)
    axes = torch.linalg.svd(states.flatten(0, 1) - centre, full_matrices=False).Vh[:3].mT

    def project(h: Tensor) -> np.ndarray:
        return ((h - centre) @ axes).numpy()

    seaborn.set_theme("paper", "ticks", "colorblind")
    colours, markers = seaborn.color_palette("colorblind"), ["o", "X", "s", "^"]
    figure = plt.figure(figsize=(8.4, 4.2))
    portrait = figure.add_axes((0.0, 0.1, 0.56, 0.82), projection="3d")
    sizes = figure.add_axes((0.66, 0.24, 0.32, 0.62))
    for trial in project(states[:, :20]).swapaxes(0, 1):
        portrait.plot(*trial.T, color="0.6", linewidth=0.4, alpha=0.5)
    for way in project(ways.flatten(1, 2)).swapaxes(0, 1):
        portrait.plot(*way.T, color=colours[1], linewidth=1)
    for kind, (name, marker) in enumerate(zip(KINDS, markers, strict=True)):
        these = points.unstable == kind
        style = {"color": colours[kind], "marker": marker, "edgecolor": "white", "depthshade": False}
        portrait.scatter(*project(points.state[these]).T, s=44, label=f"{name} ({int(these.sum())})", **style)
        moduli = points.eigenvalues[these].abs().flatten()
        heights = kind + np.linspace(-0.25, 0.25, int(these.sum())).repeat(UNITS)
        sizes.scatter(moduli, heights, s=10, color=colours[kind], marker=marker, linewidth=0, alpha=0.7)
    memories = points.state[points.unstable == 0]
    behind = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6}
    for at, name in zip(project(memories), signs(readout(memories)), strict=True):
        portrait.text(*(1.25 * at), name, ha="center", va="center", weight="bold", bbox=behind)
    portrait.set(xlabel="PC 1", ylabel="PC 2", zlabel="PC 3", xticks=[], yticks=[], zticks=[])
    for axis in (portrait.xaxis, portrait.yaxis, portrait.zaxis):
        axis.labelpad = -12
    portrait.view_init(18, -62)
    portrait.set_box_aspect(None, zoom=1.2)
    figure.text(0.28, 0.93, "states of trials, and fixed points without input", ha="center")
    figure.legend(*portrait.get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    sizes.axvline(1, color="0.5", linewidth=0.8)
    sizes.set(yticks=range(len(KINDS)), yticklabels=[name.replace(", ", ",\n") for name in KINDS], xlim=(0, None))
    sizes.set(xlabel="|eigenvalue| of a step; beyond 1: grows", ylim=(len(KINDS) - 0.4, -0.6))
    seaborn.despine(ax=sizes)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("flip_flop.png"), help="the figure")
    parser.add_argument("--updates", type=int, default=1000, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    cell, readout = train(options.updates, options.seed)

    generator = torch.Generator().manual_seed(options.seed + 1)
    inputs, targets = draw_trials(100, generator)
    states = run(cell, inputs.double())
    right = ((readout(states) > 0) == (targets > 0)).double().mean().item()
    print(f"after {options.updates} updates {right:.1%} of new outputs have the right sign")
    one, other = states.flatten(0, 1)[torch.randperm(states[..., 0].numel(), generator=generator)][: 2 * STARTS].chunk(
        2
    )
    found = find_fixed_points(cell, torch.cat([one, (one + other) / 2]), torch.zeros(BITS))
    print(found)
    points = found[found.converged]
    ways = leave(cell, points)
    table = describe(points, ways, readout)
    print(table.to_string(index=False, formatters={"speed": "{:.0e}".format}))
    draw(points, ways, states, readout, options.out)
    return table


if __name__ == "__main__":
    main()
