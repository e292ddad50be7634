"""Time and memory of a training step: the engine's settings against the plain loop and torch.nn's layers.

    python benchmarks/training.py            the default grid: minutes, on a machine that does nothing else
    python benchmarks/training.py --benchmarks training --sizes mnist --networks 1 20 --threads 1 2 --rounds 60

A step is everything training does: draw trials and noise, forward, loss, backward, Adam. Settings: `plain`, dense
inputs and a loop over `Cell.step` under automatic differentiation, as the published code reads, networks side by side;
`torch_nn`, a torch.nn layer and a linear read-out for each network on such inputs (its GRU applies the reset gate after
the product); the others are the engine's. They take turns in every round, in rotating order, after a warm-up. Reported
are medians and quartiles per step and network, the ratio plain / this of the same rounds, and the peak memory of a
fresh process that starts and does a few steps; on a GPU, of what torch takes there.

`training` compares settings at both sizes; `scaling` halves and doubles batch, units, steps of a trial and networks,
each alone. Prints one table; writes a CSV and a figure (PNG, SVG) of each benchmark to results/bench.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from settings import SETTINGS as ENGINES
from settings import library_of

from memrnn.core import streams
from memrnn.core.files import save_json, save_table
from memrnn.core.jobs import float32_library, prepare_process
from memrnn.data.images import ImageSet
from memrnn.figures import render, style
from memrnn.models.networks import Networks
from memrnn.run import provenance
from memrnn.tasks import delayed_classification as delayed
from memrnn.tasks.delayed_classification import untrained
from memrnn.tasks.protocols import Lesson
from memrnn.training import engine
from memrnn.training.engine import Update

SIZES = {"digits": {"batch": 64, "pixels": 64, "units": 100}, "mnist": {"batch": 128, "pixels": 784, "units": 200}}
torch.backends.cudnn.allow_tf32 = False  # torch's layers on a GPU in float32, as the others are
LAYERS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
SETTINGS = ("plain", "plain_onednn", "torch_nn", "torch_nn_onednn", *ENGINES)
FEW = ("plain", "exact", "exact_onednn", "shared_onednn", "bf16_shared")
# Size, networks, threads and settings that are compared unless others are asked for.
GRID = [
    *product(SIZES, [1, 4], [1], [SETTINGS]),
    *[("digits", 10, 1, SETTINGS), ("mnist", 10, 1, FEW), ("mnist", 1, 2, SETTINGS)],
]
CLASSES, MIN_DELAY, RATE, STREAMS = 10, 4, 1e-5, ("draws", "noise")
WARM_UP = 3  # steps until the allocators hold all they will need
COLUMNS = (
    *("benchmark", "size", "cell", "setting", "networks", "threads", "device", "median_ms", "ratio", "peak_mib"),
    *("low_ms", "high_ms", "rounds", "batch", "pixels", "units", "steps"),
)


class Task(NamedTuple):
    """What is trained: cell, number of networks, and the sizes of each."""

    cell: str
    networks: int
    batch: int
    pixels: int
    units: int
    steps: int = 20


class Point(NamedTuple):
    """One comparison of settings; `varied` is the quantity that `scaling` changes."""

    benchmark: str
    size: str
    task: Task
    threads: int
    device: str
    settings: tuple[str, ...]
    rounds: int
    varied: str = ""


SCALED = Task("gru", 2, **SIZES["mnist"])


def dense_inputs(drawn: delayed.Trials, noise: Sequence[torch.Generator], images: ImageSet, x: Tensor) -> None:
    """Fill x, (networks, time, batch, pixels + 1), with what the networks see in the drawn trials."""
    for each, generator in zip(x, noise, strict=True):
        each.normal_(images.mean, images.std, generator=generator)
    network, trial = (torch.arange(length, device=x.device) for length in (x.shape[0], x.shape[2]))
    x[network.unsqueeze(1), drawn.stimulus, trial, :-1] = images.train_images[drawn.image]
    x[..., -1] = 0
    x[network.unsqueeze(1), drawn.response, trial, -1] = 1


def plain_logits(networks: Networks, x: Tensor) -> Tensor:
    """Outputs before the logistic function, (networks, time, batch, outputs), as the definition reads."""
    state = networks.cell.initial_state(x.shape[0], x.shape[2], networks.readout.shape[1], x)
    hidden = []
    for x_t in x.unbind(1):
        state = networks.step(state, x_t)
        hidden.append(state[0])
    h = torch.stack(hidden, 1)
    return torch.baddbmm(networks.readout_bias.unsqueeze(1), h.flatten(1, 2), networks.readout).view(*h.shape[:3], -1)


def layer_logits(modules: Sequence[tuple[torch.nn.Module, torch.nn.Module]], x: Tensor) -> Tensor:
    """The same from torch's layers, a recurrent and a linear one for each network."""
    return torch.stack([readout(layer(each)[0]) for (layer, readout), each in zip(modules, x, strict=True)])


def synthetic(pixels: int) -> ImageSet:
    """Random images: what an image shows takes no time."""
    labels, names = torch.arange(CLASSES).repeat_interleave(100), tuple(map(str, range(CLASSES)))
    values = torch.rand(len(labels), pixels, generator=streams.generator(0, "bench", "images"))
    return ImageSet("random", (pixels, 1, 1), names, values, labels, values, labels, mean=0.13, std=0.31, checksum="")


def prepare(setting: str, task: Task, device: torch.device) -> Callable[[], None]:
    """A function that does one training step of `task` in the given setting."""
    images = synthetic(task.pixels).to(device)
    start = untrained(task.cell, range(task.networks), task.pixels, task.units, CLASSES).to(device)
    if setting in ENGINES:
        return engine_step(setting, start, images, task, device)
    if setting.startswith("torch_nn"):
        recurrent, linear = (task.pixels + 1, task.units), (task.units, CLASSES + 1)
        modules = [(LAYERS[task.cell](*recurrent).to(device), torch.nn.Linear(*linear).to(device)) for _ in start.seeds]
        parameters = [values for pair in modules for module in pair for values in module.parameters()]
        logits = partial(layer_logits, modules)
    else:
        parameters, logits = list(start.parameters.values()), partial(plain_logits, start)
    return plain_step(parameters, logits, start.seeds, images, task, device)


def plain_step(
    parameters: Iterable[Tensor], logits: Callable[[Tensor], Tensor], seeds: Sequence[int], images: ImageSet,
    task: Any, device: torch.device,
) -> Callable[[], None]:  # fmt: skip
    """A function that does one training step on dense inputs under automatic differentiation.

    Args:
        parameters: to be trained.
        logits: outputs before the logistic function, (networks, time, batch, outputs), of what `dense_inputs` fills.
        task: a `Task`, or what has its batch, pixels and steps.
    """
    stage = Lesson(CLASSES, task.steps)
    optimiser = torch.optim.Adam([values.requires_grad_() for values in parameters], lr=RATE, fused=True)
    split = images.offsets("train"), images.counts("train")
    draws, noise = ([streams.generator(seed, "bench", name, device=device) for seed in seeds] for name in STREAMS)
    x = torch.empty(len(seeds), task.steps, task.batch, task.pixels + 1, device=device)

    def step() -> None:
        drawn = delayed.draw(draws, task.batch, stage, MIN_DELAY, *split)
        dense_inputs(drawn, noise, images, x)
        optimiser.zero_grad()
        delayed.loss(logits(x), drawn, stage, task.steps).sum().backward()
        optimiser.step()

    return step


def engine_step(setting: str, start: Networks, images: ImageSet, task: Any, device: torch.device) -> Callable[[], None]:
    """A function that does one training step of the engine; arguments as `plain_step`."""
    chosen = engine.choose({**ENGINES[setting], "device": device.type})
    sizes = {"batch": task.batch, "min_delay": MIN_DELAY, "full_steps": task.steps, "learning_rate": RATE}
    return partial(Update(start, images, chosen, "bench", **sizes), Lesson(CLASSES, task.steps))


def peak(setting: str, task: Any, device: str, prepare: Callable[..., Callable[[], None]] = prepare) -> float:
    """Peak memory in MiB of this process, which should be a fresh one, after the first steps of training."""
    prepare_process(1)
    step = prepare(setting, task, torch.device(device))
    for _ in range(WARM_UP):
        step()
    return highest(device)


def highest(device: str) -> float:
    """Most memory in MiB that this process, or torch on a GPU, has held so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def peaks(points: Sequence[Any], peak: Callable[..., float] = peak) -> dict[tuple[Any, ...], float]:
    """`peak` of every setting, task and device among the points, each in a process of its own.

    To be called first: on Linux the peak of a process begins with the memory of the one that started it.
    """
    wanted = list(dict.fromkeys((setting, p.task, p.device) for p in points for setting in p.settings))
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        return dict(zip(wanted, pool.starmap(peak, wanted, chunksize=1), strict=True))


def take_turns(steps: Mapping[str, Callable[[], None]], rounds: int, device: str) -> dict[str, list[float]]:
    """Milliseconds of each setting's step in every round, after a warm-up; the order rotates from round to round."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    settings, matmul = list(steps), torch.backends.mkldnn.matmul
    precisions = {}  # by which each setting's products get to their library
    for setting in settings:
        float32_library(library_of(setting))
        precisions[setting] = matmul.fp32_precision
    taken: dict[str, list[float]] = {setting: [] for setting in settings}
    for turn in range(-WARM_UP, rounds):
        for at in range(len(settings)):
            setting = settings[(turn + at) % len(settings)]
            matmul.fp32_precision = precisions[setting]
            wait()
            began = time.perf_counter()
            steps[setting]()
            wait()
            if turn >= 0:
                taken[setting].append((time.perf_counter() - began) * 1000)
    return taken


def measure(
    point: Point, memory: Mapping[tuple[Any, ...], float], prepare: Callable[..., Callable[[], None]] = prepare
) -> Iterator[dict[str, Any]]:
    """Rows of the table for one point, whose steps `prepare` makes."""
    prepare_process(point.threads)
    steps = {setting: prepare(setting, point.task, torch.device(point.device)) for setting in point.settings}
    taken = take_turns(steps, point.rounds, point.device)
    for setting, values in taken.items():
        low, median, high = np.percentile(values, [25, 50, 75]) / point.task.networks
        yield point._asdict() | point.task._asdict() | {
            "setting": setting, "median_ms": median, "low_ms": low, "high_ms": high,
            "ratio": np.median(taken["plain"]) / np.median(values),
            "peak_mib": memory.get((setting, point.task, point.device), np.nan),
            "value": getattr(point.task, point.varied, ""),
        }  # fmt: skip


def comparisons(options: argparse.Namespace) -> Iterator[Point]:
    """Points of `training`: the default grid, or all combinations where networks or threads are asked for."""
    grid = [row for row in GRID if row[0] in options.sizes]
    if options.networks or options.threads:
        grid = list(product(options.sizes, options.networks or [1, 4], options.threads or [1], [SETTINGS]))
    for (size, networks, threads, settings), device, cell in product(grid, options.devices, options.cells):
        chosen = tuple(dict.fromkeys(["plain", *(options.settings or settings)]))
        rounds = max(1, round(options.rounds / networks**0.5))  # longer steps vary less
        if device == "cpu" or threads == 1:
            yield Point("training", size, Task(cell, networks, **SIZES[size]), threads, device, chosen, rounds)


def scalings(options: argparse.Namespace) -> Iterator[Point]:
    """Points of `scaling`: `SCALED` and those around it."""
    for device, varied, factor in product(options.devices, ("batch", "units", "steps", "networks"), (0.5, 1, 2)):
        task = SCALED._replace(**{varied: round(getattr(SCALED, varied) * factor)})
        yield Point("scaling", "mnist", task, 1, device, FEW, max(1, options.rounds // 6), varied)


BENCHMARKS = {"training": comparisons, "scaling": scalings}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line per point and a column per setting: milliseconds per step and network, plain / this, and MiB if known."""
    numbers = table[["median_ms", "ratio", "peak_mib"]].itertuples(index=False)
    table = table.assign(said=[f"{ms:.2f} {ratio:.2f}x" + f" {mib:.0f}M" * (mib > 0) for ms, ratio, mib in numbers])
    index = ["benchmark", "size", "device", "cell", "networks", "threads", "varied", "value"]
    lines = {key: dict(zip(part.setting, part.said, strict=True)) for key, part in table.groupby(index, sort=False)}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(index).reset_index().fillna("")


def draw(name: str, table: pd.DataFrame, out: Path) -> None:
    """Figure of one benchmark: medians, and quartiles as bars or bands."""
    import seaborn
    from matplotlib import rc_context

    ensemble, milliseconds = "networks × threads", "ms per step and network"
    table = table.sort_values(["threads", "networks"], kind="stable")
    table[ensemble] = table.networks.astype(str) + " × " + table.threads.astype(str)
    table["cell"], table["where"] = table.cell.map(style.CELLS), table["size"] + ", " + table.device
    # Three values of each, of which seaborn finds median and range.
    kept = ["setting", "cell", "where", ensemble, "varied", "value"]
    data = table.melt(kept, ["low_ms", "median_ms", "high_ms"], "which", milliseconds)
    order = [setting for setting in SETTINGS if setting in set(table.setting)]
    common = {"data": data, "estimator": "median", "errorbar": ("pi", 100), "height": 2.4}
    with rc_context():
        seaborn.set_theme("paper", "ticks", "colorblind")
        if name == "training":
            runs = table[ensemble].nunique()
            grid = seaborn.catplot(
                **common, kind="point", x=milliseconds, y="setting", order=order, row="cell", col="where", hue=ensemble,
                markers=list(style.MARKERS * runs)[:runs], markersize=4, linestyle="none", err_kws={"linewidth": 1},
                dodge=0.6 if runs > 1 else False, sharex="col", aspect=1.4,
            )  # fmt: skip
            grid.set(xlim=(0, None), ylabel="").set_titles("{row_name}, {col_name}")
            for (cell, where), panel in grid.axes_dict.items():
                panel.grid(axis="x", alpha=0.4)
                panel.text(1.02, 1.02, "plain / this", transform=panel.transAxes, size="small")
                beside = {"transform": panel.get_yaxis_transform(), "va": "center", "size": "small"}
                for setting, ratios in table[(table.cell == cell) & (table["where"] == where)].groupby("setting").ratio:
                    ends = dict.fromkeys(f"{ratio:.1f}" for ratio in (ratios.min(), ratios.max()))
                    panel.text(1.02, order.index(setting), "–".join(ends) + "×", **beside)
            grid.tight_layout()
        else:
            grid = seaborn.relplot(
                **common, kind="line", x="value", y=milliseconds, row="where", col="varied", hue="setting",
                hue_order=order, style="setting", markers=True, dashes=False, aspect=0.7,
                facet_kws={"sharex": "col", "sharey": "row"},
            )  # fmt: skip
            grid.set(xlim=(0, None), ylim=(0, None)).set_titles(f"{style.CELLS[SCALED.cell]}, {{row_name}}")
            for (_, varied), panel in grid.axes_dict.items():
                panel.set(xlabel=varied, xticks=sorted({0, *table.value[table.varied == varied]}))
        render.save(grid.figure, out / f"{name}.png", out / f"{name}.svg", dpi=200)


def main() -> None:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cells", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, help="plain comes in any case")
    parser.add_argument("--networks", nargs="+", type=int, help="numbers of networks, in place of the default grid")
    parser.add_argument("--threads", nargs="+", type=int, help="numbers of threads, in place of the default grid")
    parser.add_argument("--devices", nargs="+", choices=devices, default=devices)
    parser.add_argument("--rounds", type=int, default=30, help="of one network; ensembles and scaling take fewer")
    parser.add_argument("--no-memory", action="store_true", help="leave peak_mib empty; saves a third of the time")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    points = [point for name in options.benchmarks for point in BENCHMARKS[name](options)]
    memory = {} if options.no_memory else peaks(points)
    table = pd.DataFrame(row for point in tqdm(points, disable=None) for row in measure(point, memory))
    for name, part in table.groupby("benchmark"):
        columns = COLUMNS + ("varied", "value") * (name == "scaling")
        save_table(options.out / f"{name}.csv", part[[*columns]])
        save_json(options.out / f"{name}.json", {"machine": provenance.machine(), "versions": provenance.versions()})
        draw(name, part, options.out)
    print("milliseconds per training step and network, plain / this in the same rounds, peak memory in MiB")
    print(summary(table).to_string(index=False))


if __name__ == "__main__":
    main()
