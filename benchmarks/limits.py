"""What an update cannot be quicker than on this processor: its products and its noise alone, one thread.

    python benchmarks/limits.py [--sizes digits mnist] [--rounds 30]

Every product of an update of one network, forward and backward, is timed by itself on operands that lie ready, and so
is the drawing of noise; times are medians, multiplied by how often an update does them. Beside their sum stands the
whole update, measured in the same rounds. The difference is gates and slopes, element by element, and calls. Writes
results/bench/limits.csv.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from settings import SETTINGS, library_of
from training import SIZES, Task, prepare

from memrnn.core.files import save_table
from memrnn.core.jobs import float32_library, prepare_process
from memrnn.training.engine import PRECISIONS

Shape = tuple[int, int, int]  # rows, inner dimension, columns


def products(task: Task, frames: int) -> dict[str, list[tuple[Shape, int]]]:
    """Shapes of the products of one network's update and how often each is done, by what they compute.

    Args:
        frames: that are projected.
    """
    batch, steps, units, pixels = task.batch, task.steps, task.units, task.pixels
    every = batch * steps
    gates = {"gru": [2 * units, units], "lstm": [4 * units]}[task.cell]  # columns of the recurrent products of a step
    columns = sum(gates)
    return {
        "input": [((frames, pixels, columns), 1), ((pixels, frames, columns), 1)],
        "recurrent": [((batch, units, width), steps) for width in gates]
        + [((batch, width, units), steps) for width in gates]
        + [((units, every, width), 1) for width in gates],
    }


def product(shape: Shape, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """A function that does one product, and its floating-point operations."""
    rows, inner, columns = shape
    left, right = torch.rand(1, rows, inner).to(dtype), torch.rand(1, inner, columns).to(dtype)
    out = torch.empty(1, rows, columns, dtype=dtype)
    return lambda: torch.bmm(left, right, out=out), 2.0 * rows * inner * columns


def measure(size: str, cell: str, setting: str, rounds: int) -> dict[str, object]:
    """A row of the table: milliseconds per update of one network."""
    task, chosen = Task(cell, 1, **SIZES[size]), SETTINGS[setting]
    library = float32_library(library_of(setting))
    shared, dtype = chosen["shared_frames"], PRECISIONS[chosen["precision"]]
    noise = torch.empty(task.batch * task.steps if shared is None else shared, task.pixels)
    frames = len(noise) if shared is None else shared + task.batch
    parts: dict[str, list[tuple[Callable[[], object], int]]] = {"noise": [(noise.normal_, 1)]}
    operations = 0.0
    for name, shapes in products(task, frames).items():
        parts[name] = []
        for shape, times in shapes:
            run, each = product(shape, dtype)
            parts[name].append((run, times))
            operations += each * times
    parts["update"] = [(prepare(setting, task, torch.device("cpu")), 1)]
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(rounds + 3):
        for name, runs in parts.items():
            total = 0.0
            for run, times in runs:
                began = time.perf_counter()
                run()
                total += (time.perf_counter() - began) * 1000 * times
            if turn >= 3:  # the first warm up
                taken[name].append(total)
    median = {name: statistics.median(values) for name, values in taken.items()}
    floor = median["noise"] + median["input"] + median["recurrent"]
    return {
        "size": size, "cell": cell, "setting": setting, "library": library,
        "noise_ms": median["noise"], "input_ms": median["input"],
        "recurrent_ms": median["recurrent"], "floor_ms": floor, "update_ms": median["update"],
        "of_floor": median["update"] / floor,
        "gflop": operations / 1e9, "gflop_per_s": operations / 1e6 / (median["input"] + median["recurrent"]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    prepare_process(1)
    table = pd.DataFrame(
        [
            measure(size, cell, setting, options.rounds)
            for size in options.sizes
            for cell in ("gru", "lstm")
            for setting in SETTINGS
        ]
    )
    save_table(options.out / "limits.csv", table)
    print(table.to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    main()
