"""Weight decay: half the sum of the squares of all trained numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memrnn.models.networks import Networks
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import Known

SETTINGS = {}


def make(known: Known) -> Penalty:
    """Its gradient is the weights themselves, so that its strength is `weight_decay` of torch's Adam."""

    def penalty(networks: Networks, batch: Batch, hidden: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        return torch.stack([values.square().flatten(1).sum(1) for values in networks.parameters.values()]).sum(0) / 2

    return penalty
