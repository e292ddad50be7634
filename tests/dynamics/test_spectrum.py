"""Kinds of points, relaxation and noise of maps whose fixed points, eigenvalues and variances are known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from reference import plain_step, random_networks, weights_of
from scipy import linalg, optimize
from test_slow_points import PARTS, image_set, random_state, zero_networks
from torch import Tensor

from memrnn.core.tables import PANEL, TABLES
from memrnn.dynamics import spectrum
from memrnn.dynamics.jacobian import DIRECTIONS, describe, slowest
from memrnn.dynamics.relax import relaxed
from memrnn.dynamics.settle import AT_BOUND, FIXED, LEAST, OUTCOMES, settle
from memrnn.models.cell import Cell, State, speed
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks, from_parameters
from memrnn.tasks.delayed_classification import NO_CLASS, held_input

SETTINGS = {
    "search_steps": 300, "near_unit": 0.05, "newton_steps": 60, "newton_speed": 1e-9, "newton_distance": 1.0,
    "relaxation_steps": 20, "noise_trials": 10, "noise_steps": 5,
}  # fmt: skip
IMAGES = image_set()  # 3 classes, 5 pixels


class Linear(Cell):
    """h' = U h + W x + b."""

    name = "linear"
    gates = 1
    bounds = (1.0,)

    def step(self, weights, state, drive):
        return (state[0] @ weights.recurrent + drive,)


class Fold(Cell):
    """Normal form of a saddle-node bifurcation in the first unit, decay in the others: h' = h + b + h^2, h' = h / 2."""

    name = "fold"
    gates = 1
    bounds = (1.0,)

    def step(self, weights, state, drive):
        first, others = state[0][..., :1], state[0][..., 1:]
        return (torch.cat([first + drive[..., :1] + first**2, others / 2], -1),)


@pytest.fixture(autouse=True)
def _cells(monkeypatch):
    for cell in (Linear(), Fold()):
        monkeypatch.setitem(CELLS, cell.name, cell)


def made(cell: str, units: int, networks: int = 1, **values) -> Networks:
    """Networks of zeros but for the values given, which every network shares, read out as class 0 always."""
    gates = CELLS[cell].gates
    zeros = {
        "inputs": torch.zeros(networks, 6, gates * units),
        "recurrent": torch.zeros(networks, units, gates * units),
        "bias": torch.zeros(networks, gates * units),
        "readout": torch.zeros(networks, units, 4),
        "readout_bias": torch.tensor([[0.0, 1.0, 0.0, 0.0]]).repeat(networks, 1),
    }
    for name, value in values.items():
        zeros[name] += torch.as_tensor(value, dtype=torch.float32)
    return from_parameters(cell, zeros, range(networks), ["trained"] * networks)


def examine(networks: Networks, points: State, centroids: State | None = None, **settings) -> pd.DataFrame:
    return spectrum.examine(networks, IMAGES, points, centroids or points, **SETTINGS | settings)


def at(*rows) -> Tensor:
    """Points of one network."""
    return torch.from_numpy(np.array([rows], dtype=float))


# ------------------------------------------------------------------------------------------------------- eigenvalues


def test_eigenvalues_of_a_linear_map():
    """Blocks: 0.98 alone; 0.9 turned by 0.3; they are those of the matrix wherever the point lies."""
    turn = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    mixed = np.array([[1.0, 0.4, 0.0], [0.0, 1.0, -0.7], [0.2, 0.0, 1.0]])
    for first, leading, angle in ((0.98, 0.98, 0), (-1.02, 1.02, math.pi), (0.5, 0.9, 0.3)):
        matrix = mixed @ linalg.block_diag(first, turn) @ np.linalg.inv(mixed)
        rows = examine(made("linear", 3, recurrent=matrix.T), (at([0.1, 0.2, 0.3], [0, 0, 0], [-0.4, 0, 0.9]),))
        assert rows.leading_modulus.to_numpy() == pytest.approx(leading, abs=1e-6)  # weights are float32
        assert rows.leading_angle.to_numpy() == pytest.approx(angle, abs=1e-5)
        assert rows.time_constant.to_numpy() == pytest.approx(1 / abs(math.log(leading)), rel=1e-4)
        assert (rows.unstable == (leading > 1)).all()
        assert rows.near_unit.to_numpy() == pytest.approx((abs(abs(first) - 1) <= 0.05) / 3)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_eigenvalues_equal_those_of_finite_differences(cell):
    networks, points = random_networks(cell), random_state(cell, 2, 3, 6)
    rows = examine(networks, points)
    x = np.array([IMAGES.mean] * 5 + [0.0])
    for row in rows.itertuples():
        network = (0, 4).index(row.seed)
        weights = weights_of(networks, network)
        state = np.concatenate([part[network, row.label].double().numpy() for part in points])

        def step(flat, weights=weights):
            return np.concatenate(plain_step(cell, weights, np.split(flat, PARTS[cell]), x))

        columns = [(step(state + 1e-6 * e) - step(state - 1e-6 * e)) / 2e-6 for e in np.eye(len(state))]
        modulus = np.abs(np.linalg.eigvals(np.stack(columns, 1)))
        assert row.leading_modulus == pytest.approx(modulus.max(), rel=1e-6)
        assert row.unstable == (modulus > 1).sum()
        assert row.near_unit == pytest.approx(np.mean(np.abs(modulus - 1) <= 0.05))
        assert row.slow_modulus == pytest.approx(modulus[np.abs(np.log(modulus)).argmin()], rel=1e-6)


def test_a_description_by_hand():
    values = torch.tensor(
        [[[0.5, -0.99, 0.2j], [1.2, 0.98, 1.0], [1 + 1e-12, 0, 0], [0, 0, 0], [-0.6 + 0.8j, -0.6 - 0.8j, 0.1]]],
        dtype=torch.complex128,
    )
    found = {name: each[0].tolist() for name, each in describe(values, 0.05).items()}
    assert found["leading_modulus"] == pytest.approx([0.99, 1.2, 1, 0, 1])
    assert found["leading_angle"] == pytest.approx([math.pi, 0, 0, 0, math.atan2(0.8, -0.6)])
    # 1e9 stands for no end; a map onto a single point forgets within less than a step
    assert found["time_constant"][:3] == pytest.approx([-1 / math.log(0.99), 1 / math.log(1.2), 1e9])
    assert 0 < found["time_constant"][3] < 0.01
    assert found["slow_modulus"] == pytest.approx([0.99, 1, 1, 0, 1])
    assert found["unstable"] == [0, 1, 0, 0, 0]  # what differs from 1 by rounding alone is not unstable
    assert found["near_unit"] == pytest.approx([1 / 3, 2 / 3, 1 / 3, 0, 2 / 3])


def test_the_slowest_direction_has_the_left_eigenvector_of_the_eigenvalue_nearest_the_unit_circle():
    rng, leading = np.random.default_rng(3), []
    for _ in range(5):
        matrix, seen = 0.7 * rng.normal(size=(5, 5)), rng.uniform(0.1, 1, 5)
        values, left, right = linalg.eig(matrix, left=True)
        k = np.abs(np.log(np.abs(values))).argmin()
        leading.append(k == np.abs(values).argmax())
        w = left[:, k].conj() / (left[:, k].conj() @ right[:, k] / np.linalg.norm(seen * right[:, k]))
        found, rate, direction = slowest(
            *torch.linalg.eig(torch.from_numpy(matrix)[None, None]), torch.from_numpy(seen)[None, None]
        )
        found = found[0, 0].numpy()
        assert rate.item() == pytest.approx(np.log(np.abs(values[k])))
        assert DIRECTIONS[direction.item()] == ("complex" if values[k].imag else "real")
        # of a complex pair either may be taken, and a phase is free
        assert np.abs(found) == pytest.approx(np.abs(w))
        assert np.abs(found @ matrix - values[k] * found).max() == pytest.approx(0, abs=1e-9) or np.abs(
            found @ matrix - values[k].conj() * found
        ).max() == pytest.approx(0, abs=1e-9)
    assert not all(leading)  # it is not the largest one everywhere


def test_a_slowest_direction_that_cannot_be_told_says_why():
    def found(matrix, seen):
        given = torch.linalg.eig(torch.tensor(matrix, dtype=torch.float64)[None, None])
        w, rate, direction = slowest(*given, torch.tensor([[seen]], dtype=torch.float64))
        return w[0, 0], rate.item(), DIRECTIONS[direction.item()]

    w, rate, direction = found([[0.9, 0.0], [0.0, 1.3]], [1.0, 1.0])
    assert (w.abs().tolist(), rate, direction) == ([1, 0], pytest.approx(math.log(0.9)), "real")
    # the slower one is hardly observed
    w, rate, direction = found([[0.9, 0.0], [0.0, 1.3]], [0.001, 0.5])
    assert (w.abs().tolist(), rate, direction) == ([0, 0.5], pytest.approx(math.log(1.3)), "real")
    w, _, direction = found([[0.9, 0.0], [0.0, 1.3]], [0.001, 0.001])
    assert w.isnan().all()
    assert direction == "unseen"
    w, rate, direction = found([[0.9, 1.0], [0.0, 0.9]], [1.0, 1.0])  # a Jordan block
    assert w.isnan().all()
    assert (rate, direction) == (pytest.approx(math.log(0.9)), "no basis")


def test_noise_along_a_direction_that_cannot_be_told_is_left_empty():
    rows = examine(made("linear", 2, recurrent=[[0.9, 0.0], [1.0, 0.9]]), (at([0.1, 0.2]),))
    assert rows.direction.tolist() == ["no basis"]
    assert rows[["drift", "diffusion"]].isna().all(axis=None)
    assert rows.slow_rate[0] == pytest.approx(math.log(0.9), rel=1e-5)


# -------------------------------------------------------------------------------------------------------------- kinds


def test_a_network_of_zeros_has_one_stable_fixed_point():
    """F(h) = h / 2: every eigenvalue is 1/2, and 0 is the fixed point."""
    rows = examine(zero_networks("gru"), (at([0.3, 0.4, 0, 0], [0, 0, 0, 0], [0.9, -0.9, 0.9, 0.9]),))
    assert rows.leading_modulus.tolist() == pytest.approx([0.5] * 3)
    assert rows.time_constant.tolist() == pytest.approx([1 / math.log(2)] * 3)
    assert rows.kind.tolist() == ["stable", "stable", "slope"]
    assert rows.kind_reason.tolist() == ["fixed point", "fixed point", "left the distance"]
    assert rows.newton_distance.tolist()[:2] == pytest.approx([0.5, 0], abs=1e-6)
    assert 1 < rows.newton_distance[2] <= 1.25  # a step more than the limit at most
    assert (rows.newton_speed[:2] < 1e-9).all()
    assert rows.newton_speed[2] == pytest.approx((1.8 - rows.newton_distance[2]) / 2)
    assert rows.newton_steps[1] == 0
    assert rows.fixed_unstable.tolist()[:2] == [0, 0]
    assert math.isnan(rows.fixed_unstable[2])
    closer = examine(zero_networks("gru"), (at([0.3, 0.4, 0, 0]),), newton_distance=0.49)
    assert closer.kind_reason.tolist() == ["left the distance"]
    hurried = examine(zero_networks("gru"), (at([0.3, 0.4, 0, 0]),), newton_steps=1)
    assert hurried.kind.tolist() == ["undecided"]
    assert hurried.kind_reason.tolist() == ["steps ran out"]


def test_two_memories_and_the_saddle_between_them():
    """GRU with z = 1/2, r = 1: F(h) = (h + tanh 2h) / 2 in each unit, fixed points 0 and +-h*, slopes 1.5 and s*."""
    bias = [0.0, 0.0, 40.0, 40.0, 0.0, 0.0]
    networks = made("gru", 2, bias=bias, recurrent=np.hstack([np.zeros((2, 4)), 2 * np.eye(2)]))
    h = optimize.brentq(lambda h: np.tanh(2 * h) - h, 0.1, 1, xtol=1e-15)
    slope = (1 + 2 * (1 - h**2)) / 2
    rows = examine(networks, (at([0.9, -0.9], [0.9, 0.05], [-0.03, 0.02]),))
    assert rows.kind.tolist() == ["stable", "saddle", "saddle"]
    assert rows.fixed_unstable.tolist() == [0, 1, 2]
    away = [math.hypot(h - 0.9, h - 0.9), math.hypot(h - 0.9, 0.05), math.hypot(0.03, 0.02)]
    assert rows.newton_distance.tolist() == pytest.approx(away, abs=1e-7)
    at_fixed = examine(networks, (at([h, -h], [h, 0], [0, 0]),))
    assert at_fixed.leading_modulus.tolist() == pytest.approx([slope, 1.5, 1.5])
    assert at_fixed.slow_modulus.tolist() == pytest.approx([slope, 1.5, 1.5])
    assert at_fixed.newton_steps.tolist() == [0, 0, 0]


def lstm_of_one_unit(f: float, i: float, o: float, weight: float) -> Networks:
    """Gates held at f, i, o by their biases, g = tanh(weight h)."""
    bias = [math.log(gate / (1 - gate)) for gate in (f, i, o)] + [0.0]
    return made("lstm", 1, bias=bias, recurrent=[[0.0, 0.0, 0.0, weight]])


def test_an_lstm_with_two_memories_and_a_saddle():
    f, i, o, weight = 0.8, 0.6, 0.9, 3.0
    networks = lstm_of_one_unit(f, i, o, weight)
    h = optimize.brentq(lambda h: o * np.tanh(i * np.tanh(weight * h) / (1 - f)) - h, 0.1, 1, xtol=1e-14)
    c = i * np.tanh(weight * h) / (1 - f)

    def modulus(h: float, c: float) -> float:
        into = i * weight * (1 - np.tanh(weight * h) ** 2)
        out = o * (1 - np.tanh(c) ** 2)
        return np.abs(np.linalg.eigvals([[out * into, out * f], [into, f]])).max()

    start = at([h + 0.02], [0.05], [-h]), at([c - 0.1], [-0.05], [-c + 0.3])
    rows = examine(networks, start)
    assert rows.kind.tolist() == ["stable", "saddle", "stable"]
    assert rows.fixed_unstable.tolist() == [0, 1, 0]
    ends = settle(*ends_of(networks), start, 60, 1e-10, 1.0)
    assert ends.state[0].flatten().tolist() == pytest.approx([h, 0, -h], abs=1e-6)
    assert ends.state[1].flatten().tolist() == pytest.approx([c, 0, -c], abs=1e-5)
    settled = examine(networks, ends.state)
    assert settled.leading_modulus.tolist() == pytest.approx([modulus(h, c), modulus(0, 0), modulus(h, c)], rel=1e-5)


def ends_of(networks: Networks) -> tuple[Cell, Tensor, Tensor]:
    """Cell, recurrent weights and held drive, as `settle` wants them."""
    double = networks.to(torch.float64)
    return double.cell, double.weights, double.drive(held_input(double, IMAGES.mean))


def test_c_is_at_rest_too_where_the_speed_does_not_see_it():
    """c = 20 grows by 0.8 in a step, or falls by 0.2, and no speed tells: tanh c is 1 before and after."""
    growing = lstm_of_one_unit(0.99, 0.9999, 0.9, 30.0)
    h, c = 0.9, 0.9999 / 0.01
    rows = examine(growing, (at([h]), at([20.0])))
    assert rows.kind.tolist() == ["stable"]
    assert rows.newton_distance[0] == pytest.approx(0, abs=1e-7)
    ends = settle(*ends_of(growing), (at([h]), at([20.0])), 60, 1e-9, 1.0)
    assert ends.state[1].item() == pytest.approx(c, rel=1e-4)
    assert ends.residual.item() < 1e-9
    leaking = lstm_of_one_unit(0.99, 0.5, 0.9, 0.0)
    rows = examine(leaking, (at([0.9]), at([20.0])))
    assert rows.kind.tolist() == ["slope"]
    assert rows.kind_reason.tolist() == ["c leads out"]
    assert rows.newton_distance[0] == pytest.approx(0, abs=1e-6)
    assert rows.newton_speed[0] < 1e-9


@pytest.mark.parametrize("start", [-0.2, -0.02, 0.001])
def test_a_ghost_is_left_where_two_fixed_points_have_just_vanished(start):
    """h' = h + b + h^2: for b < 0 fixed points at -+sqrt(-b), the lower stable; for b > 0 none, least speed at 0."""
    before = examine(made("fold", 3, bias=[-1e-4, 0, 0]), (at([start, 0.1, 0], [0.03, 0, 0], [-0.03, 0, 0]),))
    assert before.kind[1:].tolist() == ["saddle", "stable"]
    assert before.kind[0] in ("stable", "saddle")
    assert before.newton_distance[1:].tolist() == pytest.approx([0.02, 0.02], abs=1e-5)
    past = examine(made("fold", 3, bias=[1e-4, 0, 0]), (at([start, 0.1, 0]),))
    assert past.kind.tolist() == ["ghost"]
    assert past.kind_reason.tolist() == ["least speed"]
    assert past.newton_speed[0] == pytest.approx(1e-4, rel=1e-6)
    assert past.newton_slope[0] < 1e-4
    assert past.newton_distance[0] == pytest.approx(math.hypot(start, 0.1), abs=1e-4)
    assert past.newton_steps[0] < 40


@pytest.mark.parametrize("gap", [1e-4, 0.01, 0.1])
def test_the_ghost_of_a_gru_is_where_algebra_has_it(gap):
    """GRU with z = 1/2, r = 1: F(h) - h = (tanh(3h + b) - h) / 2. Its derivative vanishes where tanh is
    -sqrt(2/3), at h = -(artanh sqrt(2/3) + b) / 3, and b is such that tanh - h is `gap` there: with a gap below 0 two
    fixed points, with one above 0 none but the one far away near h = 1."""
    root = math.sqrt(2 / 3)
    recurrent = np.zeros((2, 6))
    recurrent[0, 4] = 3  # the second unit decays

    def network(gap: float) -> Networks:
        return made("gru", 2, bias=[0, 0, 40, 40, 3 * (root + gap) - math.atanh(root), 0], recurrent=recurrent)

    starts = at([-0.9, 0.1], [-0.6, 0], [-0.8, -0.1])
    rows = examine(network(gap), (starts,), newton_distance=0.5)
    assert rows.kind.tolist() == ["ghost"] * 3
    assert rows.kind_reason.tolist() == ["least speed"] * 3
    assert rows.newton_speed.to_numpy() == pytest.approx(gap / 2, rel=1e-5, abs=1e-7)  # weights are float32
    assert (rows.newton_slope < 1e-3).all()
    away = np.linalg.norm(starts[0].numpy() - np.array([-root - gap, 0]), axis=1)
    assert rows.newton_distance.to_numpy() == pytest.approx(away, abs=1e-4)
    before = examine(network(-gap), (starts,), newton_distance=0.5)
    assert before.kind.isin(["stable", "saddle"]).all()


def test_a_least_speed_at_the_bound_is_told_from_one_within():
    """h' = h / 2 + 1 has its fixed point at 2, out of reach; of states in reach 1 is slowest."""
    networks = made("linear", 2, bias=[1.0, 0.0], recurrent=[[0.5, 0.0], [0.0, 0.5]])
    rows = examine(networks, (at([0.5, 0.1], [1.0, 0.0], [-0.9, 0.0]),))
    assert rows.kind.tolist() == ["ghost", "ghost", "slope"]
    assert rows.kind_reason.tolist() == ["least speed at the bound"] * 2 + ["left the distance"]
    assert rows.newton_speed.tolist()[:2] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_a_point_that_the_box_moves_to_a_higher_speed_is_undecided():
    """c is at most 0.2 / (1 - 0.5) at a fixed point; at c = 2 the point is slower than at 0.4, the box's side."""
    networks = lstm_of_one_unit(0.5, 0.2, 0.9, 0.0)
    rows = examine(networks, (at([0.9 * math.tanh(1)]), at([2.0])), newton_distance=0.3)
    assert rows.newton_cut[0] == pytest.approx(math.tanh(2) - math.tanh(0.4), abs=1e-6)
    assert rows.kind.tolist() == ["undecided"]
    assert rows.kind_reason.tolist() == ["cut to the box"]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_scipy_finds_no_lower_speed_beside_what_is_called_least(cell):
    """Bounded least squares of scipy, with finite differences of an independent step, from where Newton's steps ended
    and from beside it: at fixed points it stays, at least speeds it gains nothing."""
    networks = random_networks(cell, units=8, scale=1.2)
    points = random_state(cell, 2, 6, 8, torch.float64)
    double = networks.to(torch.float64)
    x = held_input(double, IMAGES.mean)
    weights = double.weights, double.drive(x)
    ends = settle(double.cell, *weights, points, 300, 1e-10, 3.0)
    outcomes = [[OUTCOMES[o] for o in row] for row in ends.outcome.tolist()]
    flat = [outcome for row in outcomes for outcome in row]
    decided = {FIXED, LEAST, AT_BOUND}
    assert sum(outcome in decided for outcome in flat) >= 6
    box = torch.cat(double.cell.reach(*weights), -1)
    rng = np.random.default_rng(1)
    held = np.array([IMAGES.mean] * 5 + [0.0])
    for network in range(2):
        given, most = weights_of(networks, network), box[network, 0].numpy()

        def residual(flat, given=given):
            before = np.split(flat, PARTS[cell])
            after = plain_step(cell, given, before, held)
            return np.concatenate(
                [after[0] - before[0], *(np.tanh(a) - np.tanh(b) for a, b in zip(after[1:], before[1:], strict=True))]
            )

        for label, outcome in enumerate(outcomes[network]):
            if outcome not in decided:
                continue
            end = np.concatenate([part[network, label].numpy() for part in ends.state])
            least = np.linalg.norm(residual(end))
            for spread in (0, 0.003):
                start = np.clip(end + spread * rng.normal(size=len(end)), -0.999999 * most, 0.999999 * most)
                found = optimize.least_squares(
                    residual, start, bounds=(-most, most), xtol=1e-12, ftol=1e-12, gtol=1e-12
                )
                if np.linalg.norm(found.x - end) < 0.1:
                    assert np.linalg.norm(found.fun) >= least * (1 - 1e-4) - 1e-9


def test_a_fixed_point_with_another_read_out_is_not_the_point_s_own():
    """Zero GRU: 0.4 is read out as class 0 while h / 2 is above 0.1, and its fixed point 0 is not."""
    networks = zero_networks("gru")
    networks.readout[0, 0, 1] = 1.0
    networks.readout_bias[0, 0] = 0.1
    rows = examine(networks, (at([0.4, 0, 0, 0], [0.1, 0, 0, 0]),))
    assert rows.readout.tolist() == [0, NO_CLASS]
    assert rows.newton_readout.tolist() == [NO_CLASS, NO_CLASS]
    assert rows.kind.tolist() == ["slope", "stable"]
    assert rows.kind_reason.tolist() == ["lost the read-out", "fixed point"]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_newton_from_beside_fixed_points_of_a_random_network_comes_back(cell):
    """Where relaxation leads, by plain iteration, Newton's steps end as well, from anywhere near by."""
    networks = random_networks(cell, units=12, scale=0.8).to(torch.float64)
    held = held_input(networks, IMAGES.mean)
    state = random_state(cell, 2, 6, 12, torch.float64)
    for _ in range(3000):
        state = networks.step(state, held)
    generator = torch.Generator().manual_seed(2)
    beside = tuple(p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype) / math.sqrt(12) for p in state)
    ends = settle(networks.cell, networks.weights, networks.drive(held), beside, 60, 1e-11, 1.0)
    assert (ends.residual < 1e-11).all()
    for part, fixed in zip(ends.state, state, strict=True):
        assert torch.allclose(part, fixed, atol=1e-8)
    assert (ends.steps < 15).all()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_search_stays_in_the_box_and_never_speeds_up(cell):
    networks = random_networks(cell, scale=4.0).to(torch.float64)
    held = held_input(networks, IMAGES.mean)
    start = random_state(cell, 2, 5, 6, torch.float64)
    box = networks.cell.reach(networks.weights, networks.drive(held))
    inside = tuple(part.clamp(-most, most) for part, most in zip(start, box, strict=True))
    speeds = [speed(networks.cell, networks.weights, inside, held)]
    for steps in (1, 3, 10):
        # a tolerance that nothing reaches: a point that has come to rest is not led on
        ends = settle(networks.cell, networks.weights, networks.drive(held), inside, steps, 0, 9)
        assert all((part.abs() <= most).all() for part, most in zip(ends.state, box, strict=True))
        speeds.append(speed(networks.cell, networks.weights, ends.state, held))
        assert (speeds[-1] <= speeds[-2] + 1e-15).all()
    assert (speeds[-1] < 0.9 * speeds[0]).double().mean() > 0.8


def test_the_box_of_an_lstm_holds_its_fixed_points():
    networks = random_networks("lstm", scale=1.5).to(torch.float64)
    held = held_input(networks, IMAGES.mean)
    most = networks.cell.reach(networks.weights, networks.drive(held))[1]
    corner = (most.sign().expand(2, 8, 6), most.expand(2, 8, 6))
    corner = tuple(part * random_state("gru", 2, 8, 6, torch.float64)[0].sign() for part in corner)
    after = networks.step(corner, held)[1]
    assert (after.abs() <= most).all()
    cell, *given = ends_of(lstm_of_one_unit(0.8, 0.6, 0.9, 3.0))
    assert cell.reach(*given)[1].item() == pytest.approx(0.6 / 0.2)


# --------------------------------------------------------------------------------------------- relaxation, and noise


def test_relaxation_of_a_network_of_zeros():
    """h halves at every step. Class 0 is read out while h / 2 > 0.1: from 0.9 for 2 steps, from 0.15 never."""
    networks = zero_networks("gru", networks=2)
    networks.readout[:, 0, 1:] = torch.tensor([1.0, -1.0, 0.0])
    networks.readout_bias[:, 0] = 0.1
    start = at([0.9, 0, 0, 0], [-0.9, 0, 0, 0], [0.9, 0, 0, 0]).repeat(2, 1, 1)
    start[1, 0] = torch.tensor([0.15, 0.3, 0, 0])
    rows = examine(networks, (torch.zeros(2, 3, 4),), (start,))
    # class 2 is never read out; -0.9 answers class 1
    assert rows.relaxation_kept.tolist() == [2, 2, 0, 0, 2, 0]
    lost = math.hypot(0.15, 0.3) / 2
    assert rows.relaxation_speed.tolist() == pytest.approx([0.1125, 0.1125, 0.45, lost, 0.1125, 0.45])
    # after 20 halvings nothing is left but the bias; speeds halve, whatever is read out, through a window of 5 steps
    assert rows.relaxation_readout.tolist() == [-1] * 6
    assert rows.window_speed.tolist() == pytest.approx([0.45 / 2**5] * 3 + [lost / 2**5, *[0.45 / 2**5] * 2])
    assert rows.relaxation_end_speed.to_numpy() == pytest.approx(rows.window_speed / 2**15)
    assert (rows.relaxation_unstable == 0).all()
    short = examine(networks, (torch.zeros(2, 3, 4),), (start,), relaxation_steps=1)
    assert short.relaxation_readout.tolist() == [0, 1, 0, -1, 1, 0]
    assert short.window_speed[0] == pytest.approx(0.225)
    assert short.relaxation_kept.tolist() == [1, 1, 0, 0, 1, 0]
    assert short.relaxation_speed[0] == pytest.approx(0.225)


def test_relaxed_speeds_are_those_of_a_plain_loop():
    """h halves at every step, and h / 2 is read out: class 0 from 0.9 for 2 steps, class 1 from -0.9 alike."""
    networks = zero_networks("gru", networks=2)
    networks.readout[:, 0, 1:] = torch.tensor([1.0, -1.0, 0.0])
    networks.readout_bias[:, 0] = 0.1
    start = at([0.9, 0, 0, 0], [-0.9, 0, 0, 0], [0.3, 0.4, 0, 0]).repeat(2, 1, 1)
    rows = relaxed(networks, IMAGES, (start,), [0, 2, 3])
    assert {*PANEL, *rows.columns} == set(TABLES["relaxed"].columns)
    assert rows[["label", "time"]].values.tolist() == [[k, t] for k in range(3) for t in (0, 2, 3)] * 2
    lengths = np.repeat([0.9, 0.9, 0.5], 3)
    assert rows.speed.tolist() == pytest.approx([*(lengths / 2 / 2.0 ** np.tile([0, 2, 3], 3))] * 2)
    assert rows.readout.tolist() == [0, 0, -1, 1, 1, -1, 0, -1, -1] * 2


@pytest.mark.parametrize("cell", PARTS)
def test_a_relaxed_speed_at_no_time_is_the_centroids(cell):
    networks, start = random_networks(cell), random_state(cell, 2, 3, 6)
    rows = relaxed(networks, IMAGES, start, [0, 7])
    x = held_input(networks, IMAGES.mean)
    with torch.no_grad():
        assert rows.speed[rows.time == 0].tolist() == pytest.approx(
            speed(networks.cell, networks.weights, start, x).flatten().tolist(), rel=1e-5
        )
        for _ in range(7):
            start = networks.step(start, x)
        later = speed(networks.cell, networks.weights, start, x).flatten().tolist()
    assert rows.speed[rows.time == 7].tolist() == pytest.approx(later, rel=1e-3)


def test_the_least_speed_of_a_relaxation_may_lie_on_its_way():
    """h' = h + b + h^2 from -0.3: slowest, with speed b, where it passes 0, and read out to the end."""
    networks = made("fold", 2, bias=[0.02, 0])
    h = [-0.3]
    for _ in range(25):
        h.append(h[-1] + 0.02 + h[-1] ** 2)
    rows = examine(networks, (at([0, 0]),), (at([-0.3, 0]),), relaxation_steps=25)
    assert rows.relaxation_kept.tolist() == [25]
    assert rows.relaxation_end_speed[0] == pytest.approx(0.02 + h[-1] ** 2, rel=1e-3)  # of float32 weights
    assert rows.relaxation_unstable.tolist() == [1]  # slope 1 + 2h
    assert 0 < np.diff(h).argmin() < 24
    assert rows.relaxation_speed[0] == pytest.approx(np.diff(h).min(), rel=1e-5)
    assert rows.window_speed[0] == pytest.approx(np.diff(h)[:6].min(), rel=1e-5)  # the start and 5 steps
    assert rows.window_speed[0] > 1.01 * rows.relaxation_speed[0]


@pytest.mark.parametrize(
    ("eigenvalue", "other"),
    [(1.0, 0.5), (0.9, -0.3), (-0.95, 0.2), (1.1, 0.9)],
    ids=["walk", "decay", "flip", "growth"],
)
def test_drift_and_diffusion_along_an_eigenvector(eigenvalue, other):
    """y' = l y + w (step of the mean) + w W noise: mean and variance are geometric sums."""
    mixed = np.array([[1.0, 0.8], [0.3, 1.0]])  # columns: right eigenvectors
    matrix = mixed @ np.diag([eigenvalue, other]) @ np.linalg.inv(mixed)
    inputs = np.random.default_rng(5).normal(size=(6, 2)) / 10
    point, bias = np.array([0.2, -0.4]), np.array([0.03, -0.05])
    networks = made("linear", 2, recurrent=matrix.T, inputs=inputs, bias=bias)
    steps = 6
    rows = examine(networks, (at(point),), noise_trials=6000, noise_steps=steps)
    w = np.linalg.norm(mixed[:, 0]) * np.linalg.inv(mixed)[0]
    change = matrix @ point + bias + IMAGES.mean * inputs[:5].sum(0) - point
    kick = IMAGES.std**2 * ((inputs[:5] @ w) ** 2).sum()
    powers = eigenvalue ** np.arange(steps)
    mean = (w @ change) * powers.sum()
    variance = kick * (powers**2).cumsum()
    t = np.arange(1, steps + 1)
    slope = np.linalg.lstsq(t[:, None], variance, rcond=None)[0].item()
    assert rows["drift"][0] == pytest.approx(abs(mean) / steps, abs=5 * math.sqrt(variance[-1] / 6000) / steps)
    assert rows["diffusion"][0] == pytest.approx(slope / 2, rel=0.06)
    if eigenvalue == 1:
        assert slope == pytest.approx(kick)  # a walk's


def test_diffusion_along_a_turning_direction_counts_both_parts():
    radius, angle, steps = 0.95, 0.7, 6
    turn = radius * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inputs = np.random.default_rng(5).normal(size=(6, 2)) / 10
    networks = made("linear", 2, recurrent=turn.T, inputs=inputs)
    rows = examine(networks, (at([0.0, 0.0]),), noise_trials=6000, noise_steps=steps)
    w = np.array([1, 1j]) / math.sqrt(2)  # v = (1, -i) / sqrt(2)
    change = IMAGES.mean * inputs[:5].sum(0)
    factors = (radius * np.exp(1j * angle)) ** np.arange(steps)
    variance = IMAGES.std**2 * (np.abs(inputs[:5] @ w) ** 2).sum() * (np.abs(factors) ** 2).cumsum()
    t = np.arange(1, steps + 1)
    assert rows["diffusion"][0] == pytest.approx((t @ variance) / (t @ t) / 2, rel=0.06)
    spread = 5 * math.sqrt(variance[-1] / 6000) / steps
    assert rows["drift"][0] == pytest.approx(min(abs((w @ change) * factors.sum()), 9) / steps, abs=spread)


def test_at_a_fixed_point_without_noise_nothing_drifts_or_spreads():
    networks = made("linear", 2, recurrent=[[0.9, 0.1], [0.0, 0.4]])
    rows = examine(networks, (at([0.0, 0.0]),))
    assert rows["drift"].tolist() == [0]
    assert rows["diffusion"].tolist() == [0]


# ------------------------------------------------------------------------------------------------ ensembles, and rows


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_network_does_not_depend_on_its_block(cell):
    networks = random_networks(cell, seeds=(0, 4, 7))
    points, starts = random_state(cell, 3, 3, 6), tuple(part / 2 for part in random_state(cell, 3, 3, 6))
    rows = examine(networks, points, starts)
    alone = examine(random_networks(cell, seeds=(4,)), tuple(p[1:2] for p in points), tuple(p[1:2] for p in starts))
    mine = rows[rows.seed == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, alone, rtol=1e-5, atol=1e-9)
    assert (rows.groupby("label")["diffusion"].nunique() == 3).all()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_there_is_a_row_for_every_network_and_class(cell):
    networks = random_networks(cell)
    before = networks.parameters
    rows = examine(networks, random_state(cell, 2, 3, 6))
    assert rows[["phase", "seed", "label", "search_steps"]].values.tolist() == [
        ["trained", seed, label, 300] for seed in (0, 4) for label in range(3)
    ]
    assert rows.drop(columns="fixed_unstable").notna().all(axis=None)
    assert (rows.fixed_unstable.isna() == ~rows.kind.isin(["stable", "saddle"])).all()
    assert (rows.kind.isin(["stable", "saddle"]) == (rows.kind_reason == "fixed point")).all()
    assert rows.newton_steps.between(1, 60).all()
    assert np.isfinite(rows.drop(columns="fixed_unstable").select_dtypes("number")).all(axis=None)
    assert (rows.time_constant > 0).all()
    assert all(values.dtype == torch.float32 for values in before.values())  # the networks stay as they are


@pytest.mark.parametrize("which", ["points", "centroids"])
def test_points_that_are_not_finite_are_refused(which):
    good = random_state("gru", 2, 3, 6)
    bad = (good[0].clone(),)
    bad[0][1, 2, 0] = torch.nan
    states = {"points": good, "centroids": good} | {which: bad}
    with pytest.raises(ValueError, match="1 of 6 states are not finite"):
        examine(random_networks("gru"), states["points"], states["centroids"])


def test_points_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"state has shape \(2, 3, 5\); the weights want \(2, points, 6\)"):
        examine(random_networks("gru"), (torch.zeros(2, 3, 5),))
