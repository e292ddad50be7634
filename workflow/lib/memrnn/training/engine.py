"""One training update of an ensemble, done fast: trials, forward, loss, gradient, Adam.

What may be chosen (`Engine`): the device, the type in which products are computed, and whether trials share noise
frames. In float32 with noise of their own, an update is the published one; docs/engine.md shows what the others change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memrnn.core import streams
from memrnn.core.jobs import float32_library
from memrnn.data.images import ImageSet
from memrnn.models.cell import State
from memrnn.models.networks import Networks
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.delayed_classification import Inputs, Trials
from memrnn.tasks.protocols import Lesson

STREAMS = ("draws", "noise", "penalty")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WARM_UP = 3  # updates before a CUDA graph is captured, as torch advises


class Batch(NamedTuple):
    """Trials of one update; every tensor has the leading axis of networks.

    Attributes:
        trials: what was drawn.
        inputs: what the networks see.
        lesson: the task.
    """

    trials: Trials
    inputs: Inputs
    lesson: Lesson


# A term of each network's loss, (networks,), of the networks, the batch, the hidden states (networks, time, batch,
# units) that they went through, and a noise generator of each network. A GPU's updates are captured as a graph, so it
# must not make the host wait for a number; nor may it change what it is given.
Penalty = Callable[[Networks, Batch, Tensor, Sequence[torch.Generator]], Tensor]


@dataclass(frozen=True)
class Engine:
    """How updates are computed.

    Attributes:
        device: where.
        products: type of the factors and results of the large products (frames and states with weights); weights,
            states, gates, sums and Adam stay float32.
        shared_frames: noise frames that the trials of a network share in each update; None for noise of their own.
        library: that multiplies float32 matrices on a processor; see `core.jobs.float32_library`.
    """

    device: torch.device
    products: torch.dtype
    shared_frames: int | None
    library: str = "mkl"

    @property
    def circumstances(self) -> tuple[str, int, str, str]:
        """What numbers depend on beside the settings: torch, its threads, the device, and the library of products.

        Device and library as found, not as asked for: with auto, a run may go on elsewhere than it began, with other
        random numbers or last bits.
        """
        return torch.__version__, torch.get_num_threads(), self.device.type, self.library


def choose(settings: Mapping[str, Any]) -> Engine:
    """Engine of the configuration's section `engine`.

    Raises:
        ValueError: a GPU is asked for and there is none, or oneDNN, and it is not exact here.
    """
    return Engine(
        device_of(settings["device"]),
        PRECISIONS[settings["precision"]],
        settings["shared_frames"],
        float32_library(settings["float32_library"]),
    )


def device_of(name: str) -> torch.device:
    """Device of the configuration's `engine.device`: cpu, cuda, or auto for a GPU where there is one.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ValueError(
            "engine.device: found cuda, but torch sees no GPU here; expected auto or cpu, or a machine with a GPU, its "
            "driver and torch's CUDA build"
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def describe(engine: Engine) -> str:
    """A line for the log: device, precision and noise frames; with a warning where bfloat16 is slow."""
    device = torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else "cpu"
    frames = "trials with noise frames of their own"
    if engine.shared_frames is not None:
        frames = f"{engine.shared_frames} noise frames shared by trials"
    products = str(engine.products).removeprefix("torch.")
    if engine.device.type == "cpu" and engine.products == torch.float32:
        products += f" by {engine.library}"
    line = f"on {device}, products in {products}, {frames}"
    if engine.device.type == "cpu" and engine.products != torch.float32:
        ratio = _product_time(engine.products) / _product_time(torch.float32)
        if ratio > 1:
            line += f". This processor takes {ratio:.1f} times as long for them as in float32; set engine.precision so"
    return line


def _product_time(dtype: torch.dtype) -> float:
    """Seconds for a product as the recurrent layer has them; the quickest of a few."""
    left, right = torch.zeros(1, 128, 200, dtype=dtype), torch.zeros(1, 200, 600, dtype=dtype)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        torch.bmm(left, right)
        taken.append(time.perf_counter() - began)
    return min(taken)


class Update:
    """Training updates of an ensemble, each a call.

    Everything an update needs stays on the device from one update to the next. On a GPU the update of each lesson is
    captured once as a CUDA graph and then replayed: the host neither waits for the device nor talks to it but to start
    the replay.

    Attributes:
        networks: being trained; their tensors are changed in place.
        optimiser: Adam.
        streams: generators of each name in `STREAMS`, one per network.
        failed: (networks,), int64: the first update (counted from `count`) whose loss was not finite, or -1.
        count: int64 scalar, updates done.
        passed: states that the first trials of each update start from, as the update before left them, h, or (h, c),
            each (networks, trials, units); empty where all trials start from 0.
    """

    def __init__(
        self,
        start: Networks,
        images: ImageSet,
        engine: Engine,
        stream: str,
        *,
        batch: int,
        min_delay: int,
        full_steps: int,
        learning_rate: float,
        penalty: Penalty | None = None,
        passed_states: float = 0.0,
    ) -> None:
        """Prepare updates of a copy of `start`.

        Args:
            stream: name of the random streams of trials and noise.
            batch: trials per update and network.
            min_delay: least steps from stimulus to response, delta.
            full_steps: time steps of the full task, T.
            penalty: term added to each network's loss.
            passed_states: share of the trials of an update that start from the end state of a trial of the update
                before (no gradient flows into it), and the others from 0 (Buitrago Ruiz & Gu 2025).
        """
        device = engine.device
        parameters = {
            name: values.detach().to(device, copy=True).requires_grad_() for name, values in start.parameters.items()
        }
        self.networks = start.like(parameters)
        # A graph reads the learning rate from the device; on a CPU it is a plain number.
        on_gpu = device.type == "cuda"
        rate = torch.tensor(learning_rate, device=device) if on_gpu else learning_rate
        self.optimiser = torch.optim.Adam(parameters.values(), lr=rate, fused=True, capturable=on_gpu)
        # A stream of its own for the penalty: the trials are the same with and without one.
        self.streams = {
            name: [streams.generator(seed, stream, name, device=device) for seed in start.seeds] for name in STREAMS
        }
        self.failed = torch.full((len(start.seeds),), -1, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.passed = self._zero_state(max(1, round(passed_states * batch))) if passed_states else ()
        self._engine, self._penalty = engine, penalty
        self._images = images.train_images.to(device)
        self._offsets, self._counts = images.offsets("train").to(device), images.counts("train").to(device)
        self._mean, self._std = images.mean, images.std
        self._batch, self._min_delay, self._full_steps = batch, min_delay, full_steps
        self._lesson: Lesson | None = None
        self._frames: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def set_learning_rate(self, value: float) -> None:
        """Learning rate of the updates from now on."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

    def __call__(self, lesson: Lesson) -> None:
        """Do one update on the task of `lesson`."""
        if lesson != self._lesson:
            self._lesson, self._frames, self._graph = lesson, None, None
            if self._engine.device.type == "cuda":
                self._capture()
        if self._graph is None:
            self._update()
        else:
            self._graph.replay()

    def _update(self) -> None:
        lesson = self._lesson
        drawn = task.draw(
            self.streams["draws"], self._batch, lesson, self._min_delay, self._offsets, self._counts
        )  # fmt: skip
        shown = task.inputs(
            drawn, self.streams["noise"], self._images, self._mean, self._std, lesson.steps,
            self._engine.shared_frames, self._frames,
        )  # fmt: skip
        self._frames = shown.frames
        hidden = self._hidden_states(shown)
        losses = task.loss(self.networks.logits(hidden), drawn, lesson, self._full_steps)
        if self._penalty is not None:
            batch = Batch(drawn, shown, lesson)
            losses = losses + self._penalty(self.networks, batch, hidden, self.streams["penalty"])
        with torch.no_grad():
            fails = (self.failed < 0) & ~losses.isfinite()
            self.failed.copy_(torch.where(fails, self.count, self.failed))
            self.count += 1
        self.optimiser.zero_grad()
        losses.sum().backward()
        self.optimiser.step()

    def _hidden_states(self, shown: Inputs) -> Tensor:
        if not self.passed:
            return task.hidden_states(self.networks, shown, self._engine.products)
        passed = self.passed[0].shape[1]
        others = self._zero_state(self._batch - passed)
        start = tuple(torch.cat(parts, 1) for parts in zip(self.passed, others, strict=True))
        hidden, end = task.hidden_states_from(self.networks, shown, start, self._engine.products)
        with torch.no_grad():
            for kept, part in zip(self.passed, end, strict=True):
                kept.copy_(part[:, :passed])
        return hidden

    def _zero_state(self, trials: int) -> State:
        count, units, _ = self.networks.readout.shape
        return self.networks.cell.initial_state(count, trials, units, self.networks.readout.detach())

    def _capture(self) -> None:
        """Record the update of the present lesson as a graph; weights, Adam, streams and counts stay as they were."""
        generators = [generator for each in self.streams.values() for generator in each]
        states = [generator.get_state() for generator in generators]
        tensors = [*self.networks.parameters.values(), self.failed, self.count, *self.passed]
        kept = [values.detach().clone() for values in tensors]
        fresh = not self.optimiser.state
        moments = [] if fresh else self._moments()
        kept_moments = [values.clone() for values in moments]

        # As torch's notes on CUDA graphs ask: some updates on a stream beside the main one come first.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._update()
            # Gradients of the warm-up lie outside the graph's memory; in it they are made anew.
            self.optimiser.zero_grad()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            self._update()

        with torch.no_grad():
            for values, before in zip(tensors, kept, strict=True):
                values.copy_(before)
            if fresh:
                for values in self._moments():
                    values.zero_()
            for values, before in zip(moments, kept_moments, strict=True):
                values.copy_(before)
        for generator, before in zip(generators, states, strict=True):
            generator.set_state(before)
        self._graph = graph

    def _moments(self) -> list[Tensor]:
        """Adam's tensors: moments and step counts of all parameters."""
        return [values for each in self.optimiser.state.values() for values in each.values()]
