"""Starts for searches: states that a network goes through, drawn at random, with noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memrnn.dynamics.maps import StepMap, as_map, check_map, check_state, unwrap
from memrnn.models.cell import State


def visited_states(step: StepMap | nn.Module, inputs: Tensor, start: Tensor | State | None = None) -> Tensor | State:
    """Every state that a network goes through under input sequences, as `find_fixed_points` takes starts.

    Args:
        step: as for `find_fixed_points`.
        inputs: (steps, sequences, features); of a layer with batch_first, (sequences, steps, features).
        start: state before the first input, for each sequence; None: zero, for cells and layers of `torch.nn`.
    Returns:
        the states after each input: (points, units), or a tuple of such; of a layer (layers, points, units). The
        states after the first step come first; of torch's modules in float64.
    Raises:
        ValueError: inputs are no sequences, or do not fit; `start` is missing.
    """
    step = unwrap(step)
    if not isinstance(inputs, Tensor) or inputs.ndim != 3:
        found = f"the shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(f"inputs: found {found}, expected sequences, a tensor (steps, sequences, features).")
    if isinstance(step, nn.RNNBase) and step.batch_first:
        inputs = inputs.transpose(0, 1)
    if start is None:
        start = _zero(step, inputs)
    state, bare = check_state(start)
    one_step = as_map(step, state[0] if bare else state, inputs, None)
    s, inputs = one_step.pack(state).to(one_step.dtype), one_step.cast(inputs)
    if len(s) != inputs.shape[1]:
        raise ValueError(f"start: found {len(s)} states, expected {inputs.shape[1]}, one for each sequence of inputs.")
    visited = []
    with torch.no_grad():
        check_map(one_step, s, inputs[0])
        for x in inputs:
            s = one_step(s, x)
            visited.append(s)
    return one_step.unpack(torch.cat(visited))


def _zero(step: StepMap | nn.Module, inputs: Tensor) -> Tensor | State:
    if not isinstance(step, (nn.RNNBase, nn.GRUCell, nn.LSTMCell, nn.RNNCell)):
        raise ValueError(
            "start: found None, expected a state for each sequence: only of torch's own cells and layers it is known. "
            f"For a map of n units, torch.zeros({inputs.shape[1]}, n)."
        )
    layers = (step.num_layers,) if isinstance(step, nn.RNNBase) else ()
    widths = [getattr(step, "proj_size", 0) or step.hidden_size, step.hidden_size]
    state = [inputs.new_zeros(*layers, inputs.shape[1], width, dtype=torch.float64) for width in widths]
    return tuple(state) if isinstance(step, (nn.LSTM, nn.LSTMCell)) else state[0]


def sample_states(
    states: Tensor | State,
    count: int,
    *,
    noise: float = 0.0,
    bound: float | None = None,
    valid: Tensor | None = None,
    seed: int = 0,
) -> Tensor | State:
    """States drawn from those that a network goes through, as starts of searches.

    Args:
        states: as `visited_states` returns them: (points, units), or a tuple; of a layer (layers, points, units).
        count: how many. Each state is drawn once at most; with noise, and more asked for than there are, several times.
        noise: standard deviation of what is added to each number, normal and independent.
        bound: h, the first part, is clamped to +-bound after that: 1 for a GRU, an LSTM or a tanh network.
        valid: which of the states may be drawn, (points,); None: all.
        seed: of the draws, which do not touch torch's own.
    Raises:
        ValueError: states are none, or fewer than asked for; a setting is out of range.
    """
    parts, bare = check_state(states)
    points = parts[0].shape[-2] if parts[0].ndim > 1 else 0
    if valid is not None and (not isinstance(valid, Tensor) or valid.dtype != torch.bool or valid.shape != (points,)):
        raise ValueError(f"valid: found {getattr(valid, 'shape', valid)}, expected a tensor of bool, ({points},).")
    if not noise >= 0 or (bound is not None and not bound > 0):
        raise ValueError(f"noise, bound: found {noise} and {bound}, expected 0 or more, and a positive number or None.")
    among = torch.arange(points) if valid is None else torch.where(valid.cpu())[0]
    if not len(among) or count < 1 or (count > len(among) and not noise):
        raise ValueError(
            f"count: found {count}, expected 1 to {len(among)}, as many as there are states; with noise, also more."
        )
    generator = torch.Generator().manual_seed(seed)
    if count <= len(among):
        drawn = among[torch.randperm(len(among), generator=generator)[:count]]
    else:
        drawn = among[torch.randint(len(among), (count,), generator=generator)]
    chosen = []
    for part in parts:
        some = part.detach().index_select(-2, drawn.to(part.device))
        if noise:
            some = some + noise * torch.randn(some.shape, generator=generator, dtype=some.dtype).to(some.device)
        chosen.append(some)
    if bound is not None:
        chosen[0] = chosen[0].clamp(-bound, bound)
    return chosen[0] if bare else tuple(chosen)
