"""Time and memory of a training step behind the convolutional front end, against torch's layers on every frame.

    python benchmarks/convnet.py             the default grid: minutes, on a machine that does nothing else
    python benchmarks/convnet.py --sizes small --networks 1 2 --rounds 30

A step is everything training does. Settings: `plain`, layers of torch.nn (channels first) on the frames of all trials,
time step by time step, and a loop over `Cell.step`, all under automatic differentiation; `plain_batched`, the same,
but all frames pass the layers at once before the loop; the others are the engine's. Sizes are those of the
configurations in `SIZES`, 20 steps of 32 x 32 x 3 random pixels. How is as in training.py: turns in rotating order
after a warm-up, medians and quartiles per step and network, the ratio plain / this of the same rounds, and the peak
memory of a fresh process.

Prints one table, and writes results/bench/convnet.csv.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

import training
from settings import SETTINGS as ENGINES
from snakemake.utils import update_config
from training import CLASSES, LAYERS, Point, engine_step, measure, peaks, plain_step, summary, synthetic

from memrnn.core.files import save_json, save_table
from memrnn.models import fronts
from memrnn.models.fronts import Convnet
from memrnn.models.fronts.convnet import effective
from memrnn.models.networks import Networks
from memrnn.run import provenance
from memrnn.tasks.delayed_classification import untrained

CONFIGS = Path(__file__).parents[1] / "config"
SIZES = {"small": "cifar10_small.yaml", "paper": "paper_cifar10.yaml"}  # on top of config.yaml
ROUNDS = {"small": 30, "paper": 5}
SHAPE = (32, 32, 3)  # of CIFAR-10's images
SETTINGS = ("plain", "plain_batched", *ENGINES)
COLUMNS = (*training.COLUMNS, "filters", "dense")


class Task(NamedTuple):
    """What is trained: cell, number of networks, and the sizes of each."""

    cell: str
    networks: int
    batch: int
    units: int
    front: Convnet
    steps: int = 20

    @property
    def pixels(self) -> int:
        return math.prod(self.front.shape)


def task_of(size: str, cell: str, networks: int) -> Task:
    """Task of the sizes that a configuration names."""
    whole: dict = {}
    for name in ("config.yaml", SIZES[size]):
        update_config(whole, yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8")))
    network, steps = whole["network"], whole["task"]["steps"]
    return Task(cell, networks, whole["train"]["batch"], network["units"], fronts.choose(network, SHAPE), steps)


def layers_of(networks: Networks, network: int) -> torch.nn.Sequential:
    """Front end of one network as layers of torch.nn: frames (frames, channels, height, width) to features.

    Convolutions hold the weights as they are used. What enters the first dense layer is in torch's order.
    """
    front = networks.front
    own = {name: values[network].detach() for name, values in networks.front_parameters.items()}
    modules: list[torch.nn.Module] = []
    (height, width, channels), slope = front.shape, front.leak
    for layer, filters in enumerate(front.filters):
        convolution = torch.nn.Conv2d(channels, filters, front.kernel, padding="same")
        weight, bias = effective(own[f"front.filters{layer}"], own[f"front.filters{layer}.bias"])
        convolution.weight.data, convolution.bias.data = weight.contiguous(), bias
        modules += [convolution, torch.nn.LeakyReLU(slope), torch.nn.MaxPool2d(2)]
        height, width, channels = height // 2, width // 2, filters
    modules.append(torch.nn.Flatten())
    for layer in range(len(front.dense)):
        weight = own[f"front.dense{layer}"]
        if layer == 0:
            weight = weight.unflatten(0, (height, width, channels)).permute(2, 0, 1, 3).flatten(0, 2)
        dense = torch.nn.Linear(*weight.shape)
        dense.weight.data, dense.bias.data = weight.mT.contiguous(), own[f"front.dense{layer}.bias"].clone()
        modules += [dense, torch.nn.LeakyReLU(slope)]
    return torch.nn.Sequential(*modules)


def plain_logits(networks: Networks, layers: Sequence[torch.nn.Module], batched: bool, x: Tensor) -> Tensor:
    """Outputs before the logistic function, (networks, time, batch, outputs), every frame through the front end.

    Args:
        x: (networks, time, batch, pixels + 1), pixels in the order that `networks.front` wants.
        batched: all frames pass the front end at once; else those of a time step.
    """
    # Channels first, as torch's layers are.
    frames = x[..., :-1].unflatten(-1, networks.front.shape).movedim(-1, 3).contiguous()

    def seen(part: slice) -> Tensor:
        shown = frames[:, part]
        features = torch.stack([each(own.flatten(0, 1)) for each, own in zip(layers, shown, strict=True)])
        return torch.cat([features.unflatten(1, shown.shape[1:3]), x[:, part, :, -1:]], -1)

    steps = x.shape[1]
    inputs = seen(slice(None)).unbind(1) if batched else None
    state = networks.cell.initial_state(len(x), x.shape[2], networks.readout.shape[1], x)
    hidden = []
    for t in range(steps):
        x_t = seen(slice(t, t + 1))[:, 0] if inputs is None else inputs[t]
        state = networks.step(state, x_t)
        hidden.append(state[0])
    return networks.logits(torch.stack(hidden, 1))


def prepare(setting: str, task: Task, device: torch.device) -> Callable[[], None]:
    """A function that does one training step of `task` in the given setting."""
    images = synthetic(task.pixels).to(device)
    sizes = (task.pixels, task.units, CLASSES, task.front)
    start = untrained(task.cell, range(task.networks), *sizes).to(device)
    if setting in ENGINES:
        return engine_step(setting, start, images, task, device)
    layers = [layers_of(start, network).to(device) for network in range(task.networks)]
    parameters = [values for name, values in start.parameters.items() if name not in start.front_parameters]
    parameters += [values for each in layers for values in each.parameters()]
    logits = partial(plain_logits, start, layers, setting == "plain_batched")
    return plain_step(parameters, logits, start.seeds, images, task, device)


peak = partial(training.peak, prepare=prepare)


def main() -> None:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cells", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="plain comes always")
    parser.add_argument("--networks", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--devices", nargs="+", choices=devices, default=devices)
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument("--no-memory", action="store_true", help="leave peak_mib empty; saves a fifth of the time")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    chosen = tuple(dict.fromkeys(["plain", *options.settings]))
    points = [
        Point("convnet", size, task_of(size, cell, networks), threads, device, chosen, options.rounds or ROUNDS[size])
        for size, networks, threads, device, cell in product(
            options.sizes, options.networks, options.threads, options.devices, options.cells
        )
        if device == "cpu" or threads == 1
    ]
    memory = {} if options.no_memory else peaks(points, peak)
    rows = [row for point in tqdm(points, disable=None) for row in measure(point, memory, prepare)]
    sizes = {
        "pixels": [math.prod(row["front"].shape) for row in rows],
        **{name: [" ".join(map(str, getattr(row["front"], name))) for row in rows] for name in ("filters", "dense")},
    }
    table = pd.DataFrame(rows).assign(**sizes)
    save_table(options.out / "convnet.csv", table[[*COLUMNS]])
    save_json(options.out / "convnet.json", {"machine": provenance.machine(), "versions": provenance.versions()})
    print("milliseconds per training step and network, plain / this in the same rounds, peak memory in MiB")
    print(summary(table).to_string(index=False))


if __name__ == "__main__":
    main()
