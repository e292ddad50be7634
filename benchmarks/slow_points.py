"""Time and memory of a step of the search for slow points, against plain automatic differentiation.

    python benchmarks/slow_points.py         the default grid: minutes, on a machine that does nothing else
    python benchmarks/slow_points.py --sizes mnist --networks 10 --threads 1 2 --rounds 20

A step lowers the speed of ten points of each network once. Settings: `plain`, a loop over `Cell.step` under automatic
differentiation and torch.optim.Adam, as the published code reads, networks side by side; `search`, what the stage
slow_points does. They do the same arithmetic and take turns in every round, in rotating order, after a warm-up; a
round is a short search with its preparation. Reported are medians and quartiles per step and network, the ratio
plain / this of the same rounds, the peak memory of a fresh process that starts and does a short search (on a GPU, of
what torch takes there), and the minutes that the published 100,000 steps of all the networks take at the median.

Prints the table and writes it to results/bench/slow_points.csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from training import CLASSES, SIZES, highest, peaks, take_turns

from memrnn.core import streams
from memrnn.core.files import save_json, save_table
from memrnn.core.jobs import prepare_process
from memrnn.dynamics.points import descend
from memrnn.models.cell import State, squared_change
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks
from memrnn.run import provenance
from memrnn.tasks.delayed_classification import held_input, untrained

SETTINGS = ("plain", "search", "search_onednn")
STEPS, PAPER_STEPS = 100, 100_000  # of a round; of the published search
MEAN, RATE, DROP_STEP, DROP_FACTOR = 0.13, 1e-3, 40_000, 0.1
COLUMNS = (
    *("benchmark", "size", "cell", "setting", "networks", "threads", "device", "median_ms", "ratio", "peak_mib"),
    *("paper_minutes", "low_ms", "high_ms", "rounds", "points", "pixels", "units"),
)


class Task(NamedTuple):
    """What is searched: cell, number of networks, and the sizes of each."""

    cell: str
    networks: int
    pixels: int
    units: int
    points: int = CLASSES


class Point(NamedTuple):
    """One comparison of the settings."""

    size: str
    task: Task
    threads: int
    device: str
    rounds: int
    settings: tuple[str, ...] = SETTINGS


def plain_search(networks: Networks, start: State, steps: int) -> State:
    """The search as the published code reads: Adam on the sum of S^2 over all points, h clipped after each step."""
    x = held_input(networks, MEAN)
    state = tuple(part.clone().requires_grad_() for part in start)
    optimiser = torch.optim.Adam(state, lr=RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        after = networks.step(state, x)
        squared_change(networks.cell, state, after).sum().backward()
        optimiser.step()
        with torch.no_grad():
            state[0].clamp_(-1, 1)
    return tuple(part.detach() for part in state)


def search(networks: Networks, start: State, steps: int) -> State:
    """The same by the library."""
    return descend(networks, MEAN, start, [steps], RATE, DROP_STEP, DROP_FACTOR)[0]


def prepare(setting: str, task: Task, device: torch.device) -> Callable[[], State]:
    """A function that does `STEPS` steps of `task` from the same start, in the given setting."""
    networks = untrained(task.cell, range(task.networks), task.pixels, task.units, CLASSES).to(device)
    like = CELLS[task.cell].initial_state(task.networks, task.points, task.units, networks.readout)
    generator = streams.generator(0, "bench", "states", device=device)
    start = tuple(torch.empty_like(part).uniform_(-1, 1, generator=generator) for part in like)
    lower = plain_search if setting == "plain" else search
    return lambda: lower(networks, start, STEPS)


def peak(setting: str, task: Task, device: str) -> float:
    """Peak memory in MiB of this process, which should be a fresh one, after a short search."""
    prepare_process(1)
    prepare(setting, task, torch.device(device))()
    return highest(device)


def measure(point: Point, memory: Mapping[tuple[Any, ...], float]) -> Iterator[dict[str, Any]]:
    """Rows of the table for one point."""
    prepare_process(point.threads)
    steps = {setting: prepare(setting, point.task, torch.device(point.device)) for setting in point.settings}
    taken = take_turns(steps, point.rounds, point.device)
    for setting, values in taken.items():
        low, median, high = np.percentile(values, [25, 50, 75]) / (STEPS * point.task.networks)
        yield point._asdict() | point.task._asdict() | {
            "benchmark": "slow_points", "setting": setting, "median_ms": median, "low_ms": low, "high_ms": high,
            "ratio": np.median(taken["plain"]) / np.median(values),
            "peak_mib": memory.get((setting, point.task, point.device), np.nan),
            "paper_minutes": median * point.task.networks * PAPER_STEPS / 60_000,
        }  # fmt: skip


def main() -> None:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cells", nargs="+", choices=["gru", "lstm"], default=["gru", "lstm"])
    parser.add_argument("--networks", nargs="+", type=int, default=[1, 4, 10])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--devices", nargs="+", choices=devices, default=devices)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--no-memory", action="store_true", help="leave peak_mib empty")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    sizes = {size: {name: SIZES[size][name] for name in ("pixels", "units")} for size in options.sizes}
    points = [
        Point(size, Task(cell, networks, **sizes[size]), threads, device, options.rounds)
        for size, networks, threads, device, cell in product(
            options.sizes, options.networks, options.threads, options.devices, options.cells
        )
        if device == "cpu" or threads == 1
    ]
    memory = {} if options.no_memory else peaks(points, peak)
    table = pd.DataFrame(row for point in tqdm(points, disable=None) for row in measure(point, memory))[[*COLUMNS]]
    save_table(options.out / "slow_points.csv", table)
    save_json(options.out / "slow_points.json", {"machine": provenance.machine(), "versions": provenance.versions()})
    print("milliseconds per step and network, plain / this in the same rounds, peak memory in MiB, and minutes of")
    print(f"{PAPER_STEPS:,} steps of all the networks")
    print(table[[*COLUMNS[1:11]]].round({"median_ms": 4, "ratio": 2, "peak_mib": 0, "paper_minutes": 2}).to_string())


if __name__ == "__main__":
    main()
