"""Named seed streams: every purpose of every seed has random numbers of its own."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


# torch and pandas are imported where they are used: planning a run and drawing a figure need neither both nor always.


def stream(seed: int, *names: str) -> np.random.SeedSequence:
    """Seed sequence of one named purpose of one seed, independent of every other name and seed.

    Args:
        seed: the seed of a network (or of a resampling).
        names: purpose, e.g. ("train", "noise"); order matters.
    """
    return np.random.SeedSequence(entropy=seed, spawn_key=tuple(zlib.crc32(name.encode()) for name in names))


def generator(seed: int, *names: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator of a named stream (see `stream`); torch uses 32 bits of its seed on a CPU.

    A GPU's generators give other numbers than a CPU's for the same stream.
    """
    import torch

    return torch.Generator(device).manual_seed(int(stream(seed, *names).generate_state(1, np.uint64)[0]))
