"""Training trained networks on in several modes side by side, each with a penalty of its own or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from memrnn.models.networks import Networks
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import Known
from memrnn.training.penalties import PENALTIES


def in_modes(trained: Networks, modes: Sequence[str]) -> Networks:
    """Every network once for each mode, the modes one after the other along the axis of networks."""
    repeated = {name: torch.cat([values] * len(modes)) for name, values in trained.parameters.items()}
    phases = [mode for mode in modes for _ in trained.seeds]
    return trained.like(repeated, trained.seeds * len(modes), phases)


def penalty_of_modes(modes: Mapping[str, Mapping[str, Any]], known: Known) -> Penalty | None:
    """The penalty of `in_modes` networks: that of its mode for each network, times the mode's strength.

    Args:
        modes: settings of each mode, in the order of `in_modes`: `penalty`, a key of `PENALTIES`, its `strength` and
            what the penalty's SETTINGS name; or no penalty.
        known: of the networks before they were repeated.
    Returns:
        None where no mode has a penalty.
    """
    made = [_penalty_of(settings, known) for settings in modes.values()]
    if not any(made):
        return None
    return _side_by_side(made, len(known.trained.seeds))


def _penalty_of(settings: Mapping[str, Any], known: Known) -> Penalty | None:
    own = {key: value for key, value in settings.items() if key not in ("penalty", "strength")}
    if "penalty" not in settings:
        return None
    penalty, strength = PENALTIES[settings["penalty"]](known, **own), settings["strength"]
    return lambda *of_mode: strength * penalty(*of_mode)


def _side_by_side(penalties: Sequence[Penalty | None], size: int) -> Penalty:
    """Each penalty for `size` networks, one after the other; 0 for None. What has no penalty costs nothing."""

    def penalty(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        # Cut by one operation each, whose gradient is put together once for all modes.
        names, cut = networks.parameters, [values.split(size) for values in networks.parameters.values()]
        parts = zip(penalties, zip(*cut, strict=True), _cut(batch, size), hidden.split(size), strict=True)
        terms = []
        for place, (each, parameters, own_batch, own_hidden) in enumerate(parts):
            if each is None:
                terms.append(hidden.new_zeros(size))
                continue
            part = slice(place * size, (place + 1) * size)
            named = dict(zip(names, parameters, strict=True))
            own = networks.like(named, networks.seeds[part], networks.phases[part])
            terms.append(each(own, own_batch, own_hidden, generators[part]))
        return torch.cat(terms)

    return penalty


def _cut(values: Any, size: int) -> Iterable[Any]:
    """A tensor, or those in a named tuple, cut along the first axis; anything else as it is for every part."""
    if isinstance(values, Tensor):
        return values.split(size)
    if isinstance(values, tuple):
        return map(type(values), *(_cut(each, size) for each in values))
    return repeat(values)
