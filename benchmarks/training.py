"""Time of a training step: the explicit sequence pass against the plain loop and against torch.nn's layers.

    python benchmarks/training.py [--sizes digits mnist] [--networks 1 4] [--threads 1] [--rounds 15]

Settings take turns in every round, after a warm-up; the table gives medians per step and network, and the ratio to the
plain loop of the same run. A step is everything training does: drawing trials and noise, forward, loss, backward, Adam.
Writes results/bench/training.csv.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from memrnn import networks as nets
from memrnn import record, trials
from memrnn.cells import plain_sequence
from memrnn.protocols import Stage

SIZES = {
    "digits": {"batch": 64, "pixels": 64, "units": 100},
    "mnist": {"batch": 128, "pixels": 784, "units": 200},
}
STAGE = Stage(classes=10, steps=20)
MEAN, STD = 0.13, 0.31


class TorchNN(torch.nn.Module):
    """What a user would pick: torch.nn's layer and a linear read-out, one network."""

    def __init__(self, cell: str, pixels: int, units: int) -> None:
        super().__init__()
        self.layer = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](pixels + 1, units)
        self.readout = torch.nn.Linear(units, STAGE.classes + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.layer(x)[0])


def one_step(setting: str, cell: str, count: int, batch: int, pixels: int, units: int) -> Callable[[], None]:
    """A function that does one training step of `count` networks in the given setting."""
    images = torch.rand(1000, pixels)
    counts = torch.full((STAGE.classes,), 100)
    draws, noise = ([record.generator(seed, "bench", name) for seed in range(count)] for name in ("draws", "noise"))
    x = torch.empty(count, STAGE.steps, batch, pixels + 1)
    if setting == "torch_nn":
        modules = [TorchNN(cell, pixels, units) for _ in range(count)]
        parameters = [parameter for module in modules for parameter in module.parameters()]
    else:
        start = nets.initial(cell, range(count), pixels + 1, units, STAGE.classes + 1)
        weights = {name: values.requires_grad_() for name, values in start.parameters.items()}
        networks = nets.from_parameters(cell, weights, start.seeds, start.phases)
        parameters = list(weights.values())
    optimiser = torch.optim.Adam(parameters, lr=1e-5, fused=True)

    def outputs() -> Tensor:
        if setting == "torch_nn":
            return torch.stack([module(each) for module, each in zip(modules, x, strict=True)])
        if setting == "plain":
            return networks.logits(plain_sequence(networks.cell, networks.weights, x))
        return networks.logits(networks.cell.sequence(networks.weights, x))

    def step() -> None:
        drawn = trials.draw(draws, batch, STAGE, 4, counts.cumsum(0) - counts, counts)
        trials.inputs(drawn, noise, images, MEAN, STD, x)
        optimiser.zero_grad()
        trials.loss(outputs(), drawn, STAGE, STAGE.steps).sum().backward()
        optimiser.step()

    return step


def measure(size: str, cell: str, count: int, threads: int, rounds: int) -> list[dict[str, object]]:
    """Rows of the benchmark table for one size, cell and number of networks."""
    record.prepare_process(threads)
    steps = {setting: one_step(setting, cell, count, **SIZES[size]) for setting in ("plain", "torch_nn", "exact")}
    taken: dict[str, list[float]] = {setting: [] for setting in steps}
    for turn in range(rounds + 2):
        for setting, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= 2:  # the first two warm up
                taken[setting].append((time.perf_counter() - began) * 1000 / count)
    median = {setting: statistics.median(values) for setting, values in taken.items()}
    return [
        {
            "benchmark": "training", "size": size, "cell": cell, "setting": setting, "networks": count,
            "threads": threads, "device": "cpu", "median_ms": median[setting],
            "ratio": median["plain"] / median[setting],
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        for setting in steps
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--networks", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("results/bench/training.csv"))
    options = parser.parse_args()
    rows = [
        row
        for size in options.sizes
        for cell in ("gru", "lstm")
        for count in options.networks
        for threads in options.threads
        for row in measure(size, cell, count, threads, options.rounds)
    ]
    table = pd.DataFrame(rows)
    record.save_table(options.out, table)
    print(table.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
