"""Portraits against a plain loop and another way to principal components; what their table holds."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from reference import plain_step, random_networks, weights_of
from test_slow_points import PARTS, image_set, random_state, zero_networks

from memrnn.core import streams
from memrnn.dynamics.portraits import COMPONENTS, portrait

IMAGES = image_set(held_out=3)  # 3 classes, 5 pixels


def made(cell: str, delay: int = 90, trials: int = 2, seeds: tuple[int, ...] = (4, 0)) -> pd.DataFrame:
    networks = random_networks(cell, seeds=seeds)
    points, centroids = random_state(cell, 2, 3, 6), tuple(part / 2 for part in random_state(cell, 2, 3, 6))
    states = (tuple(part[: len(seeds)] for part in state) for state in (points, centroids))
    return portrait(networks, IMAGES, *states, delay, trials)


def plain_trajectories(cell: str, delay: int, trials: int) -> np.ndarray:
    """h of every trial (class after class) at every step, (steps, trials, units), frame after frame."""
    weights = weights_of(random_networks(cell, seeds=(4,)), 0)
    choice = streams.generator(4, "portraits", "images")
    shown = torch.cat([3 * k + torch.randperm(3, generator=choice)[:trials] for k in range(3)])
    frames = IMAGES.test_images[shown].double().numpy()
    noise = streams.generator(4, "portraits", "noise")
    states = [[np.zeros(6) for _ in range(PARTS[cell])] for _ in shown]
    hidden = []
    for _ in range(delay + 1):
        states = [
            plain_step(cell, weights, state, np.append(frame, 0)) for state, frame in zip(states, frames, strict=True)
        ]
        hidden.append([state[0] for state in states])
        frames = torch.empty(len(shown), 5).normal_(IMAGES.mean, IMAGES.std, generator=noise).double().numpy()
    return np.array(hidden)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_portrait_equals_singular_vectors_of_a_plain_loop_s_states(cell):
    rows = made(cell)
    hidden = plain_trajectories(cell, 90, 2)
    mean = hidden.mean((0, 1))
    _, sizes, axes = np.linalg.svd((hidden - mean).reshape(-1, 6), full_matrices=False)
    axes = axes[:3] * np.sign(axes[:3][range(3), np.abs(axes[:3]).argmax(1)])[:, None]
    share = rows[rows.what == "share"][list(COMPONENTS)].to_numpy()
    assert share == pytest.approx((sizes**2 / (sizes**2).sum())[None, :3], abs=1e-4)
    for row in rows[rows.what == "trajectory"].itertuples():
        expected = axes @ (hidden[row.step, 2 * row.label + row.trial] - mean)
        assert [row.pc1, row.pc2, row.pc3] == pytest.approx(expected, abs=2e-4)
    points = random_state(cell, 2, 3, 6)[0][0].double().numpy()
    for what, scale in (("slow_point", 1), ("centroid", 0.5)):
        found = rows[rows.what == what]
        assert found.label.tolist() == [0, 1, 2]
        assert found[list(COMPONENTS)].to_numpy() == pytest.approx((scale * points - mean) @ axes.T, abs=2e-4)


def test_the_table_keeps_some_forty_steps_of_every_trial():
    for delay, kept in ((90, [*range(0, 91, 2)]), (97, [*range(0, 97, 2), 97]), (1, [0, 1]), (5, [*range(6)])):
        rows = made("gru", delay)
        paths = rows[rows.what == "trajectory"].groupby(["label", "trial"]).step
        assert paths.ngroups == 6
        assert all(steps.tolist() == kept for _, steps in paths)
    assert (rows[rows.what != "trajectory"][["trial", "step"]] == -1).all(axis=None)
    assert rows.what.value_counts()[["slow_point", "centroid", "share"]].tolist() == [3, 3, 1]
    assert rows.notna().all(axis=None)
    assert set(rows.seed) == {4}  # the first network's
    assert set(rows.phase) == {"trained"}


def test_a_portrait_does_not_depend_on_the_block():
    pd.testing.assert_frame_equal(made("gru"), made("gru", seeds=(4,)), atol=2e-4)


def test_more_trials_than_images_take_turns():
    rows = made("gru", delay=2, trials=7)
    assert rows[rows.what == "trajectory"].groupby("label").trial.nunique().tolist() == [7, 7, 7]


def test_a_network_of_two_units_has_two_components():
    networks = random_networks("gru", seeds=(1,), units=2)
    state = random_state("gru", 1, 3, 2)
    rows = portrait(networks, IMAGES, state, state, 10, 1)
    assert (rows.pc3 == 0).all()
    share = rows[rows.what == "share"]
    assert (share.pc1 + share.pc2).item() == pytest.approx(1, abs=2e-4)
    assert share.pc1.item() > share.pc2.item()


def test_a_network_that_never_moves_is_at_the_origin():
    """All-zero weights: h stays 0, nothing varies, no component has a share."""
    state = (torch.full((1, 3, 4), 0.5),)
    rows = portrait(zero_networks("gru"), IMAGES, state, state, 5, 1)
    assert (rows[rows.what.isin(["trajectory", "share"])][list(COMPONENTS)] == 0).all(axis=None)
    assert math.isfinite(rows[list(COMPONENTS)].abs().to_numpy().max())
