"""The search by itself: maps whose slow points are known, cells of torch.nn, another optimiser, and what it refuses."""

import math
from numbers import Integral

import numpy as np
import pytest
import torch
from reference import plain_step, random_networks, weights_of
from scipy import optimize
from torch import Tensor

from memrnn.data.images import ImageSet
from memrnn.dynamics.points import centroids, descend, search_ensemble
from memrnn.dynamics.search import SlowPoints, search
from memrnn.models import networks as nets
from memrnn.models.cell import State, speed
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks
from memrnn.tasks.delayed_classification import held_input
from memrnn.tasks.protocols import Lesson
from memrnn.training import engine
from memrnn.training.engine import Update

pytestmark = pytest.mark.usefixtures("one_thread")

BOTH = pytest.mark.parametrize("cell", ["gru", "lstm"])
UNITS, INPUTS, MEAN = 6, 5, 0.4
# Far enough for a minimum: Adam settles to about its rate, and the last one is small.
SETTLED = {"search_steps": 1500, "learning_rate": 1e-2, "drop_step": 800, "drop_factor": 1e-2}


def uniform(*shape: int, reach: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)


def doubled(cell: str, **settings) -> Networks:
    return random_networks(cell, inputs=INPUTS, **settings).to(torch.float64)


def starts(cell: str, networks: int = 2, points: int = 3, units: int = UNITS) -> State:
    return tuple(uniform(networks, points, units, seed=k) for k in range({"gru": 1, "lstm": 2}[cell]))


def torch_cell(kind: type, seed: int = 0, **settings) -> torch.nn.RNNCellBase:
    torch.manual_seed(seed)
    return kind(INPUTS, UNITS, dtype=torch.float64, **settings)


def search_networks(networks: Networks, start: State, x: Tensor, search_steps, **settings):
    """`search_ensemble` with one budget or several, as `search` takes them."""
    several = not isinstance(search_steps, Integral)
    found = search_ensemble(networks, x, start, search_steps if several else [search_steps], **settings)
    return found if several else found[0]


# ------------------------------------------------------------------------------------------ maps that are known


def test_a_linear_map_ends_at_its_fixed_point():
    """Any map, any number of leading axes, any inputs; unbounded, since the point lies outside the cube."""
    a = torch.tensor([[0.5, -0.3, 0.0], [0.2, 0.3, 0.1], [0.0, 0.4, -0.6]]).double()
    push = {"b": torch.tensor([0.9, 0.6, 0.2]).double()}
    fixed = torch.linalg.solve(torch.eye(3).double() - a, push["b"])
    assert fixed.abs().max() > 1.2
    start = uniform(2, 5, 3)
    kept = start.clone()
    found = search(lambda h, push: h @ a.T + push["b"], start, push, **SETTLED)
    torch.testing.assert_close(found.state, fixed.expand(2, 5, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.distance, (start - fixed).norm(dim=-1), rtol=0, atol=1e-4)
    assert found.speed.max() < 1e-4
    assert torch.equal(start, kept)
    assert not found.at_bound.any()
    clipped = search(lambda h, push: h @ a.T + push["b"], start, push, **SETTLED, bound=1.0)
    assert clipped.state.abs().max() == 1
    assert (clipped.speed > 0.01).all() and clipped.at_bound.all()


def test_a_gru_of_two_units_has_the_fixed_points_that_a_root_finder_finds():
    networks = doubled("gru", units=2, scale=1.0)
    networks.weights.recurrent[0, :, 4:] = torch.tensor([[3.5, -0.8], [0.9, 2.8]])
    one = nets.from_parameters("gru", {k: v[:1] for k, v in networks.parameters.items()}, [0], ["trained"])
    weights, x = weights_of(one), held_input(one, MEAN)

    def change(h: np.ndarray) -> np.ndarray:
        return plain_step("gru", weights, [h], x[0, 0].numpy())[0] - h

    solved = [optimize.root(change, guess, tol=1e-13) for guess in uniform(60, 2).numpy()]
    # Far outside, where z is nothing, the finder takes every state for a root; a GRU's fixed points lie inside.
    inside = [each.x for each in solved if abs(each.fun).max() < 1e-12 and abs(each.x).max() < 1]
    roots = np.unique(np.round(inside, 9), axis=0)
    assert len(roots) >= 5  # memories, and saddles between them
    start = torch.tensor(roots).unsqueeze(0) + uniform(1, len(roots), 2, reach=0.02)
    found = search_networks(one, (start,), x, **SETTLED)
    np.testing.assert_allclose(found.state[0][0], roots, rtol=0, atol=1e-6)
    assert found.speed.max() < 1e-6


# ---------------------------------------------------------------------------------------- maps of several kinds


@pytest.mark.parametrize("kind", [torch.nn.GRUCell, torch.nn.RNNCell, torch.nn.LSTMCell])
def test_cells_of_torch_are_searched_as_the_maps_they_are(kind):
    cell, lstm = torch_cell(kind), kind is torch.nn.LSTMCell
    parts = tuple(uniform(2, 3, UNITS, seed=k) for k in range(2 if lstm else 1))
    start, x = parts if lstm else parts[0], uniform(INPUTS, seed=5)
    found = search(cell, start, x, search_steps=40, learning_rate=1e-2)
    flat = tuple(part.flatten(0, 1) for part in parts)

    def step(state, inputs):
        """As the cell is called by itself."""
        return cell(inputs, state)

    by_step = search(
        step, flat if lstm else flat[0], x, search_steps=40, learning_rate=1e-2,
        observe=CELLS["lstm"].observe if lstm else None,
    )  # fmt: skip
    for ours, theirs in zip(found, by_step, strict=True):
        pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
        for mine, their in pairs:
            torch.testing.assert_close(mine.flatten(0, 1), their, rtol=0, atol=1e-12)
    assert all(values.grad is None for values in cell.parameters())

    state = tuple(part.flatten(0, 1) for part in (found.state if lstm else (found.state,)))
    after = cell(x.expand(6, -1), state if lstm else state[0])
    after = after if lstm else (after,)
    squared = (after[0] - state[0]).square().sum(-1)
    if lstm:
        squared = squared + (after[1].tanh() - state[1].tanh()).square().sum(-1)
    torch.testing.assert_close(found.speed.flatten(), squared.sqrt())
    moved = (state[0] - flat[0]).square().sum(-1)
    if lstm:
        moved += (state[1].tanh() - flat[1].tanh()).square().sum(-1)
    torch.testing.assert_close(found.distance.flatten(), moved.sqrt())
    assert (found.distance > 0.1).all()


def test_torchs_lstm_cell_and_ours_with_the_same_weights_have_the_same_slow_points():
    networks, start, x = doubled("lstm"), starts("lstm"), torch.full((INPUTS,), MEAN).double()
    x[-1] = 0
    ours = search_networks(networks, start, held_input(networks, MEAN), search_steps=[5, 60], learning_rate=1e-2)

    def in_torchs_order(values: Tensor) -> Tensor:
        """Columns f, i, o, g as rows i, f, g, o."""
        f, i, o, g = values.chunk(4, -1)
        return torch.cat([i, f, g, o], -1).mT if values.ndim == 2 else torch.cat([i, f, g, o], -1)

    for network in range(2):
        cell = torch_cell(torch.nn.LSTMCell)
        with torch.no_grad():
            cell.weight_ih.copy_(in_torchs_order(networks.weights.inputs[network]))
            cell.weight_hh.copy_(in_torchs_order(networks.weights.recurrent[network]))
            cell.bias_ih.copy_(in_torchs_order(networks.weights.bias[network]))
            cell.bias_hh.zero_()
        theirs = search(cell, tuple(part[network] for part in start), x, search_steps=[5, 60], learning_rate=1e-2)
        for mine, their in zip(ours, theirs, strict=True):
            for part in range(2):
                torch.testing.assert_close(mine.state[part][network], their.state[part], rtol=0, atol=1e-7)
            torch.testing.assert_close(mine.speed[network], their.speed, rtol=0, atol=1e-7)
            torch.testing.assert_close(mine.distance[network], their.distance, rtol=0, atol=1e-7)


@BOTH
def test_an_ensemble_is_searched_as_its_networks_are_by_their_steps(cell):
    networks, start = doubled(cell), starts(cell)
    x = held_input(networks, MEAN)
    settings = {"learning_rate": 1e-2, "drop_step": 20, "drop_factor": 0.1}
    whole = search_networks(networks, start, x, search_steps=[10, 50], **settings)
    for descended, ours in zip(descend(networks, MEAN, start, [10, 50], *settings.values()), whole, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(descended, ours.state, strict=True))
    for network in range(2):
        one = networks.only(network)

        def step(state: State, x: Tensor, one: Networks = one) -> State:
            return tuple(part.squeeze(0) for part in one.step(tuple(part.unsqueeze(0) for part in state), x[None]))

        by_step = search(
            step, tuple(part[network] for part in start), x[network, 0], search_steps=[10, 50], bound=1.0,
            observe=networks.cell.observe, **settings,
        )  # fmt: skip
        for ours, theirs in zip(whole, by_step, strict=True):
            for part, other in zip(ours.state, theirs.state, strict=True):
                torch.testing.assert_close(part[network], other, rtol=0, atol=1e-9)
            torch.testing.assert_close(ours.speed[network], theirs.speed, rtol=0, atol=1e-9)
            torch.testing.assert_close(ours.distance[network], theirs.distance, rtol=0, atol=1e-9)


def test_inputs_are_broadcast_over_states_or_belong_to_each():
    cell, start = torch_cell(torch.nn.GRUCell), uniform(2, 3, UNITS)
    x = uniform(2, 3, INPUTS, seed=3)
    found = search(cell, start, x, search_steps=20, learning_rate=1e-2)
    for index in np.ndindex(2, 3):
        alone = search(cell, start[index], x[index], search_steps=20, learning_rate=1e-2)
        torch.testing.assert_close(alone.state, found.state[index], rtol=0, atol=1e-12)
        torch.testing.assert_close(alone.speed, found.speed[index], rtol=0, atol=1e-12)
    shared = search(cell, start, x[:1, :1], search_steps=20, learning_rate=1e-2)
    torch.testing.assert_close(shared.state[0, 0], found.state[0, 0], rtol=0, atol=1e-12)
    assert (shared.state - found.state).abs()[1].max() > 1e-3


def test_one_budget_gives_one_answer_and_several_a_list():
    cell, start, x = torch_cell(torch.nn.GRUCell), uniform(3, UNITS), uniform(INPUTS, seed=3)
    several = search(cell, start, x, search_steps=[1, 7, 20])
    assert [each.steps.tolist() for each in several] == [[1] * 3, [7] * 3, [20] * 3]
    for budget, expected in zip([1, 7, 20], several, strict=True):
        alone = search(cell, start, x, search_steps=np.int64(budget))  # as out of an array
        assert isinstance(alone, SlowPoints)
        assert all(torch.equal(one, other) for one, other in zip(alone, expected, strict=True))
    counted = search(cell, start, x, search_steps=np.array([1, 7, 20]))
    assert [each.steps.tolist() for each in counted] == [each.steps.tolist() for each in several]
    assert not several[-1].converged.any()  # nothing was asked
    assert not several[0].state.requires_grad


# -------------------------------------------------------------------------------------------------- when to stop


def test_the_stopping_rule_changes_a_speed_by_its_tolerance_at_most():
    step, start, x = torch_cell(torch.nn.GRUCell), uniform(2, 20, UNITS), uniform(INPUTS, seed=3)
    budgets = [50, 400, 1000]
    free = search(step, start, x, search_steps=budgets)
    tolerance = free[1].speed.quantile(0.3).item()
    stopped = search(step, start, x, search_steps=budgets, tolerance=tolerance)
    assert 0 < stopped[1].converged.sum() < stopped[2].converged.sum() < 40  # some by then, more later, never all
    for ours, theirs in zip(stopped, free, strict=True):
        assert (ours.speed - theirs.speed).abs().max() <= tolerance
        assert ours.speed.shape == ours.steps.shape == (2, 20)
        assert torch.equal(ours.converged, ours.speed <= tolerance)
        going = ~ours.converged
        for mine, their in zip(ours, theirs, strict=True):
            assert torch.equal(mine[going], their[going])
    last = stopped[-1]
    assert (last.speed - free[-1].speed).max() > tolerance / 2  # so that the test can fail
    # A stopped point is the free search's at the step where it stopped, the first one that is slow enough.
    network, point = torch.nonzero(last.converged)[0].tolist()
    steps = int(last.steps[network, point])
    assert 1 < steps < 1000
    there, before = (search(step, start, x, search_steps=number) for number in (steps, steps - 1))
    assert torch.equal(there.state[network, point], last.state[network, point])
    assert before.speed[network, point] > tolerance >= there.speed[network, point]


def test_the_search_ends_when_all_points_have_stopped():
    calls = []

    def step(h: Tensor) -> Tensor:
        calls.append(1)
        return h / 2

    start = torch.tensor([[0.0, 0.001], [0.0, 0.05], [1.5, 0.0]]).double()
    first, last = search(step, start[:2], None, search_steps=[20, 10**9], tolerance=1e-3)
    assert len(calls) < 200
    assert first.steps[0] == last.steps[0] == 0
    assert torch.equal(last.state[0], start[0])  # slow enough from the start
    assert last.converged.all() and first.converged.tolist() == [True, False]
    assert first.steps[1] == 20 < last.steps[1]
    assert last.speed[1] <= 1e-3
    still = search(step, start[2:], None, search_steps=50, tolerance=1.0)
    assert torch.equal(still.state, start[2:])  # neither moved nor clipped


# -------------------------------------------------------------------------------------------- another optimiser


def trained_networks(cell: str, digits: ImageSet) -> Networks:
    """Networks that tell four digits apart over a short delay, so that they have memories."""
    start = nets.initial(cell, [0, 4], 65, 16, 11)
    made = engine.choose({"device": "cpu", "precision": "float32", "shared_frames": None, "float32_library": "mkl"})
    update = Update(start, digits, made, "test", batch=16, min_delay=1, full_steps=8, learning_rate=1e-2)
    for _ in range(300):
        update(Lesson(4, 8))
    return update.networks


def by_scipy(networks: Networks, network: int, x: Tensor, start: list[Tensor], box: float) -> tuple[np.ndarray, float]:
    """Bounded L-BFGS-B on S^2 of one point in float64: state and speed where it ends.

    It stays within `box` of the start, and h in [-1, 1].
    """
    units = networks.readout.shape[1]
    weights = networks.only(network).weights
    drive = networks.drive(x)[network : network + 1]

    def squared(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """By the step as it is written, under automatic differentiation."""
        leaf = torch.tensor(flat, requires_grad=True)
        state = tuple(part.view(1, 1, units) for part in leaf.split(units))
        pairs = zip(*map(networks.cell.observe, (networks.cell.step(weights, state, drive), state)), strict=True)
        value = sum((new - old).square().sum() for new, old in pairs)
        value.backward()
        return value.item(), leaf.grad.numpy()

    origin = torch.cat(start).numpy()
    low, high = origin - box, origin + box
    low[:units], high[:units] = low[:units].clip(-1), high[:units].clip(max=1)
    found = optimize.minimize(
        squared, origin, jac=True, method="L-BFGS-B", bounds=optimize.Bounds(low, high),
        options={"maxiter": 3000, "maxfun": 6000, "ftol": 1e-16, "gtol": 1e-10},
    )  # fmt: skip
    return found.x, math.sqrt(found.fun)


TOLERANCE = 1e-3


@BOTH
@pytest.mark.parametrize("kind", ["random", "trained"])
def test_no_minimum_of_another_optimiser_in_the_same_basin_is_lower(cell, kind, digits):
    """Bounded L-BFGS-B finds no state whose speed is lower by more than 1e-3, a tenth of the starts' or less.

    In the same basin: within 0.1 of each coordinate of where the search ended; for a GRU also from the start, if it
    ends less than 0.1 away. For an LSTM it does not: c has no bound, and where tanh c saturates the speed sinks ever
    further outwards, so that without a box it runs to a c of tens or hundreds.
    """
    if kind == "random":
        networks, mean = doubled(cell), MEAN
        start = starts(cell, points=6)
    else:
        networks, mean = trained_networks(cell, digits), digits.mean
        start = tuple(part[:, :4].double() for part in centroids(networks, digits, 14, 1 / 3).state)
        networks = networks.like({name: values.detach().double() for name, values in networks.parameters.items()})
    x = held_input(networks, mean)
    found = search_networks(networks, start, x, search_steps=20_000, learning_rate=2e-3, drop_step=10_000)
    first = speed(networks.cell, networks.weights, start, x)
    assert first.median() > 10 * TOLERANCE and first.median() > 5 * found.speed.median()
    same_basin = 0
    for network, point in np.ndindex(*found.speed.shape):
        here = [part[network, point] for part in found.state]
        _, nearby = by_scipy(networks, network, x, here, box=0.1)
        assert nearby > found.speed[network, point] - TOLERANCE
        if cell == "gru":
            there, least = by_scipy(networks, network, x, [part[network, point] for part in start], box=math.inf)
            if np.linalg.norm(there - torch.cat(here).numpy()) < 0.1:
                same_basin += 1
                assert abs(least - found.speed[network, point]) < TOLERANCE
    assert cell == "lstm" or same_basin > found.speed.numel() / 2


# ---------------------------------------------------------------------------------------------- what is refused


def refused(message: str, step=None, start=None, inputs=None, **settings) -> None:
    start = uniform(4, UNITS) if start is None else start
    settings = {"search_steps": 3, **settings}
    with pytest.raises(ValueError, match=message):
        search(step or (lambda h: h / 2), start, inputs, **settings)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_starts_that_are_not_finite_are_refused(bad):
    start = uniform(2, 4, UNITS)
    start[1, 3, :2] = bad
    refused("start: 1 of 8 states are not finite", start=start)
    c = uniform(2, 4, UNITS)
    refused("start: 1 of 8 states are not finite", start=(c, start), step=lambda state, x: state)


def test_starts_that_are_no_states_are_refused():
    refused("start: found torch.int64, expected floating-point numbers", start=torch.zeros(4, 2, dtype=torch.int64))
    refused("start: found torch.float16, expected .*float64 or float32", start=uniform(4, UNITS).half())
    refused("start: found a ndarray, expected a tensor .*from_numpy", start=uniform(4, UNITS).numpy())
    refused("start: found a ndarray in a tuple", start=(uniform(4, UNITS), uniform(4, UNITS).numpy()))
    refused(r"start: found the shapes \[\(0, 6\)\], expected one state", start=uniform(0, UNITS))
    refused(r"start: found the shapes \[\(4, 0\)\], expected one state", start=uniform(4, 0))
    refused("found parts of type .*float32", start=(uniform(4, UNITS), uniform(4, UNITS).float()))
    refused(r"start: found the shapes \[\(4, 6\), \(3, 6\)\]", start=(uniform(4, UNITS), uniform(3, UNITS)))
    refused(r"start: found the shapes \[\(\)\]", start=torch.tensor(0.5))
    refused("start: found an empty tuple", start=())


def test_an_observation_that_is_none_is_refused():
    refused(r"observe: found speeds of shape \(4, 6\), expected \(4,\)", observe=lambda state: (state[0][..., None],))
    refused("observe: found a speed without gradient", observe=lambda state: (state[0].detach(),))


def test_states_that_do_not_fit_an_ensemble_are_refused():
    networks = doubled("lstm")
    with pytest.raises(ValueError, match=r"state has shape \(2, 3, 5\); the weights want \(2, points, 6\)"):
        search_networks(networks, (uniform(2, 3, 5),) * 2, held_input(networks, MEAN), search_steps=3)
    with pytest.raises(ValueError, match=r"held input has shape \(2, 1, 4\)"):
        search_networks(networks, starts("lstm"), held_input(networks, MEAN)[..., :4], search_steps=3)


def test_inputs_that_do_not_fit_the_states_are_refused():
    gru, h = torch_cell(torch.nn.GRUCell), uniform(4, UNITS)
    refused(r"inputs: found the shape \(4,\), expected a tensor whose last axis has the 5 inputs", gru, h, uniform(4))
    refused(r"inputs: found the shape \(3, 5\), expected one that broadcasts", gru, h, uniform(3, INPUTS))


def test_a_speed_that_is_lost_on_the_way_is_an_error():
    """sqrt has no values below 0, where the descent comes by."""
    refused(
        "the speed of 1 of 2 states was not finite on the way",
        lambda h: h.sqrt() + 2 * h,
        torch.tensor([[0.1], [50]]),
        search_steps=100,
        learning_rate=0.01,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("search_steps", []), ("search_steps", [5, 3]), ("search_steps", [3, 3]), ("search_steps", 0)]
    + [(name, value) for name in ("learning_rate", "bound", "tolerance") for value in (0.0, -1.0, math.nan)],
)
def test_settings_out_of_range_are_refused(name, value):
    refused(f"{name}: found ", **{name: value})
