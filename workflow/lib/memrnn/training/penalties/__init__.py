"""The penalties there are. A new one is a file of its own and a line below.

A file `name.py` has two things:

- SETTINGS, what may be chosen in the configuration beside the penalty's strength: a JSON schema of each setting, by
  name, written out as a literal, as planning reads it without running the file;
- make(known, **settings), which returns the penalty: a function of the networks, their batch of trials, its hidden
  states and a noise generator of each network, to a number of each network (`memrnn.training.engine.Penalty`).

Each network's number depends on that network alone, and is 0 or more; its strength is multiplied on elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from memrnn.training.engine import Penalty
from memrnn.training.penalties import activity, norm_stabiliser, speed, weight_decay

PENALTIES: dict[str, Callable[..., Penalty]] = {
    "activity": activity.make,
    "norm_stabiliser": norm_stabiliser.make,
    "speed": speed.make,
    "weight_decay": weight_decay.make,
}
