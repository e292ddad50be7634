"""Slow points of systems whose fixed points are known, and centroids and search against plain loops."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from reference import plain_speed, plain_step, random_networks, sigmoid, weights_of
from scipy import optimize
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.dynamics.points import Centroids, centroids, descend, find, noisy_speed, trial_states
from memrnn.dynamics.search import search
from memrnn.models.cell import Cell, State, Weights, speed
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks, from_parameters, initial
from memrnn.tasks.delayed_classification import NO_CLASS, held_input, read_out

NO_DROP = (10**9, 1.0)
PARTS = {"gru": 1, "lstm": 2}


def image_set(classes: int = 3, per_class: int = 7, pixels: int = 5, held_out: int = 2) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    train = torch.rand(classes * per_class, pixels, generator=generator)
    train += torch.eye(classes, pixels).repeat_interleave(per_class, 0)  # so that classes differ
    train /= 2
    return ImageSet(
        name="made",
        shape=(1, pixels, 1),
        classes=tuple(map(str, range(classes))),
        train_images=train,
        train_labels=torch.arange(classes).repeat_interleave(per_class),
        test_images=torch.rand(classes * held_out, pixels, generator=generator),
        test_labels=torch.arange(classes).repeat_interleave(held_out),
        mean=train.mean().item(),
        std=train.std(unbiased=False).item(),
        checksum="0",
    )


def zero_networks(cell: str, networks: int = 1, units: int = 4, inputs: int = 6, outputs: int = 4) -> Networks:
    values = initial(cell, range(networks), inputs, units, outputs).parameters
    values = {name: torch.zeros_like(weights) for name, weights in values.items()}
    return from_parameters(cell, values, range(networks), ["trained"] * networks)


def random_state(cell: str, networks: int, points: int, units: int, dtype: torch.dtype = torch.float32) -> State:
    generator = torch.Generator().manual_seed(9)
    h = 2 * torch.rand(networks, points, units, generator=generator, dtype=dtype) - 1
    c = 3 * torch.randn(networks, points, units, generator=generator, dtype=dtype)
    return (h, c)[: PARTS[cell]]


def starting(*state: Tensor) -> Centroids:
    return Centroids(state, torch.ones(state[0].shape[:2], dtype=torch.int64))


def plain_answer(cell: str, weights: dict[str, np.ndarray], state: list[np.ndarray], mean: float) -> int:
    x = np.full(weights["inputs"].shape[0], mean)
    x[-1] = 1
    y = sigmoid(plain_step(cell, weights, state, x)[0] @ weights["readout"] + weights["readout_bias"])
    return int(y.argmax()) - 1


def at(state: State, *index: int) -> list[np.ndarray]:
    return [part[index].double().numpy() for part in state]


def test_the_held_input_is_the_mean_without_trigger():
    x = held_input(zero_networks("gru", networks=2, inputs=4), 0.3)
    assert torch.equal(x, torch.tensor([[[0.3, 0.3, 0.3, 0.0]]] * 2))
    assert torch.equal(held_input(zero_networks("gru", inputs=3), 0.3, 1.0), torch.tensor([[[0.3, 0.3, 1.0]]]))


# ------------------------------------------------------------------------------------ systems with known fixed points


def test_the_all_zero_gru_has_one_fixed_point():
    """F(h) = h / 2: the speed of a state is |h| / 2 and the search ends at 0."""
    networks, images = zero_networks("gru", networks=2), image_set()
    (h,) = random_state("gru", 2, 3, 4)
    budgets = [1, 50, 150, 600]
    found, rows = find(networks, images, starting(h), budgets, 1e-2, 300, 0.1)
    rows = rows.set_index(["seed", "label", "search_steps"])
    for seed in range(2):
        for label in range(3):
            speeds = [found[k][0][seed, label].norm().item() / 2 for k in range(len(budgets))]
            assert rows.speed[seed, label].tolist() == pytest.approx(speeds, rel=1e-5, abs=1e-12)
            assert rows.start_speed[seed, label].tolist() == pytest.approx([h[seed, label].norm().item() / 2] * 4)
    assert (rows.speed.unstack() < rows.start_speed.unstack()).all(axis=None)
    assert rows.speed.xs(600, level="search_steps").max() < 1e-3
    assert found[-1][0].abs().max() < 1e-3


def test_the_all_zero_lstm_has_one_fixed_point():
    """c' = c / 2, h' = tanh(c / 2) / 2; for |c| beyond 1.06 the slow direction is outwards, where tanh c saturates."""
    h = torch.tensor([[[0.2, -0.1], [0.1, 0.2], [0.0, 0.0]]])
    c = torch.tensor([[[0.8, -0.7], [0.5, 0.0], [0.0, 0.0]]])
    networks = zero_networks("lstm", units=2)
    found, rows = find(networks, image_set(), starting(h, c), [1500], 1e-2, 1000, 0.1)
    expected = ((torch.tanh(c / 2) / 2 - h) ** 2 + (torch.tanh(c / 2) - torch.tanh(c)) ** 2).sum(-1).sqrt()
    assert rows.start_speed.tolist() == pytest.approx(expected[0].tolist())
    assert rows.speed.max() < 1e-3
    assert torch.cat(found[0]).abs().max() < 1e-2


class Linear(Cell):
    """h' = A h + b, which leaves its gradient to the base class."""

    name, gates = "linear", 1

    def __init__(self, bound: float):
        self.bounds = (bound,)

    def step(self, weights: Weights, state: State, drive: Tensor) -> State:
        return (state[0] @ weights.recurrent + drive,)


def linear(a: Tensor, b: Tensor, bound: float = math.inf, outputs: int = 4) -> Networks:
    """A network without use for its input."""
    units = len(b)
    weights = Weights(torch.zeros(1, 6, units), a.T.unsqueeze(0), b.unsqueeze(0))
    return Networks(Linear(bound), weights, torch.zeros(1, units, outputs), torch.zeros(1, outputs), (0,), ("trained",))


def test_a_linear_system_is_solved():
    a = torch.tensor([[0.5, -0.3, 0.0], [0.2, 0.9, 0.1], [0.0, 0.4, -0.6]])
    fixed = torch.tensor([0.4, -0.7, 0.2])
    networks = linear(a, fixed - a @ fixed)
    (h,) = random_state("gru", 1, 3, 3)
    found, rows = find(networks, image_set(), starting(h), [4000], 1e-2, 2000, 0.1)
    assert torch.allclose(found[0][0], fixed.expand(1, 3, 3), atol=1e-3)
    assert rows.speed.max() < 1e-4
    assert rows.distance.tolist() == pytest.approx((h[0] - fixed).norm(dim=-1).tolist(), abs=2e-3)
    assert rows.nearest_distance.max() < 2e-3  # all three are one point


@pytest.mark.parametrize("bound", [1.0, 1.5, math.inf])
def test_a_search_stays_within_the_bounds_of_the_cell(bound):
    """h' = h / 2 + 1 has its fixed point at 2; the slowest state with |h| <= bound < 2 lies at the bound."""
    networks = linear(torch.eye(2) / 2, torch.tensor([1.0, -1.0]), bound)
    found, rows = find(networks, image_set(), starting(torch.zeros(1, 3, 2)), [600, 900], 1e-2, *NO_DROP)
    reached = min(bound, 2.0)
    torch.testing.assert_close(found[1][0], torch.tensor([reached, -reached]).expand(1, 3, 2), rtol=0, atol=1e-3)
    assert rows.speed[rows.search_steps == 900].tolist() == pytest.approx([(1 - reached / 2) * 2**0.5] * 3, abs=1e-3)


def bistable(cell: str) -> Networks:
    """One unit with two stable states, next to which an unstable one: gates half open, a strong self-connection."""
    networks = zero_networks(cell, units=1)
    networks.weights.recurrent[0, 0, -1] = {"gru": 6.0, "lstm": 4.0}[cell]
    networks.weights.bias[0, -1] = 0.3
    networks.weights.bias[0, : CELLS[cell].gates - 1] = torch.tensor([0.5, -0.2, 1.0])[: CELLS[cell].gates - 1]
    networks.weights.inputs[0, :5, -1] = 0.1  # the mean input takes part
    networks.weights.inputs[0, 5] = 50.0  # the trigger would, too, if it were not off
    return networks


def test_a_bistable_gru_has_its_three_points():
    networks, images = bistable("gru"), image_set()
    weights = weights_of(networks, 0)
    x = np.array([images.mean] * 5 + [0.0])

    def change(h: float) -> float:
        return plain_step("gru", weights, [np.array([h])], x)[0][0] - h

    roots = [optimize.brentq(change, *bracket, xtol=1e-12) for bracket in ((-1, -0.5), (-0.4, 0.3), (0.5, 1))]
    near = torch.tensor(roots).float().view(1, 3, 1) + torch.tensor([0.05, 0.02, -0.05]).view(1, 3, 1)
    found, rows = find(networks, images, starting(near), [400, 1500], 1e-3, 800, 0.1)
    assert found[-1][0].flatten().tolist() == pytest.approx(roots, abs=1e-4)
    assert rows[rows.search_steps == 1500].speed.max() < 1e-4
    assert rows[rows.search_steps == 1500].nearest_distance.min() > 0.3


def test_a_bistable_lstm_has_its_three_points():
    networks, images = bistable("lstm"), image_set()
    weights = weights_of(networks, 0)
    x = np.array([images.mean] * 5 + [0.0])

    def change(state: np.ndarray) -> np.ndarray:
        after = plain_step("lstm", weights, [state[:1], state[1:]], x)
        return np.concatenate(after) - state

    solved = [optimize.root(change, guess, tol=1e-12) for guess in ([-0.6, -1.2], [-0.1, -0.2], [0.6, 1.2])]
    assert all(solution.success for solution in solved)
    roots = np.array([solution.x for solution in solved])
    assert np.diff(np.sort(roots[:, 0])).min() > 0.2  # three different ones
    assert np.abs(roots[:, 1]).max() > 1  # c leaves [-1, 1], where h must stay
    start = torch.tensor(roots + 0.03).float().unsqueeze(0)
    found, rows = find(networks, images, starting(start[..., :1], start[..., 1:]), [1500], 1e-3, 1000, 0.1)
    assert found[0][0].flatten().tolist() == pytest.approx(roots[:, 0], abs=3e-3)
    assert found[0][1].flatten().tolist() == pytest.approx(roots[:, 1], abs=3e-3)
    assert rows.speed.max() < 1e-4


# --------------------------------------------------------------------------------------------- the search, plainly


def plain_search(
    cell: str, weights: dict[str, Tensor], start: list[Tensor], x: Tensor, budgets, rate, drop_step, factor
) -> list[list[Tensor]]:
    """One point at a time: Adam and automatic differentiation."""
    state = [part.clone().requires_grad_() for part in start]
    optimiser = torch.optim.Adam(state, lr=rate, fused=False, foreach=False)
    units, found = len(state[0]), []
    for step in range(1, max(budgets) + 1):
        if step > drop_step:
            optimiser.param_groups[0]["lr"] = rate * factor
        h = state[0]

        def gate(k: int, h: Tensor) -> Tensor:
            columns = slice(k * units, (k + 1) * units)
            return x @ weights["inputs"][:, columns] + h @ weights["recurrent"][:, columns] + weights["bias"][columns]

        if cell == "gru":
            z, r = torch.sigmoid(gate(0, h)), torch.sigmoid(gate(1, h))
            squared = (((1 - z) * h + z * torch.tanh(gate(2, r * h)) - h) ** 2).sum()
        else:
            f, i, o = (torch.sigmoid(gate(k, h)) for k in range(3))
            c = f * state[1] + i * torch.tanh(gate(3, h))
            squared = ((o * torch.tanh(c) - h) ** 2).sum() + ((torch.tanh(c) - torch.tanh(state[1])) ** 2).sum()
        optimiser.zero_grad()
        squared.backward()
        optimiser.step()
        with torch.no_grad():
            state[0].clamp_(-1, 1)
        if step in budgets:
            found.append([part.detach().clone() for part in state])
    return found


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_search_equals_adam_on_every_point_alone(cell):
    networks = random_networks(cell).to(torch.float64)
    start = random_state(cell, 2, 3, 6, torch.float64)
    start[0][:, 0] = 1.05 * start[0][:, 0].sign()  # will be clipped
    before = [part.clone() for part in start]
    x = held_input(networks, 0.4).double()
    settings = ([1, 20, 45], 2e-2, 25, 0.1)
    found = descend(networks, 0.4, start, *settings)
    assert all(torch.equal(part, kept) for part, kept in zip(start, before, strict=True))
    clipped = 0
    for network in range(2):
        weights = {name: values[network] for name, values in networks.parameters.items()}
        for point in range(3):
            expected = plain_search(cell, weights, [p[network, point] for p in start], x[network, 0], *settings)
            for state, plain in zip(found, expected, strict=True):
                for part, values in zip(state, plain, strict=True):
                    assert torch.allclose(part[network, point], values, atol=1e-9, rtol=0)
                clipped += int((plain[0].abs() == 1).sum())
    assert clipped > 0
    if cell == "lstm":
        assert found[-1][1].abs().max() > 1.5  # c is not clipped


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_point_does_not_depend_on_its_neighbours(cell):
    networks, images = random_networks(cell, seeds=(0, 4, 7)), image_set()
    start = random_state(cell, 3, 3, 6)
    settings = ([10, 60], 1e-2, 30, 0.1)
    found, rows = find(networks, images, starting(*start), *settings)
    alone = random_networks(cell, seeds=(4,))
    only, only_rows = find(alone, images, starting(*(part[1:2] for part in start)), *settings)
    same = [name for name in rows if name not in ("distance", "speed", "nearest_distance", "start_speed")]
    mine = rows[rows.seed == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine[same], only_rows[same])
    pd.testing.assert_frame_equal(mine, only_rows, rtol=1e-3, atol=1e-5)
    moved = tuple(part.clone() for part in start)
    for part in moved:
        part[1, :2] = 0.1
    (_, other), _ = find(networks, images, starting(*moved), *settings)
    for part, changed, single in zip(found[1], other, only[1], strict=True):
        assert torch.allclose(part[1], single[0], atol=1e-4)
        assert torch.allclose(part[1, 2], changed[1, 2], atol=1e-4)
        assert not torch.allclose(part[1, :2], changed[1, :2], atol=1e-2)


@pytest.mark.parametrize("turned", ["start", "gradient"])
def test_the_search_does_not_depend_on_how_tensors_lie_in_memory(turned):
    networks = random_networks("gru")
    (start,) = random_state("gru", 2, 3, 6)
    x = held_input(networks, 0.4)
    ((expected,),) = descend(networks, 0.4, (start,), [20], 1e-2, *NO_DROP)

    def step(h: Tensor, x: Tensor) -> Tensor:
        """One whose gradient lies the other way round, where that is asked for."""
        h = Turned.apply(h) if turned == "gradient" else h
        return networks.only(0).step((h.unsqueeze(0),), x.unsqueeze(0))[0].squeeze(0)

    start = start[0].mT.contiguous().mT if turned == "start" else start[0]
    found = search(step, start, x[0], search_steps=20, learning_rate=1e-2)
    assert torch.allclose(found.state, expected[0], atol=1e-6)


class Turned(torch.autograd.Function):
    """The identity, whose gradient is not contiguous."""

    @staticmethod
    def forward(ctx, h):
        return h.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.mT.contiguous().mT


def test_the_learning_rate_drops_after_the_step_and_not_before():
    networks = random_networks("gru")
    start = random_state("gru", 2, 3, 6)
    ((first,), (second,), (third,)) = descend(networks, 0.4, start, [9, 10, 11], 1e-2, 10, 0.0)
    assert not torch.equal(first, second)  # the tenth step is still a full one
    assert torch.equal(second, third)  # the eleventh does not move at all
    ((constant,),) = descend(networks, 0.4, start, [11], 1e-2, *NO_DROP)
    assert not torch.equal(constant, third)


# ------------------------------------------------------------------------------------------------------ what is told


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_row_describes_the_state_that_is_returned(cell):
    networks, images = random_networks(cell), image_set()
    start = random_state(cell, 2, 3, 6)
    budgets = [2, 7, 30]
    found, rows = find(networks, images, Centroids(start, torch.arange(6).view(2, 3)), budgets, 1e-2, 20, 0.1)
    assert len(found) == len(budgets)
    assert rows[["phase", "seed", "label", "search_steps"]].values.tolist() == [
        ["trained", seed, label, budget] for seed in (0, 4) for label in range(3) for budget in budgets
    ]
    x = np.array([images.mean] * 5 + [0.0])

    def observed(state: State, network: int, label: int) -> np.ndarray:
        h, *c = at(state, network, label)
        return np.concatenate([h, *map(np.tanh, c)])

    for row in rows.itertuples():
        network, state = (0, 4).index(row.seed), found[budgets.index(row.search_steps)]
        weights = weights_of(networks, network)
        point, first = at(state, network, row.label), at(start, network, row.label)
        assert row.speed == pytest.approx(plain_speed(cell, weights, point, x), rel=1e-4)
        assert row.start_speed == pytest.approx(plain_speed(cell, weights, first, x), rel=1e-4)
        assert row.readout == plain_answer(cell, weights, point, images.mean)
        assert row.start_readout == plain_answer(cell, weights, first, images.mean)
        assert row.start_trials == 3 * network + row.label
        here = observed(state, network, row.label)
        assert row.distance == pytest.approx(np.linalg.norm(here - observed(start, network, row.label)), rel=1e-4)
        others = {k: np.linalg.norm(here - observed(state, network, k)) for k in range(3) if k != row.label}
        assert row.nearest_label == min(others, key=others.get)
        assert row.nearest_distance == pytest.approx(min(others.values()), rel=1e-4)
    assert rows.groupby(["seed", "label"]).speed.nunique().min() == len(budgets)


@pytest.mark.parametrize("cell", PARTS)
def test_noisy_speed_is_that_of_plain_steps_under_noise(cell):
    """Within the error of both samples; without noise, it is the speed."""
    images, networks = image_set(), random_networks(cell)
    state = random_state(cell, 2, 3, 6)
    found = noisy_speed(networks, images, state)
    random = np.random.default_rng(0)
    for network, point in np.ndindex(2, 3):
        weights = weights_of(networks, network)
        here = at(state, network, point)
        frames = np.concatenate([random.normal(images.mean, images.std, (2000, 5)), np.zeros((2000, 1))], 1)
        squares = np.array([plain_speed(cell, weights, here, x) for x in frames]) ** 2
        error = squares.std() / np.sqrt(100)  # of the smaller sample
        assert abs(found[network, point].item() ** 2 - squares.mean()) < 4 * error
    held = held_input(networks, images.mean)
    quiet = noisy_speed(networks, replace(images, std=1e-7), state)
    assert torch.allclose(quiet, speed(networks.cell, networks.weights, state, held), rtol=1e-4)


@pytest.mark.parametrize("cell", PARTS)
def test_trial_states_are_those_of_one_image_and_some_noise(cell):
    """Where the noise has no width: of one image of the class, after as many mean frames as there may be."""
    images, networks = replace(image_set(per_class=40), std=1e-7), random_networks(cell, seeds=tuple(range(12)))
    start = trial_states(networks, images, max_delay=3)
    assert (start.trials == 1).all()
    delays = set()
    for network, label in np.ndindex(12, 3):
        weights, state = weights_of(networks, network), at(start.state, network, label)
        found = []
        for image in images.train_images[images.train_labels == label].double().numpy():
            here = plain_step(cell, weights, [np.zeros(6)] * PARTS[cell], np.append(image, 0))
            for delay in range(1, 4):
                here = plain_step(cell, weights, here, np.append(np.full(5, images.mean), 0))
                if np.allclose(here, state, atol=1e-5):
                    found.append(delay)
        assert len(found) == 1
        delays.update(found)
    assert delays == {1, 2, 3}


def test_nearest_points_by_hand():
    h = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.3, 0.4, 0.0, 0.0], [0.3, 0.4, 0.1, 0.0]]])
    _, rows = find(zero_networks("gru"), image_set(), starting(h), [1], 1e-12, *NO_DROP)
    assert rows.nearest_label.tolist() == [1, 2, 1]
    assert rows.nearest_distance.tolist() == pytest.approx([0.5, 0.1, 0.1])
    assert rows.distance.tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    # For an LSTM what counts is h and tanh c: between c = 5 and c = 6 lies next to nothing.
    h = torch.zeros(1, 3, 4)
    c = torch.tensor([[[0.0] * 4, [5.0, 0, 0, 0], [6.0, 0, 0, 0]]])
    _, rows = find(zero_networks("lstm"), image_set(), starting(h, c), [1], 1e-12, *NO_DROP)
    assert rows.nearest_label.tolist() == [1, 2, 1]
    apart = np.tanh(6) - np.tanh(5)
    assert rows.nearest_distance.tolist() == pytest.approx([np.tanh(5), apart, apart], rel=1e-3)


def test_many_points_that_coincide_are_at_distance_nothing():
    classes = 30
    h = torch.full((1, classes, 4), 0.9)
    h[0, 0] = -0.9
    h[0, 1, 0] += 1e-4
    _, rows = find(zero_networks("gru", outputs=classes + 1), image_set(classes), starting(h), [1], 1e-12, *NO_DROP)
    assert rows.nearest_distance[2:].tolist() == [0] * (classes - 2)
    assert rows.nearest_distance[1] == pytest.approx(1e-4, rel=1e-2)
    assert rows.nearest_distance[0] == pytest.approx(3.6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_start_that_is_not_finite_is_refused(cell, bad):
    state = random_state(cell, 2, 3, 6)
    state[-1][1, 2, 0] = bad
    with pytest.raises(ValueError, match="1 of 6 states are not finite"):
        find(random_networks(cell), image_set(), starting(*state), [5], 1e-3, *NO_DROP)


def test_a_start_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"state has shape \(2, 3, 5\); the weights want \(2, points, 6\)"):
        find(random_networks("gru"), image_set(), starting(torch.zeros(2, 3, 5)), [5], 1e-3, *NO_DROP)


# --------------------------------------------------------------------------------------------------------- centroids


def plain_centroids(networks: Networks, images: ImageSet, noise_steps: int, scale: float):
    """Trial after trial: the image, then the shared noise; the correct ones' mean, or else everybody's."""
    cell, mean = networks.cell.name, images.mean
    states, kept = [], []
    for network, seed in enumerate(networks.seeds):
        weights = weights_of(networks, network)
        generator = streams.generator(seed, "slow_points", "noise")
        noise = torch.randn(noise_steps, images.test_images.shape[1], generator=generator).double().numpy()
        for label in range(len(images.classes)):
            final, right = [], []
            for image in images.train_images[images.train_labels == label].double().numpy():
                state = [np.zeros(networks.readout.shape[1]) for _ in range(PARTS[cell])]
                for pixels in (image, *(mean + scale * images.std * noise)):
                    state = plain_step(cell, weights, state, np.append(pixels, 0.0))
                final.append(np.stack(state))
                right.append(plain_answer(cell, weights, state, mean) == label)
            chosen = np.stack(final)[right] if any(right) else np.stack(final)
            states.append(chosen.mean(0))
            kept.append(sum(right))
    return np.stack(states).reshape(len(networks.seeds), len(images.classes), PARTS[cell], -1), kept


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("at_once", [500, 4])
def test_centroids_are_the_means_of_correct_trials(cell, at_once, monkeypatch):
    monkeypatch.setattr("memrnn.dynamics.points.IMAGES_AT_ONCE", at_once)  # of 9 per class
    networks, images = random_networks(cell, seeds=(0, 4, 5, 6), scale=2.5), image_set(per_class=9)
    networks.readout_bias[:] = -10 * torch.eye(4)[0]  # never the null output, so that some trials are right
    found = centroids(networks, images, 14, 1 / 3)
    expected, kept = plain_centroids(networks, images, 14, 1 / 3)
    assert found.trials.flatten().tolist() == kept
    assert 0 in kept
    assert 9 in kept
    for part, state in enumerate(found.state):
        assert state.shape == (4, 3, 6)
        assert np.allclose(state.numpy(), expected[:, :, part], atol=1e-5)


def test_some_trials_of_a_class_count_and_others_do_not():
    """A network that shows the image's first pixel in its state, and answers class 0 where that was bright."""
    images = image_set(classes=3, per_class=4, pixels=2)
    images.train_images[:] = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.2, 0.3], [0.1, 0.4]]).repeat(3, 1)
    networks = zero_networks("lstm", units=1, inputs=3)
    # f stays open, i opens for the sum of a bright image alone: noise frames show the mean of 0.375
    networks.weights.bias[0] = torch.tensor([30.0, 30.0, 30.0, 0.0])
    networks.weights.inputs[0, 0, 3] = 0.5
    networks.weights.inputs[0, 1, 3] = 0.0
    networks.weights.bias[0, 3] = -0.5 * images.mean
    networks.readout[0, 0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    networks.readout_bias[0] = torch.tensor([0.0, 0.0, -9.0, -9.0])
    found = centroids(networks, images, 3, 0.0)
    c = np.tanh(0.5 * (np.array([0.9, 0.8, 0.2, 0.1]) - images.mean))
    right = c > 0
    assert 0 < right.sum() < 4
    assert found.trials.tolist() == [[right.sum(), 0, 0]]
    assert found.state[1].flatten().tolist() == pytest.approx([c[right].mean(), c.mean(), c.mean()], abs=1e-6)


def test_the_noise_is_the_network_s_own_and_scaled():
    networks, images = random_networks("gru", seeds=(0, 4)), image_set()
    still = centroids(networks, images, 14, 0.0).state[0]
    slight = centroids(networks, images, 14, 1e-3).state[0]
    loud = centroids(networks, images, 14, 1.0).state[0]
    assert 0 < (slight - still).abs().max() < 0.05 * (loud - still).abs().max()
    one = centroids(random_networks("gru", seeds=(4,)), images, 14, 1.0).state[0]
    assert torch.allclose(loud[1], one[0], atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_network_that_never_learned_goes_through(cell):
    networks, images = random_networks(cell), image_set()
    networks.readout_bias[:] = torch.tensor([100.0, 0, 0, 0])
    start = centroids(networks, images, 14, 1 / 3)
    assert (start.trials == 0).all()
    expected, _ = plain_centroids(networks, images, 14, 1 / 3)
    assert np.allclose(start.state[0].numpy(), expected[:, :, 0], atol=1e-5)
    found, rows = find(networks, images, start, [3, 10], 1e-3, *NO_DROP)
    assert (rows.start_trials == 0).all()
    assert (rows.readout == NO_CLASS).all()
    assert (rows.start_readout == NO_CLASS).all()
    assert rows.notna().all(axis=None)
    assert np.isfinite(rows.select_dtypes("number")).all(axis=None)
    assert all(part.isfinite().all() for state in found for part in state)


def test_read_out_is_the_largest_output_after_one_triggered_step():
    networks = zero_networks("gru", units=2, inputs=3)
    networks.weights.bias[0] = torch.tensor([-30.0, -30, 0, 0, 0, 0])  # the state stays
    networks.readout[0] = torch.tensor([[0.0, 1, -1, 0], [0, 0, 0, 1]])
    networks.readout_bias[0, 0] = 0.5
    state = (torch.tensor([[[0.9, 0.0], [-0.9, 0.0], [0.0, 0.9], [0.0, 0.0], [0.4, 0.45]]]),)
    assert read_out(networks, state, 0.5).tolist() == [[0, 1, 2, NO_CLASS, NO_CLASS]]
    networks.weights.inputs[0, 2, 0] = 60  # a trigger opens z: both units go to the candidate, 0
    assert read_out(networks, (torch.tensor([[[0.9, 0.0], [0.0, 0.9]]]),), 0.5).tolist() == [[NO_CLASS, 2]]
