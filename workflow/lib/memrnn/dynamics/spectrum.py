"""What kind of points a search has found, and what noise does at them, network by network."""

from __future__ import annotations

import pandas as pd
import torch

from memrnn.data.images import ImageSet
from memrnn.dynamics.jacobian import DIRECTIONS, describe, jacobians, observed_slopes, slowest, unstable
from memrnn.dynamics.newton import FIXED, LEAST, LEFT, RAN_OUT
from memrnn.dynamics.noise import drift_and_diffusion
from memrnn.dynamics.relax import relax
from memrnn.dynamics.settle import (
    AT_BOUND,
    CUT,
    LED_OUT,
    LOST,
    OUTCOMES,
    RESTLESS,
    cut_to_box,
    observed_distance,
    settle,
)
from memrnn.models.cell import State, check_state, speed
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import held_input, mean_input, read_out

STABLE, SADDLE, GHOST, SLOPE, UNDECIDED = "stable", "saddle", "ghost", "slope", "undecided"
KIND_OF = {
    **dict.fromkeys([LEAST, AT_BOUND], GHOST),
    **dict.fromkeys([LEFT, LED_OUT, LOST], SLOPE),
    **dict.fromkeys([RESTLESS, RAN_OUT, CUT], UNDECIDED),
}


def examine(
    networks: Networks,
    images: ImageSet,
    points: State,
    centroids: State,
    *,
    search_steps: int,
    near_unit: float,
    newton_steps: int,
    newton_speed: float,
    newton_distance: float,
    relaxation_steps: int,
    noise_trials: int,
    noise_steps: int,
) -> pd.DataFrame:
    """What kind of point each network's slow point of each class is.

    Args:
        points: slow points, h, or (h, c), each (networks, classes, units).
        centroids: where their search started, alike.
        search_steps: budget of that search, for the table.
        near_unit: see `describe`.
        newton_steps, newton_speed, newton_distance: see `settle`; what lies further away than newton_distance from the
            slow point is not its own.
        relaxation_steps: see `relax`, whose window is as long as the noisy roll-outs, `noise_steps`.
        noise_trials, noise_steps: see `drift_and_diffusion`.
    Returns:
        a row per network and class: phase, seed, label, search_steps, readout (of the slow point); what `describe` says
        of its eigenvalues; kind, kind_reason; newton_speed, newton_distance, newton_readout (of where Newton's steps
        ended), newton_steps, newton_slope (`Settled.slope`), newton_cut (distance by which the box cut the slow point
        before the first step), fixed_unstable (eigenvalues outside the unit circle at the fixed point, else NaN);
        relaxation_speed, relaxation_kept, relaxation_readout, window_speed, relaxation_end_speed (`Relaxation`),
        relaxation_unstable (eigenvalues outside the unit circle at its end); drift, diffusion along the slowest
        direction, its slow_rate and its direction (`slowest`).

        kind says what lies below a slow point, if one follows the speed down from there, and kind_reason why:

        - `stable` or `saddle`, by the eigenvalues, if that is a fixed point near by, read out as the slow point is,
          whether or not that is its class (FIXED);
        - `ghost`, if it is a least speed above zero, near by and read out alike: at a state between the bounds of the
          state (LEAST), or with units at a bound (AT_BOUND);
        - `slope`, if neither comes before a lower speed further away than newton_distance (LEFT); if, of an LSTM, what
          comes is at rest but for c, and the c that would be at rest lies further away than that (LED_OUT); or if
          what comes is read out otherwise (LOST);
        - `undecided`, if newton_steps were too few (RAN_OUT), no c was found that is at rest (RESTLESS), or if the
          point had to be cut to the box and left the neighbourhood at a higher speed than its own (CUT).
    Raises:
        ValueError: a point or a centroid is not finite, or does not fit the networks.
    """
    mean = mean_input(networks, images)  # of the networks as the search had them
    networks = networks.to(torch.float64)
    points, centroids = (tuple(part.to(networks.readout) for part in state) for state in (points, centroids))
    x = held_input(networks, mean)
    for state in (points, centroids):
        check_state(networks.cell, networks.weights, state, x)
    cell, weights, drive = networks.cell, networks.weights, networks.drive(x)
    with torch.no_grad():
        spectra = [torch.linalg.eig(each) for each in jacobians(cell, weights, drive, points)]
        values = torch.cat([each.eigenvalues for each in spectra])
        seen = observed_slopes(cell, points).cpu()
        found = [slowest(*each, one) for each, one in zip(spectra, seen.split(1), strict=True)]
        along, slow_rate, direction = (torch.cat(parts).to(networks.device) for parts in zip(*found, strict=True))
        settled = settle(cell, weights, drive, points, newton_steps, newton_speed, newton_distance)
        own_speed = speed(cell, networks.weights, points, x)
        ended_speed = speed(cell, networks.weights, settled.state, x)
        distance = observed_distance(cell, settled.state, points)
        readout, ended_readout = (read_out(networks, state, mean) for state in (points, settled.state))
        fixed = torch.cat([torch.linalg.eigvals(each) for each in jacobians(cell, weights, drive, settled.state)])
        relaxed = relax(networks, centroids, mean, relaxation_steps, noise_steps)
        at_end = torch.cat([torch.linalg.eigvals(each) for each in jacobians(cell, weights, drive, relaxed.state)])
        drift, diffusion = drift_and_diffusion(networks, images, points, along, noise_trials, noise_steps)
    columns = {
        "readout": readout,
        **describe(values, near_unit),
        "newton_speed": ended_speed,
        "newton_distance": distance,
        "newton_readout": ended_readout,
        "newton_steps": settled.steps,
        "newton_slope": settled.slope,
        "newton_cut": observed_distance(cell, cut_to_box(cell, weights, drive, points), points),
        "fixed_unstable": unstable(fixed),
        "relaxation_speed": relaxed.speed,
        "relaxation_kept": relaxed.kept,
        "relaxation_readout": relaxed.readout,
        "window_speed": relaxed.window_speed,
        "relaxation_end_speed": relaxed.end_speed,
        "relaxation_unstable": unstable(at_end),
        "drift": drift,
        "diffusion": diffusion,
        "slow_rate": slow_rate,
    }
    ends = torch.stack([settled.outcome, ended_readout == readout, ended_speed < own_speed], -1)
    reasons = [[_reason(*each) for each in network] for network in ends.tolist()]
    frame = pd.DataFrame(
        [
            {**networks.labels[network], "label": label, "search_steps": search_steps}
            | {name: each[network, label].item() for name, each in columns.items()}
            | {"direction": DIRECTIONS[direction[network, label]], "kind_reason": reasons[network][label]}
            for network in range(len(networks.seeds))
            for label in range(points[0].shape[1])
        ]
    )
    frame["fixed_unstable"] = frame.fixed_unstable.where(frame.kind_reason == FIXED)
    kind = frame.kind_reason.map(KIND_OF).mask(frame.fixed_unstable == 0, STABLE).mask(frame.fixed_unstable > 0, SADDLE)
    first = frame.columns.get_loc("newton_speed")
    frame.insert(first, "kind_reason", frame.pop("kind_reason"))
    frame.insert(first, "kind", kind)
    return frame.sort_values(["phase", "seed", "label"], ignore_index=True)


def _reason(outcome: int, same_readout: bool, slower: bool) -> str:
    """kind_reason from where Newton's steps ended."""
    reason = OUTCOMES[outcome]
    if reason in (FIXED, LEAST, AT_BOUND) and not same_readout:
        return LOST
    return CUT if reason == LEFT and not slower else reason
