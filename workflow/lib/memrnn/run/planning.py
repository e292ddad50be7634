"""What Snakemake must know to plan a run; nothing here imports torch, so that planning is quick."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from memrnn.tasks.protocols import step_of

# What jobs are given on a cluster. An update is one time step of one trial of one network. Its time grows with the
# weights that a product goes through, and with the units, whose gates are computed one by one. Both rates follow from
# two measurements of a GRU's training step in float32 on one core: 90 ms for 128 trials of 20 steps with 784 pixels and
# 200 units; 4.4 ms for 32 trials with 64 pixels and 100 units.
BACKWARD = 3  # an update with its gradient costs as much as this many: forward, and backward twice that
JACOBIAN_PRODUCTS = 32  # of whole Jacobians that one of Newton's steps is counted as
SECONDS_PER_PRODUCT, SECONDS_PER_UNIT = 4.3e-11, 1.6e-8
# Of a convolutional front end without gradient, from two measurements on one core: 128 frames with gradients took
# 0.84 s in the paper's convolutions, 0.17 s in three of 16 filters.
SECONDS_PER_FRONT_PRODUCT, SECONDS_PER_FRONT_NUMBER = 4.3e-11, 1.5e-8
BYTES_PER_FRONT_NUMBER = 4 * 4  # a convolution's output, what pooling keeps of it, and gradients
IMAGES = 60_000  # that centroids rest on, at most
MEAN_FRAMES = 1000  # noise images behind a mean input; `memrnn.fronts` draws as many
DOUBLE = 8  # a frame costs as much more in float64, where no library has quick convolutions
TIME_MARGIN = 4  # for slower processors, and for LSTMs
LEAST_MINUTES = 10
SHORT_SECONDS = 600  # a block whose jobs take less in all is one submission
# At the size of MNIST, evaluating 30 LSTM networks of 200 units on 1,000 trials peaked at 2.6 GiB.
LEAST_MB, BASE_MB = 2000, 1000
BYTES_PER_NUMBER = 4 * 20  # a float, and the copies of inputs and states that a step needs beside each other


class Front(NamedTuple):
    """What a front end costs.

    Attributes:
        inputs: of the recurrent layer: features and trigger.
        shown: numbers of a frame, and the trigger.
        seconds: that one frame takes without gradient.
        numbers: of all convolutions' outputs for one frame; with gradients they are kept.
        parameters: how many are trained.
    """

    inputs: int
    shown: int
    seconds: float
    numbers: int
    parameters: int


def front(network: Mapping[str, Any], pixels: int) -> Front:
    """Front end of the configuration's section `network`, for square images of so many pixels, in colour or not."""
    if network["front_end"] == "pixels":
        return Front(pixels + 1, pixels + 1, 0.0, 0, 0)
    sizes = network["convnet"]
    side = math.isqrt(pixels // 3)
    channels = 3 if 3 * side**2 == pixels else 1
    side = side if channels == 3 else math.isqrt(pixels)
    products = numbers = parameters = 0
    for filters in sizes["filters"]:
        weights = filters * channels * sizes["kernel"] ** 2
        numbers += filters * side**2
        products += weights * side**2
        parameters += weights + filters
        side, channels = max(1, side // 2), filters
    inputs = channels * side**2
    for units in sizes["dense"]:
        products += inputs * units
        parameters += inputs * units + units
        inputs = units
    seconds = products * SECONDS_PER_FRONT_PRODUCT + numbers * SECONDS_PER_FRONT_NUMBER
    return Front(inputs + 1, pixels + 1, seconds, numbers, parameters)


def network(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration's section `network`, without the sizes of front ends that are not in use."""
    used = {"units", "front_end", config["network"]["front_end"]}
    return {key: value for key, value in config["network"].items() if key in used}


def updates(config: Mapping[str, Any], classes: int) -> dict[str, int]:
    """Time steps of single trials that a network does in a job, by stage; with gradients they count `BACKWARD` times,
    and a product of whole Jacobians as a step for each column.

    Args:
        config: the merged configuration.
        classes: of the images.
    """
    noise = config["spectrum"]
    longest = {"train": config["task"]["steps"], "regularise": longest_trial(config)}
    training = {stage: config[stage]["steps"] * config[stage]["batch"] for stage in longest}
    return {
        **{stage: BACKWARD * trials * longest[stage] for stage, trials in training.items()},
        "slow_points": BACKWARD * max(config["slow_points"]["search_steps"]) * classes,
        "backtrack": BACKWARD * config["backtrack"]["search_steps"] * classes * most_checkpoints(config),
        "spectrum": classes
        * (
            noise["noise_trials"] * noise["noise_steps"]
            + noise["relaxation_steps"]
            + noise["newton_steps"] * JACOBIAN_PRODUCTS * config["network"]["units"]
        ),
        "extrapolate": max(config["extrapolate"]["delays"]) * config["extrapolate"]["trials"] * classes,
        "portraits": config["portraits"]["delay"] * config["portraits"]["trials"] * classes,
    }


def modes(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Settings of every mode in which networks are trained on, in their order."""
    return {name: config["mode_settings"][name] for name in config["regularise"]["modes"]}


def longest_trial(config: Mapping[str, Any]) -> int:
    """Time steps of the longest trial that networks are trained on in any mode."""
    known, chosen = config["mode_settings"], config["regularise"]["modes"]
    longer = [known[name].get("trial_steps", 0) for name in chosen if name in known]
    return max(config["task"]["steps"], *longer, 0)


def front_seconds(config: Mapping[str, Any], classes: int, front: Front) -> dict[str, float]:
    """Seconds that a network's front end takes in a job, by stage; arguments as for `updates`."""
    task, shared = longest_trial(config), config["engine"]["shared_frames"]

    def training(stage: str, more: int = 0) -> int:
        settings = config[stage]
        logged = math.ceil(settings["steps"] / settings["log_every"]) * config["train"]["log_trials"] * task
        return BACKWARD * settings["steps"] * (frames(shared, settings["batch"], task) + more) + logged

    chosen = [{}, *modes(config).values()]
    followed, noise, longer = config["backtrack"], config["spectrum"], config["extrapolate"]
    shown = {
        "train": training("train"),
        "regularise": training("regularise", classes * max(each.get("noise_draws", 0) for each in chosen)),
        "slow_points": IMAGES + 3 * MEAN_FRAMES,
        "backtrack": 2 * most_checkpoints(config) * MEAN_FRAMES + classes * followed["confusion_trials"] * task,
        "spectrum": DOUBLE * classes * noise["noise_trials"] * noise["noise_steps"] + MEAN_FRAMES,
        "extrapolate": (max(longer["delays"]) + len(longer["delays"]) + task) * longer["trials"] * classes,
        "portraits": config["portraits"]["delay"] * config["portraits"]["trials"] * classes,
    }
    return {stage: count * front.seconds for stage, count in shown.items()}


def front_bytes(config: Mapping[str, Any], front: Front) -> dict[str, float]:
    """Bytes that a network's front end needs in a job, by stage."""
    task, shared = longest_trial(config), config["engine"]["shared_frames"]
    weights, kept = 4 * front.parameters, 2 * most_checkpoints(config)  # checkpoints are joined to one file
    layers = front.numbers * BYTES_PER_FRONT_NUMBER
    adam = 5 * weights  # moments, gradients, and a copy to be saved
    training = {
        stage: adam + layers * frames(shared, config[stage]["batch"], task) for stage in ("train", "regularise")
    }
    training["train"] += kept * weights
    evaluated = dict.fromkeys(("slow_points", "extrapolate", "portraits"), weights)
    return {**training, **evaluated, "spectrum": 3 * weights, "backtrack": (kept + 1) * weights}


def most_checkpoints(config: Mapping[str, Any]) -> int:
    """Checkpoints of one training, at most: those of every protocol, and those where one changes the task."""
    changes = (len(settings["starts"]) for settings in config["protocol_settings"].values())
    return len(config["train"]["checkpoints"]) + max(changes)


def seconds(updates: int, networks: int, inputs: int, units: int, front: float = 0.0) -> float:
    """Time that a job's updates take on the processor of the two measurements.

    Args:
        updates: time steps of single trials that each network does; see `updates`.
        networks: side by side in the job.
        inputs: pixels or features, and trigger; see `shared_inputs` where trials share frames.
        units: hidden units.
        front: seconds that the front end takes for all frames that the job shows a network, gradients included.
    """
    return networks * (updates * units * ((inputs + units) * SECONDS_PER_PRODUCT + SECONDS_PER_UNIT) + front)


def minutes(updates: int, networks: int, inputs: int, units: int, front: float = 0.0) -> int:
    """Time to give a job, in minutes; generous. Arguments as for `seconds`."""
    return max(LEAST_MINUTES, math.ceil(TIME_MARGIN * seconds(updates, networks, inputs, units, front) / 60))


def frames(shared: int | None, batch: int, steps: int) -> int:
    """Frames that a network is shown in an update; arguments as for `shared_inputs`."""
    return batch * steps if shared is None else shared + batch


def shared_inputs(inputs: int, shared: int | None, batch: int, steps: int) -> int:
    """Inputs that would cost as much, were each frame of each trial projected by itself.

    Args:
        inputs: pixels or features, and trigger.
        shared: noise frames that the trials of an update share; None for frames of their own.
        batch: trials of an update.
        steps: time steps of a trial.
    """
    return math.ceil(inputs * frames(shared, batch, steps) / (batch * steps))


def megabytes(states: int, networks: int, inputs: int, units: int, front: float = 0.0) -> int:
    """Memory to give a job, in MB; generous.

    Args:
        states: of each network that are in memory together: one per trial, and in training per time step.
        networks, units: as for `seconds`.
        inputs: pixels and trigger, or features and trigger if these are more.
        front: bytes that the front end of a network needs.
    """
    return max(LEAST_MB, BASE_MB + math.ceil(networks * (states * (inputs + units) * BYTES_PER_NUMBER + front) / 1e6))


def written(path: str | Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return os.stat(path).st_mtime_ns if os.path.isfile(path) else None


def use_library(library: str | Path) -> None:
    """Make every process that this one starts import memrnn from `library`, whatever else is installed."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(library), os.environ.get("PYTHONPATH")]))


def blocks(seeds: Sequence[int], size: int) -> dict[str, list[int]]:
    """Cut the seeds, in their order, into blocks of `size` and name each by its seeds.

    Returns:
        seeds by name: "seeds0-3" for a run of consecutive seeds, "seeds0_5-7" for several runs. A block that is full
        keeps its name when seeds are added at the end.
    """
    cut = [list(seeds[first : first + size]) for first in range(0, len(seeds), size)]
    return {f"seeds{_runs(block)}": block for block in cut}


def _runs(seeds: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return "_".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def put_in_order(settings: dict[str, Any]) -> None:
    """Sort the keys of a nested configuration, in place.

    Snakemake compares parameters in the order they are written, and this order depends on which of several
    configuration files names a value: without sorting, the same values would count as changed.
    """
    for key in sorted(settings):
        settings[key] = settings.pop(key)
        if isinstance(settings[key], dict):
            put_in_order(settings[key])


def ensembles(config: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Cell and protocol of every ensemble, by the stage that trains it, or that follows its points back."""
    protocols = {
        "train": config["protocols"],
        "regularise": config["regularise"]["protocols"],
        "backtrack": config["backtrack"]["protocols"],
    }
    return {stage: [(cell, name) for cell in config["cells"] for name in names] for stage, names in protocols.items()}


def boundaries(protocol: Mapping[str, Any], steps: int) -> list[int]:
    """Training steps at which a protocol changes the task.

    Args:
        protocol: its section of the configuration's protocol_settings.
        steps: training steps in all.
    """
    return [step_of(start, protocol["out_of"], steps) for start in protocol["starts"][1:]]
