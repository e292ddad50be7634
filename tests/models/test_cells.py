"""Cells against implementations written a second time from the equations, and the speed where algebra gives it."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from reference import Leaky, plain_step
from scipy.optimize import brentq
from torch import Tensor

from memrnn.models import networks as nets
from memrnn.models.cell import Cell, State, Weights, plain_unroll, speed, squared_change
from memrnn.models.cells import CELLS
from memrnn.models.gru import GRU
from memrnn.models.lstm import LSTM
from memrnn.models.unrolling import sum_rows

NETWORKS, STEPS, BATCH, INPUTS, UNITS = 2, 6, 3, 4, 5
EVERY = pytest.mark.parametrize("cell", CELLS.values(), ids=lambda cell: cell.name)
UNROLLED = pytest.mark.parametrize("cell", [GRU(), LSTM()], ids=lambda cell: cell.name)  # with a way back of their own


def random_weights(cell: Cell, dtype: torch.dtype = torch.float64, units: int = UNITS, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((NETWORKS, *shape) for shape in cell.shapes(INPUTS, units))
    return cell.weights_type(*(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes))


def random_inputs(dtype: torch.dtype = torch.float64, steps: int = STEPS) -> Tensor:
    return torch.randn(NETWORKS, steps, BATCH, INPUTS, generator=torch.Generator().manual_seed(1), dtype=dtype)


def plain_sequence(cell: Cell, weights: Weights, x: Tensor) -> Tensor:
    """`plain_unroll` under inputs x, with the drive of each step computed by itself."""
    drive = torch.stack([cell.drive(weights, x_t) for x_t in x.unbind(1)], 1)
    return plain_unroll(cell, weights, drive)


def random_state(cell: Cell, points: int, dtype: torch.dtype = torch.float64) -> State:
    like = torch.zeros((), dtype=dtype)
    generator = torch.Generator().manual_seed(2)
    parts = cell.initial_state(NETWORKS, points, UNITS, like)
    return tuple(torch.randn(part.shape, generator=generator, dtype=dtype) for part in parts)


# ---------------------------------------------------------------- the equations, written again


@EVERY
def test_sequences_follow_the_equations(cell):
    weights, x = random_weights(cell), random_inputs()
    hidden = (cell.sequence(weights, x), plain_sequence(cell, weights, x))
    for network in range(NETWORKS):
        own = {name: part[network].numpy() for name, part in weights._asdict().items()}
        for trial in range(BATCH):
            state = [np.zeros(UNITS) for _ in cell.bounds]
            for t in range(STEPS):
                state = plain_step(cell.name, own, state, x[network, t, trial].numpy())
                for sequence in hidden:
                    np.testing.assert_allclose(sequence[network, t, trial], state[0], rtol=0, atol=1e-13)


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
            state = cell.step(weights, state, cell.drive(weights, x[:, t]))
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


@EVERY
@pytest.mark.parametrize("steps", [1, 3])
def test_explicit_backward_passes_gradcheck(cell, steps):
    x = random_inputs(steps=steps)[:, :, :2].clone()
    leaves = [part.requires_grad_() for part in (*random_weights(cell, units=2), x)]
    assert torch.autograd.gradcheck(lambda *parts: cell.sequence(cell.weights_type(*parts[:-1]), parts[-1]), leaves)


@EVERY
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
    assert all(part.abs().max() > 0.1 for part in (gradients[0], gradients[2], gradients[-1]))
    # Nothing that the pass keeps is spoiled by the first way back.
    for again, before in zip(torch.autograd.grad(loss, leaves), gradients, strict=True):
        assert torch.equal(again, before)


@EVERY
def test_sequence_leaves_its_inputs_alone_and_skips_the_gradient_of_x(cell):
    weights, x = random_weights(cell), random_inputs()
    leaves = [part.requires_grad_() for part in weights]
    before = [part.detach().clone() for part in (*weights, x)]
    gradients = torch.autograd.grad(cell.sequence(weights, x).sum(), leaves)
    assert all(torch.equal(now, then) for now, then in zip((*weights, x), before, strict=True))
    x.requires_grad_()
    with_x = torch.autograd.grad(cell.sequence(weights, x).sum(), [*leaves, x])
    assert all(torch.equal(a, b) for a, b in zip(gradients, with_x[:-1], strict=True))


@EVERY
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_advance_equals_step_and_keeps_the_state_it_came_from(cell, dtype, tolerance):
    weights, x, state = random_weights(cell, dtype), random_inputs(dtype), random_state(cell, BATCH, dtype)
    for t in range(STEPS):
        before = tuple(part.clone() for part in state)
        expected = cell.step(weights, state, cell.drive(weights, x[:, t]))
        after = cell.advance(weights, state, x[:, t])
        for ours, plain, kept, original in zip(after, expected, state, before, strict=True):
            torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance)
            assert torch.equal(kept, original)
        state = after


@EVERY
@pytest.mark.parametrize("batch", [1, BATCH], ids=["held drive", "a drive for each point"])
def test_explicit_gradient_of_the_squared_speed_equals_autograd(cell, batch):
    weights, state = random_weights(cell), random_state(cell, BATCH)
    drive = cell.drive(weights, random_inputs()[:, 0, :batch])
    before = drive.clone(), tuple(part.clone() for part in state)
    squared, gradient = cell.squared_speed_gradient(weights, state, drive)
    expected_squared, expected_gradient = Cell.squared_speed(cell, weights, drive, BATCH)(state)
    assert squared.shape == (NETWORKS, BATCH)
    torch.testing.assert_close(squared, expected_squared, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(gradient, expected_gradient, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
        assert expected.abs().max() > 0.1
    # A search calls this thousands of times with one drive.
    evaluate = cell.squared_speed(weights, drive, BATCH)
    kept = [part.clone() for part in evaluate(state)[1]]
    evaluate(tuple(2 * part for part in state))
    assert all(torch.equal(now, then) for now, then in zip(evaluate(state)[1], kept, strict=True))
    assert torch.equal(drive, before[0])
    assert all(torch.equal(now, then) for now, then in zip(state, before[1], strict=True))


@EVERY
def test_speed_is_the_root_of_what_the_search_lowers(cell):
    weights, state = random_weights(cell), random_state(cell, BATCH)
    x = random_inputs()[:, 0, :1]
    squared, _ = cell.squared_speed_gradient(weights, state, cell.drive(weights, x))
    torch.testing.assert_close(speed(cell, weights, state, x).square(), squared, rtol=1e-12, atol=0)


@EVERY
def test_a_state_stays_within_the_bounds_of_its_cell(cell):
    """Hard driven from the zero state; and under a held drive no state that has come to rest lies out of reach."""
    strong = cell.weights_type(*(4 * part for part in random_weights(cell)))
    state = cell.initial_state(NETWORKS, BATCH, UNITS, strong.bias)
    assert len(state) == len(cell.bounds)
    furthest = [torch.zeros(())] * len(state)
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        state = cell.step(
            strong, state, 9 * torch.randn(NETWORKS, BATCH, cell.gates * UNITS, generator=generator).double()
        )
        furthest = [torch.maximum(most, part.abs().max()) for most, part in zip(furthest, state, strict=True)]
    assert all(most <= bound for most, bound in zip(furthest, cell.bounds, strict=True))
    assert furthest[0] > 0.9  # the bound of h is no looser than it need be

    weights, drive = cell.weights_type(*(part / 2 for part in random_weights(cell))), random_drive(cell, 1)
    state = random_state(cell, 20)
    for _ in range(2000):
        before, state = state, cell.step(weights, state, drive)
    still = squared_change(cell, before, state) < 1e-20
    assert still.any()
    for part, most in zip(state, cell.reach(weights, drive), strict=True):
        assert (part.abs() <= most * (1 + 1e-9))[still].all()


# ---------------------------------------------------------------- derivative of one step


def random_drive(cell: Cell, points: int, seed: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(NETWORKS, points, cell.gates * UNITS, generator=generator, dtype=torch.float64)


@EVERY
@pytest.mark.parametrize("points", [1, BATCH], ids=["one drive", "a drive each"])
def test_the_closed_jacobian_is_that_of_automatic_differentiation(cell, points):
    state, drive = random_state(cell, BATCH), random_drive(cell, points)
    for weights in (random_weights(cell), zero_weights(cell)):
        ours, automatic = (kind.jacobian(weights, state, drive) for kind in (cell, CellByStep(cell)))
        assert ours.shape == (NETWORKS, BATCH, len(state) * UNITS, len(state) * UNITS)
        torch.testing.assert_close(ours, automatic, rtol=0, atol=1e-13)
        single = cell.jacobian(single_precision(weights), tuple(part.float() for part in state), drive.float())
        torch.testing.assert_close(single, ours.float(), rtol=0, atol=1e-5)


@EVERY
def test_the_jacobian_is_what_small_moves_of_the_state_do(cell):
    """Central differences, moving one number of one state at a time; rows are the next state, columns the state."""
    weights, state, drive = random_weights(cell), random_state(cell, BATCH), random_drive(cell, 1)
    ours, by_step = (kind.jacobian(weights, state, drive) for kind in (cell, CellByStep(cell)))
    move = 1e-6
    for column in range(len(state) * UNITS):
        ends = []
        for sign in (1, -1):
            moved = torch.cat(state, -1)
            moved[..., column] += sign * move
            ends.append(torch.cat(cell.step(weights, tuple(moved.split(UNITS, -1)), drive), -1))
        expected = (ends[0] - ends[1]) / (2 * move)
        for jacobian in (ours, by_step):
            torch.testing.assert_close(jacobian[..., column], expected, rtol=0, atol=1e-8)


class CellByStep(Cell):
    """Another cell's step with whatever the base class makes of it."""

    def __init__(self, cell: Cell):
        self.step, self.observe, self.weights_type = cell.step, cell.observe, cell.weights_type


def single_precision(weights: Any) -> Any:
    return type(weights)(*(part.float() for part in weights))


# ---------------------------------------------------------------- trials that share frames

ROWS = 6


def random_table(cell: Cell, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A table of drives, and rows of it for every trial and step: most several times, the last one never."""
    generator = torch.Generator().manual_seed(4)
    table = torch.randn(NETWORKS, ROWS, cell.gates * UNITS, generator=generator, dtype=dtype)
    return table, torch.randint(ROWS - 1, (NETWORKS, STEPS, BATCH), generator=generator)


@EVERY
def test_a_table_of_drives_is_its_rows_written_out(cell):
    table, index = random_table(cell)
    weights = random_weights(cell)
    leaves = [part.requires_grad_() for part in (weights.recurrent, table)]
    before = table.detach().clone(), index.clone()
    out = torch.stack(
        [
            torch.stack([torch.stack([table[n, row] for row in rows]) for rows in index[n].tolist()])
            for n in range(NETWORKS)
        ]
    )
    expected = plain_unroll(cell, weights, out)
    weigh = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    slopes = torch.autograd.grad((weigh * expected).sum(), leaves)
    seen = torch.stack([torch.bincount(rows.flatten(), minlength=ROWS) for rows in index])
    assert torch.equal((slopes[1] != 0).any(-1), seen > 0) and seen.max() > 1 and (seen[:, -1] == 0).all()
    for hidden in (cell.unroll(weights, table, index), plain_unroll(cell, weights, table, index)):
        torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-13)
        for ours, slope in zip(torch.autograd.grad((weigh * hidden).sum(), leaves), slopes, strict=True):
            torch.testing.assert_close(ours, slope, rtol=0, atol=1e-12)
    assert torch.equal(table, before[0]) and torch.equal(index, before[1])


@EVERY
def test_explicit_backward_to_a_table_passes_gradcheck(cell):
    weights, index = random_weights(cell, units=2), torch.tensor([[[0, 1], [1, 1]], [[2, 0], [0, 2]]])
    table = torch.randn(NETWORKS, 4, cell.gates * 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    leaves = [weights.recurrent.requires_grad_(), table.requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda recurrent, rows: cell.unroll(weights._replace(recurrent=recurrent), rows, index), leaves
    )


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


@UNROLLED
@pytest.mark.parametrize("shared", [False, True], ids=["own frames", "shared frames"])
def test_bfloat16_rounds_factors_and_results_of_products_and_nothing_else(cell, shared):
    generator = torch.Generator().manual_seed(7)
    recurrent = torch.randn(2, 16, cell.gates * 16, generator=generator) / 4
    weights = Weights(recurrent, recurrent, recurrent[:, 0])  # of which the second counts
    table = torch.randn(2, 40, cell.gates * 16, generator=generator)
    index = torch.randint(40, (2, 20, 8), generator=generator)
    drive = torch.stack([rows[which] for rows, which in zip(table, index, strict=True)])
    leaves = [part.requires_grad_() for part in (recurrent, table if shared else drive)]
    ours = cell.unroll(weights, leaves[1], index if shared else None, torch.bfloat16)
    with torch.no_grad():
        exact, expected = plain_unroll(cell, weights, drive), with_rounded_products(cell, recurrent, drive)
    # Sums in another order may round to the other side now and then; a further rounding would happen always.
    assert (ours - expected).abs().mean() < 0.05 * (ours - exact).abs().mean()
    gradients = torch.autograd.grad(ours.square().sum(), leaves)
    assert {part.dtype for part in (ours, *gradients)} == {torch.float32}


# ---------------------------------------------------------------- speeds that follow from algebra


def zero_weights(cell: Cell, units: int = UNITS, networks: int = NETWORKS) -> Weights:
    return cell.weights_type(*(torch.zeros_like(part[:networks]) for part in random_weights(cell, units=units)))


HELD = torch.tensor([0.3, 0.3, 0.3, 0.0], dtype=torch.float64).expand(NETWORKS, 1, INPUTS)


def test_all_zero_gru_halves_its_state():
    h = torch.tensor([[[3.0, 4.0, 0, 0, 0], [0, 0, 0, 0, -2]], [[0, 0, 0, 0, 0], [1, 1, 1, 1, 0]]], dtype=torch.float64)
    expected = torch.tensor([[2.5, 1.0], [0.0, 1.0]], dtype=torch.float64)  # |h| / 2
    weights = zero_weights(GRU())
    torch.testing.assert_close(speed(GRU(), weights, (h,), HELD), expected)
    squared, (gradient,) = GRU().squared_speed_gradient(weights, (h,), GRU().drive(weights, HELD))
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
    _, (gradient,) = GRU().squared_speed_gradient(weights, (state,), GRU().drive(weights, HELD))
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


@EVERY
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_speed_refuses_states_that_are_not_finite(cell, bad):
    weights, state = random_weights(cell), random_state(cell, 3)
    state[-1][1, 2, 0] = bad
    state[-1][1, 2, 1] = bad
    state[-1][0, 0, 4] = bad
    with pytest.raises(ValueError, match="2 of 6 states are not finite"):
        speed(cell, weights, state, HELD)


@EVERY
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


@EVERY
@pytest.mark.parametrize(
    "shape", [(NETWORKS, 1, INPUTS - 1), (NETWORKS, 3, INPUTS), (1, 1, INPUTS), (1, INPUTS)], ids=str
)
def test_speed_refuses_a_held_input_of_another_shape(cell, shape):
    with pytest.raises(ValueError) as error:
        speed(cell, random_weights(cell), random_state(cell, 3), torch.zeros(shape, dtype=torch.float64))
    assert str(shape) in str(error.value) and str((NETWORKS, 1, INPUTS)) in str(error.value)


# ---------------------------------------------------------------- a cell of one's own


def test_a_cell_with_a_parameter_of_its_own_needs_no_more_than_its_shapes_and_a_step(monkeypatch):
    monkeypatch.setitem(CELLS, "leaky", cell := Leaky())
    networks = nets.initial("leaky", [0, 1], INPUTS, UNITS, 11).to(torch.float64)
    assert networks.parameters["rate"].shape == (2, UNITS)
    assert networks.parameters["rate"].abs().max() < 0.06  # 0.01 N(0, 1), as other vectors
    weights, x, (h,) = networks.weights, random_inputs(), random_state(cell, BATCH)
    rate = torch.sigmoid(weights.rate).unsqueeze(1)
    hidden = cell.sequence(weights, x)
    expected = torch.zeros_like(hidden[:, 0])
    for t in range(STEPS):
        inner = x[:, t] @ weights.inputs + expected @ weights.recurrent + weights.bias.unsqueeze(1)
        expected = (1 - rate) * expected + rate * torch.tanh(inner)
        torch.testing.assert_close(hidden[:, t], expected)
    drive = cell.drive(weights, HELD)
    squared, (gradient,) = cell.squared_speed_gradient(weights, (h,), drive)
    n = torch.tanh(drive + h @ weights.recurrent)
    torch.testing.assert_close(squared, (rate * (n - h)).square().sum(-1))
    moved = 2 * rate.square() * (n - h)
    torch.testing.assert_close(gradient, (moved * (1 - n.square())) @ weights.recurrent.mT - moved)
    found = cell.jacobian(weights, (h,), drive)
    assert found.shape == (2, BATCH, UNITS, UNITS)
    torch.testing.assert_close(found.sum(-1), torch.func.jvp(
        lambda h: cell.step(weights, (h,), drive)[0], (h,), (torch.ones_like(h),)
    )[1])  # fmt: skip
