"""Cells against implementations written a second time from the equations, and the speed where algebra gives it."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from memrnn.models import networks as nets
from memrnn.models.cell import Cell, State, Weights, plain_unroll, speed, squared_change
from memrnn.models.cells import CELLS
from memrnn.models.gru import GRU
from memrnn.models.lstm import LSTM
from memrnn.models.unrolling import sum_rows

NETWORKS, STEPS, BATCH, INPUTS, UNITS = 2, 6, 3, 4, 5
BOTH = pytest.mark.parametrize("cell", [GRU(), LSTM()], ids=lambda cell: cell.name)


def random_weights(cell: Cell, dtype: torch.dtype = torch.float64, units: int = UNITS, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    shapes = (
        (NETWORKS, INPUTS, cell.gates * units),
        (NETWORKS, units, cell.gates * units),
        (NETWORKS, cell.gates * units),
    )
    return Weights(*(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes))


def random_inputs(dtype: torch.dtype = torch.float64, steps: int = STEPS) -> Tensor:
    return torch.randn(NETWORKS, steps, BATCH, INPUTS, generator=torch.Generator().manual_seed(1), dtype=dtype)


def plain_sequence(cell: Cell, weights: Weights, x: Tensor) -> Tensor:
    """`plain_unroll` under inputs x, with the drive of each step computed by itself."""
    drive = torch.stack([weights.drive(x_t) for x_t in x.unbind(1)], 1)
    return plain_unroll(cell, weights.recurrent, drive)


def random_state(cell: Cell, points: int, dtype: torch.dtype = torch.float64) -> State:
    like = torch.zeros((), dtype=dtype)
    generator = torch.Generator().manual_seed(2)
    parts = cell.initial_state(NETWORKS, points, UNITS, like)
    return tuple(torch.randn(part.shape, generator=generator, dtype=dtype) for part in parts)


# ---------------------------------------------------------------- the equations, written again


def s(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def preactivation(weights: Weights, network: int, gate: int, unit: int, x: np.ndarray, h: np.ndarray) -> float:
    """(W x + U h + b) of one unit of one gate of one network, added up term by term."""
    column = gate * h.size + unit
    total = weights.bias[network, column].item()
    for i in range(x.size):
        total += weights.inputs[network, i, column].item() * x[i]
    for j in range(h.size):
        total += weights.recurrent[network, j, column].item() * h[j]
    return total


def gru_by_hand(weights: Weights, network: int, x: np.ndarray) -> np.ndarray:
    """Hidden states (time, units) of one trial x (time, inputs) of a GRU whose gates stand in the order z, r, n."""
    units = weights.recurrent.shape[1]
    h, out = np.zeros(units), []
    for frame in x:
        z = np.array([s(preactivation(weights, network, 0, k, frame, h)) for k in range(units)])
        r = np.array([s(preactivation(weights, network, 1, k, frame, h)) for k in range(units)])
        n = np.array([math.tanh(preactivation(weights, network, 2, k, frame, r * h)) for k in range(units)])
        h = (1 - z) * h + z * n
        out.append(h)
    return np.array(out)


def lstm_by_hand(weights: Weights, network: int, x: np.ndarray) -> np.ndarray:
    """As `gru_by_hand`, of an LSTM whose gates stand in the order f, i, o, candidate."""
    units = weights.recurrent.shape[1]
    h, c, out = np.zeros(units), np.zeros(units), []
    for frame in x:
        f, i, o = (
            np.array([s(preactivation(weights, network, gate, k, frame, h)) for k in range(units)]) for gate in range(3)
        )
        c = f * c + i * np.array([math.tanh(preactivation(weights, network, 3, k, frame, h)) for k in range(units)])
        h = o * np.tanh(c)
        out.append(h)
    return np.array(out)


@pytest.mark.parametrize(("cell", "by_hand"), [(GRU(), gru_by_hand), (LSTM(), lstm_by_hand)], ids=["gru", "lstm"])
def test_sequences_follow_the_equations(cell, by_hand):
    weights, x = random_weights(cell), random_inputs()
    expected = np.stack(
        [np.stack([by_hand(weights, n, x[n, :, b].numpy()) for b in range(BATCH)], 1) for n in range(NETWORKS)]
    )
    for sequence in (cell.sequence(weights, x), plain_sequence(cell, weights, x)):
        assert sequence.shape == (NETWORKS, STEPS, BATCH, UNITS)
        np.testing.assert_allclose(sequence, expected, rtol=0, atol=1e-13)


def test_lstm_is_that_of_torch_in_h_and_c():
    cell, x = LSTM(), random_inputs()
    weights = random_weights(cell)
    for network in range(NETWORKS):
        theirs = torch.nn.LSTM(INPUTS, UNITS, dtype=torch.float64)

        def their_order(columns: Tensor) -> Tensor:
            f, i, o, g = columns.chunk(4, -1)
            return torch.cat((i, f, g, o), -1)

        with torch.no_grad():
            theirs.weight_ih_l0.copy_(their_order(weights.inputs[network]).T)
            theirs.weight_hh_l0.copy_(their_order(weights.recurrent[network]).T)
            theirs.bias_ih_l0.copy_(their_order(weights.bias[network]))
            theirs.bias_hh_l0.zero_()
            expected, (_, last_c) = theirs(x[network])
        torch.testing.assert_close(cell.sequence(weights, x)[network], expected, rtol=0, atol=1e-13)
        state = cell.initial_state(NETWORKS, BATCH, UNITS, x)
        for t in range(STEPS):
            state = cell.step(weights.recurrent, state, weights.drive(x[:, t]))
        torch.testing.assert_close(state[1][network], last_c[0], rtol=0, atol=1e-13)


def their_gru(weights: Weights, network: int, x: Tensor) -> Tensor:
    """torch.nn.GRU with our weights: gates r, z, n, and its z is our 1 - z."""
    theirs = torch.nn.GRU(INPUTS, UNITS, dtype=torch.float64)

    def their_order(columns: Tensor) -> Tensor:
        z, r, n = columns.chunk(3, -1)
        return torch.cat((r, -z, n), -1)

    with torch.no_grad():
        theirs.weight_ih_l0.copy_(their_order(weights.inputs[network]).T)
        theirs.weight_hh_l0.copy_(their_order(weights.recurrent[network]).T)
        theirs.bias_ih_l0.copy_(their_order(weights.bias[network]))
        theirs.bias_hh_l0.zero_()
        return theirs(x[network])[0]


def test_gru_differs_from_that_of_torch_by_the_reset_gate_alone():
    cell, x = GRU(), random_inputs()
    weights = random_weights(cell)
    ours, theirs = cell.sequence(weights, x)[0], their_gru(weights, 0, x)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-13)  # from the zero state nothing can be reset
    assert (ours[1:] - theirs[1:]).abs().max() > 0.05
    weights.bias[:, UNITS : 2 * UNITS] = 60.0  # r = 1: where the reset gate stands no longer matters
    torch.testing.assert_close(cell.sequence(weights, x)[0], their_gru(weights, 0, x), rtol=0, atol=1e-13)


# ---------------------------------------------------------------- explicit forward and backward


@BOTH
@pytest.mark.parametrize("steps", [1, 3])
def test_explicit_backward_passes_gradcheck(cell, steps):
    x = random_inputs(steps=steps)[:, :, :2].clone()
    leaves = [part.requires_grad_() for part in (*random_weights(cell, units=2), x)]
    assert torch.autograd.gradcheck(lambda *parts: cell.sequence(Weights(*parts[:3]), parts[3]), leaves)


@BOTH
@pytest.mark.parametrize(
    "weigh",
    [
        lambda h: (h * torch.randn(h.shape, generator=torch.Generator().manual_seed(3))).sum(),
        lambda h: h.sum(),  # its gradient is one number seen everywhere, without memory of its own
        lambda h: h[:, -1].square().sum(),
        lambda h: h[:, 0].square().sum(),
    ],
    ids=["random", "constant", "last step", "first step"],
)
def test_explicit_sequence_equals_the_plain_loop_in_float32(cell, weigh):
    weights, x = random_weights(cell, torch.float32), random_inputs(torch.float32)
    leaves = [part.requires_grad_() for part in (*weights, x)]
    explicit, plain = cell.sequence(weights, x), plain_sequence(cell, weights, x)
    assert explicit.dtype == torch.float32
    torch.testing.assert_close(explicit, plain, rtol=0, atol=2e-6)
    loss = weigh(explicit)
    gradients = torch.autograd.grad(loss, leaves, retain_graph=True)
    for ours, expected in zip(gradients, torch.autograd.grad(weigh(plain), leaves), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=3e-5)
    assert all(part.abs().max() > 0.1 for part in (gradients[0], gradients[2], gradients[3]))
    # Nothing that the pass keeps is spoiled by the first way back.
    for again, before in zip(torch.autograd.grad(loss, leaves), gradients, strict=True):
        assert torch.equal(again, before)


@BOTH
def test_sequence_leaves_its_inputs_alone_and_skips_the_gradient_of_x(cell):
    weights, x = random_weights(cell), random_inputs()
    leaves = [part.requires_grad_() for part in weights]
    before = [part.detach().clone() for part in (*weights, x)]
    gradients = torch.autograd.grad(cell.sequence(weights, x).sum(), leaves)
    assert all(torch.equal(now, then) for now, then in zip((*weights, x), before, strict=True))
    x.requires_grad_()
    with_x = torch.autograd.grad(cell.sequence(weights, x).sum(), [*leaves, x])
    assert all(torch.equal(a, b) for a, b in zip(gradients, with_x[:3], strict=True))


@BOTH
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_advance_equals_step_and_keeps_the_state_it_came_from(cell, dtype, tolerance):
    weights, x, state = random_weights(cell, dtype), random_inputs(dtype), random_state(cell, BATCH, dtype)
    for t in range(STEPS):
        before = tuple(part.clone() for part in state)
        expected = cell.step(weights.recurrent, state, weights.drive(x[:, t]))
        after = cell.advance(weights, state, x[:, t])
        for ours, plain, kept, original in zip(after, expected, state, before, strict=True):
            torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance)
            assert torch.equal(kept, original)
        state = after


@BOTH
@pytest.mark.parametrize("batch", [1, BATCH], ids=["held drive", "a drive for each point"])
def test_explicit_gradient_of_the_squared_speed_equals_autograd(cell, batch):
    weights, state = random_weights(cell), random_state(cell, BATCH)
    drive = weights.drive(random_inputs()[:, 0, :batch])
    before = drive.clone(), tuple(part.clone() for part in state)
    squared, gradient = cell.squared_speed_gradient(weights.recurrent, state, drive)
    expected_squared, expected_gradient = Cell.squared_speed(cell, weights.recurrent, drive, BATCH)(state)
    assert squared.shape == (NETWORKS, BATCH)
    torch.testing.assert_close(squared, expected_squared, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(gradient, expected_gradient, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
        assert expected.abs().max() > 0.1
    # A search calls this thousands of times with one drive.
    evaluate = cell.squared_speed(weights.recurrent, drive, BATCH)
    kept = [part.clone() for part in evaluate(state)[1]]
    evaluate(tuple(2 * part for part in state))
    assert all(torch.equal(now, then) for now, then in zip(evaluate(state)[1], kept, strict=True))
    assert torch.equal(drive, before[0])
    assert all(torch.equal(now, then) for now, then in zip(state, before[1], strict=True))


@BOTH
def test_speed_is_the_root_of_what_the_search_lowers(cell):
    weights, state = random_weights(cell), random_state(cell, BATCH)
    x = random_inputs()[:, 0, :1]
    squared, _ = cell.squared_speed_gradient(weights.recurrent, state, weights.drive(x))
    torch.testing.assert_close(speed(cell, weights, state, x).square(), squared, rtol=1e-12, atol=0)


# ---------------------------------------------------------------- derivative of one step


def zero_recurrent(cell: Cell) -> Tensor:
    return torch.zeros(NETWORKS, UNITS, cell.gates * UNITS, dtype=torch.float64)


def random_drive(cell: Cell, points: int) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(NETWORKS, points, cell.gates * UNITS, generator=generator, dtype=torch.float64)


@BOTH
@pytest.mark.parametrize("points", [1, BATCH], ids=["one drive", "a drive each"])
def test_the_closed_jacobian_is_that_of_automatic_differentiation(cell, points):
    state, drive = random_state(cell, BATCH), random_drive(cell, points)
    for recurrent in (random_weights(cell).recurrent, zero_recurrent(cell)):
        ours, automatic = (kind.jacobian(recurrent, state, drive) for kind in (cell, CellByStep(cell)))
        assert ours.shape == (NETWORKS, BATCH, len(state) * UNITS, len(state) * UNITS)
        torch.testing.assert_close(ours, automatic, rtol=0, atol=1e-13)
        single = cell.jacobian(recurrent.float(), tuple(part.float() for part in state), drive.float())
        torch.testing.assert_close(single, ours.float(), rtol=0, atol=1e-5)


@BOTH
def test_the_closed_jacobian_is_jacrev_of_a_step_point_by_point(cell):
    weights, state, drive = random_weights(cell), random_state(cell, BATCH), random_drive(cell, BATCH)
    found = cell.jacobian(weights.recurrent, state, drive)
    for network in range(NETWORKS):
        for point in range(BATCH):
            own = weights.recurrent[network : network + 1], drive[network, point].view(1, 1, -1)
            one = tuple(part[network, point].view(1, 1, -1) for part in state)
            blocks = torch.func.jacrev(lambda one, own=own: cell.step(own[0], one, own[1]))(one)
            rows = [torch.cat([block.view(UNITS, UNITS) for block in row], 1) for row in blocks]
            torch.testing.assert_close(found[network, point], torch.cat(rows), rtol=0, atol=1e-13)


@BOTH
def test_the_jacobian_is_what_small_moves_of_the_state_do(cell):
    """Central differences, moving one number of one state at a time; rows are the next state, columns the state."""
    recurrent, state, drive = random_weights(cell).recurrent, random_state(cell, BATCH), random_drive(cell, 1)
    ours, by_step = (kind.jacobian(recurrent, state, drive) for kind in (cell, CellByStep(cell)))
    move = 1e-6
    for column in range(len(state) * UNITS):
        ends = []
        for sign in (1, -1):
            moved = torch.cat(state, -1)
            moved[..., column] += sign * move
            ends.append(torch.cat(cell.step(recurrent, tuple(moved.split(UNITS, -1)), drive), -1))
        expected = (ends[0] - ends[1]) / (2 * move)
        for jacobian in (ours, by_step):
            torch.testing.assert_close(jacobian[..., column], expected, rtol=0, atol=1e-8)


def test_jacobians_of_zero_networks_follow_from_algebra():
    """Gates half open: h' = h / 2; c' = c / 2 and h' = tanh(c / 2) / 2, whatever h."""
    (h,) = random_state(GRU(), 2)
    halved = GRU().jacobian(zero_recurrent(GRU()), (h,), torch.zeros(NETWORKS, 1, 3 * UNITS).double())
    torch.testing.assert_close(halved, (torch.eye(UNITS) / 2).double().expand(NETWORKS, 2, -1, -1))
    h, c = random_state(LSTM(), 2)
    found = LSTM().jacobian(zero_recurrent(LSTM()), (h, c), torch.zeros(NETWORKS, 1, 4 * UNITS).double())
    expected = torch.zeros(NETWORKS, 2, 2 * UNITS, 2 * UNITS).double()
    for unit in range(UNITS):
        expected[..., unit, UNITS + unit] = (1 - torch.tanh(c[..., unit] / 2) ** 2) / 4
        expected[..., UNITS + unit, UNITS + unit] = 0.5
    torch.testing.assert_close(found, expected)


class CellByStep(Cell):
    """Another cell's step with whatever the base class makes of it."""

    def __init__(self, cell: Cell):
        self.step, self.observe = cell.step, cell.observe


# ---------------------------------------------------------------- trials that share frames

ROWS = 6


def random_table(cell: Cell, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A table of drives, and rows of it for every trial and step: most several times, the last one never."""
    generator = torch.Generator().manual_seed(4)
    table = torch.randn(NETWORKS, ROWS, cell.gates * UNITS, generator=generator, dtype=dtype)
    return table, torch.randint(ROWS - 1, (NETWORKS, STEPS, BATCH), generator=generator)


@BOTH
def test_a_table_of_drives_is_its_rows_written_out(cell):
    table, index = random_table(cell)
    recurrent = random_weights(cell).recurrent
    leaves = [part.requires_grad_() for part in (recurrent, table)]
    before = table.detach().clone(), index.clone()
    out = torch.stack(
        [
            torch.stack([torch.stack([table[n, row] for row in rows]) for rows in index[n].tolist()])
            for n in range(NETWORKS)
        ]
    )
    expected = plain_unroll(cell, recurrent, out)
    weigh = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    slopes = torch.autograd.grad((weigh * expected).sum(), leaves)
    seen = torch.stack([torch.bincount(rows.flatten(), minlength=ROWS) for rows in index])
    assert torch.equal((slopes[1] != 0).any(-1), seen > 0) and seen.max() > 1 and (seen[:, -1] == 0).all()
    for hidden in (cell.unroll(recurrent, table, index), plain_unroll(cell, recurrent, table, index)):
        torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-13)
        for ours, slope in zip(torch.autograd.grad((weigh * hidden).sum(), leaves), slopes, strict=True):
            torch.testing.assert_close(ours, slope, rtol=0, atol=1e-12)
    assert torch.equal(table, before[0]) and torch.equal(index, before[1])


@BOTH
def test_explicit_backward_to_a_table_passes_gradcheck(cell):
    weights, index = random_weights(cell, units=2), torch.tensor([[[0, 1], [1, 1]], [[2, 0], [0, 2]]])
    table = torch.randn(NETWORKS, 4, cell.gates * 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    leaves = [weights.recurrent.requires_grad_(), table.requires_grad_()]
    assert torch.autograd.gradcheck(lambda recurrent, rows: cell.unroll(recurrent, rows, index), leaves)


def test_rows_are_summed_by_what_they_belong_to():
    values = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    index = torch.tensor([[3, 0, 3, 3, 1], [2, 2, 2, 2, 2]])
    expected = np.zeros((2, 4, 3))
    for network, place in np.ndindex(2, 5):
        expected[network, index[network, place]] += values[network, place].numpy()
    np.testing.assert_allclose(sum_rows(values, index, 4), expected, rtol=0, atol=1e-14)


# ---------------------------------------------------------------- products in a shorter type


def rounded(values: Tensor) -> Tensor:
    return values.bfloat16().float()


def product(left: Tensor, right: Tensor) -> Tensor:
    """Factors and result rounded to bfloat16, the sum kept longer."""
    return rounded((rounded(left).double() @ rounded(right).double()).float())


def with_rounded_products(cell: Cell, recurrent: Tensor, drive: Tensor) -> Tensor:
    """Hidden states in float32 with nothing rounded but factors and results of recurrent products."""
    units, hidden = recurrent.shape[1], []
    weight = recurrent.split(units, -1)
    h = c = drive.new_zeros(drive.shape[0], drive.shape[2], units)
    for drive_t in drive.unbind(1):
        d = drive_t.split(units, -1)
        if cell.name == "gru":
            z, r = (torch.sigmoid(d[k] + product(h, weight[k])) for k in (0, 1))
            h = (1 - z) * h + z * torch.tanh(d[2] + product(r * h, weight[2]))
        else:
            f, i, o = (torch.sigmoid(d[k] + product(h, weight[k])) for k in range(3))
            c = f * c + i * torch.tanh(d[3] + product(h, weight[3]))
            h = o * torch.tanh(c)
        hidden.append(h)
    return torch.stack(hidden, 1)


@BOTH
@pytest.mark.parametrize("shared", [False, True], ids=["own frames", "shared frames"])
def test_bfloat16_rounds_factors_and_results_of_products_and_nothing_else(cell, shared):
    generator = torch.Generator().manual_seed(7)
    recurrent = torch.randn(2, 16, cell.gates * 16, generator=generator) / 4
    table = torch.randn(2, 40, cell.gates * 16, generator=generator)
    index = torch.randint(40, (2, 20, 8), generator=generator)
    drive = torch.stack([rows[which] for rows, which in zip(table, index, strict=True)])
    leaves = [part.requires_grad_() for part in (recurrent, table if shared else drive)]
    ours = cell.unroll(recurrent, leaves[1], index if shared else None, torch.bfloat16)
    with torch.no_grad():
        exact, expected = plain_unroll(cell, recurrent, drive), with_rounded_products(cell, recurrent, drive)
    # Sums in another order may round to the other side now and then; a further rounding would happen always.
    assert (ours - expected).abs().mean() < 0.05 * (ours - exact).abs().mean()
    gradients = torch.autograd.grad(ours.square().sum(), leaves)
    assert {part.dtype for part in (ours, *gradients)} == {torch.float32}


# ---------------------------------------------------------------- speeds that follow from algebra


def zero_weights(cell: Cell, units: int = UNITS, networks: int = NETWORKS) -> Weights:
    return Weights(*(torch.zeros_like(part[:networks]) for part in random_weights(cell, units=units)))


HELD = torch.tensor([0.3, 0.3, 0.3, 0.0], dtype=torch.float64).expand(NETWORKS, 1, INPUTS)


def test_all_zero_gru_halves_its_state():
    h = torch.tensor([[[3.0, 4.0, 0, 0, 0], [0, 0, 0, 0, -2]], [[0, 0, 0, 0, 0], [1, 1, 1, 1, 0]]], dtype=torch.float64)
    expected = torch.tensor([[2.5, 1.0], [0.0, 1.0]], dtype=torch.float64)  # |h| / 2
    weights = zero_weights(GRU())
    torch.testing.assert_close(speed(GRU(), weights, (h,), HELD), expected)
    squared, (gradient,) = GRU().squared_speed_gradient(weights.recurrent, (h,), weights.drive(HELD))
    torch.testing.assert_close(squared, expected.square())
    torch.testing.assert_close(gradient, h / 2)  # of |h|^2 / 4


def test_all_zero_lstm_halves_its_cell():
    h, c = random_state(LSTM(), 3)
    new = np.tanh(c.numpy() / 2)  # c' = c / 2, and h' = tanh(c') / 2
    expected = np.sqrt(((new / 2 - h.numpy()) ** 2).sum(-1) + ((new - np.tanh(c.numpy())) ** 2).sum(-1))
    np.testing.assert_allclose(speed(LSTM(), zero_weights(LSTM()), (h, c), HELD), expected, rtol=1e-12)


def test_gru_pulled_towards_a_known_point():
    """No recurrence, z = 1/4, candidate 0.6 set by bias and held input: F(h) = 3/4 h + 0.15."""
    weights = zero_weights(GRU())
    weights.bias[:, :UNITS] = math.log(1 / 3)
    weights.bias[:, 2 * UNITS :] = math.atanh(0.6) - 0.3 * 2
    weights.inputs[:, 1, 2 * UNITS :] = 2.0
    weights.inputs[:, 3, :] = 50.0  # the trigger channel, silent in a held input
    h = torch.tensor([[[0.6] * 5, [0.2] * 5, [0.6, 0.6, -0.4, 0.6, 0.6]]], dtype=torch.float64).expand(NETWORKS, -1, -1)
    expected = torch.tensor([0.0, 0.25 * 0.4 * math.sqrt(5), 0.25], dtype=torch.float64).expand(NETWORKS, -1)
    torch.testing.assert_close(speed(GRU(), weights, (h,), HELD), expected, rtol=1e-12, atol=1e-12)


def test_bistable_gru_stands_still_at_its_memories():
    """Units that feed themselves by 2 with r = 1, z = 1/2: still where h = tanh 2h, which has three solutions."""
    weights = zero_weights(GRU(), units=2)
    weights.bias[:, 2:4] = 60.0
    weights.recurrent[:, [0, 1], [4, 5]] = 2.0
    a = brentq(lambda h: math.tanh(2 * h) - h, 0.5, 1, xtol=1e-15)
    points = [[a, a], [a, -a], [-a, 0.0], [0.5, a]]
    state = torch.tensor(points, dtype=torch.float64).expand(NETWORKS, -1, -1)
    found = speed(GRU(), weights, (state,), HELD)
    expected = torch.tensor([0, 0, 0, 0.5 * (math.tanh(1.0) - 0.5)], dtype=torch.float64).expand(NETWORKS, -1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    _, (gradient,) = GRU().squared_speed_gradient(weights.recurrent, (state,), weights.drive(HELD))
    assert gradient[:, :3].abs().max() < 1e-12
    assert gradient[:, 3].abs().max() > 0.01


def test_lstm_stands_still_where_gain_meets_loss():
    """f = 3/4, i = o = 1/2, candidate 1/2 without recurrence: c settles at 1, h at tanh(1) / 2."""
    weights = zero_weights(LSTM(), networks=1)
    weights.bias[:, :UNITS] = math.log(3)
    weights.bias[:, 3 * UNITS :] = math.atanh(0.5)
    still = torch.full((1, 1, UNITS), math.tanh(1) / 2, dtype=torch.float64), torch.ones(1, 1, UNITS).double()
    assert speed(LSTM(), weights, still, HELD[:1]).item() < 1e-12
    # With c at 0, c' = 1/4, whatever h: both h and tanh c move, h by tanh(1/4) / 2 and tanh c by tanh(1/4), per unit.
    rest = torch.zeros(1, 1, UNITS).double(), torch.zeros(1, 1, UNITS).double()
    expected = math.sqrt(UNITS * (0.25 + 1)) * math.tanh(0.25)
    assert speed(LSTM(), weights, rest, HELD[:1]).item() == pytest.approx(expected, rel=1e-12)


# ---------------------------------------------------------------- refusals


@BOTH
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_speed_refuses_states_that_are_not_finite(cell, bad):
    weights, state = random_weights(cell), random_state(cell, 3)
    state[-1][1, 2, 0] = bad
    state[-1][1, 2, 1] = bad
    state[-1][0, 0, 4] = bad
    with pytest.raises(ValueError, match="2 of 6 states are not finite"):
        speed(cell, weights, state, HELD)


@BOTH
@pytest.mark.parametrize(
    "shape", [(NETWORKS, 3, UNITS + 1), (NETWORKS + 1, 3, UNITS), (1, 3, UNITS), (NETWORKS, UNITS)], ids=str
)
def test_speed_refuses_states_of_another_shape(cell, shape):
    state = tuple(torch.zeros(shape, dtype=torch.float64) for _ in random_state(cell, 1))
    with pytest.raises(ValueError) as error:
        speed(cell, random_weights(cell), state, HELD)
    assert str(shape) in str(error.value) and f"({NETWORKS}, points, {UNITS})" in str(error.value)


@pytest.mark.parametrize("points", [1, 2])
def test_speed_refuses_an_h_and_a_c_of_different_points(points):
    """One point of c would otherwise silently stand in for all."""
    (h, _), (_, c) = random_state(LSTM(), 3), random_state(LSTM(), points)
    with pytest.raises(ValueError) as error:
        speed(LSTM(), random_weights(LSTM()), (h, c), HELD)
    assert str(tuple(h.shape)) in str(error.value) and str(tuple(c.shape)) in str(error.value)


@BOTH
@pytest.mark.parametrize(
    "shape", [(NETWORKS, 1, INPUTS - 1), (NETWORKS, 3, INPUTS), (1, 1, INPUTS), (1, INPUTS)], ids=str
)
def test_speed_refuses_a_held_input_of_another_shape(cell, shape):
    with pytest.raises(ValueError) as error:
        speed(cell, random_weights(cell), random_state(cell, 3), torch.zeros(shape, dtype=torch.float64))
    assert str(shape) in str(error.value) and str((NETWORKS, 1, INPUTS)) in str(error.value)


# ---------------------------------------------------------------- a cell of one's own


class Vanilla(Cell):
    """h' = tanh(W x + U h + b)."""

    name = "vanilla"
    gates = 1

    def step(self, recurrent: Tensor, state: State, drive: Tensor) -> State:
        return (torch.tanh(drive + state[0] @ recurrent),)


def test_a_new_cell_needs_no_more_than_a_step(monkeypatch):
    cell = Vanilla()
    monkeypatch.setitem(CELLS, "vanilla", cell)
    weights, x = random_weights(cell), random_inputs()
    leaves = [part.requires_grad_() for part in (*weights, x)]
    hidden = cell.sequence(weights, x)
    h = np.zeros((BATCH, UNITS))
    w, u, b = (part[1].detach().numpy() for part in weights)
    for t in range(STEPS):
        h = np.tanh(x[1, t].detach().numpy() @ w + h @ u + b)
        np.testing.assert_allclose(hidden[1, t].detach(), h, rtol=0, atol=1e-13)
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(hidden.sum(), leaves))

    weights = Weights(*(part.detach() for part in weights))
    (h,) = random_state(cell, BATCH)
    drive = weights.drive(HELD)
    with torch.no_grad():  # as in a search
        squared, (gradient,) = cell.squared_speed_gradient(weights.recurrent, (h,), drive)
    after = torch.tanh(drive + h @ weights.recurrent)
    torch.testing.assert_close(squared, (after - h).square().sum(-1))
    expected = 2 * (((after - h) * (1 - after.square())) @ weights.recurrent.transpose(1, 2) - (after - h))
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(squared_change(cell, (h,), (after,)), squared)
    torch.testing.assert_close(cell.advance(weights, (h,), HELD)[0], after)

    networks = nets.initial("vanilla", [0, 1], INPUTS, UNITS, 11)
    assert networks.weights.recurrent.shape == (2, UNITS, UNITS)
    assert networks.logits(cell.sequence(networks.weights, x.detach().float())).shape == (2, STEPS, BATCH, 11)
