"""The finder by itself: maps whose fixed points are known, torch's networks, what is told, and what is refused."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

from memrnn import FixedPoints, find_fixed_points, sample_states, visited_states
from memrnn.dynamics import finder, maps, newton
from memrnn.dynamics.maps import Map, as_map

pytestmark = pytest.mark.usefixtures("one_thread")

UNITS, FEATURES = 7, 3
LAYERS = pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
CELLS = pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])


def uniform(*shape: int, reach: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)


def network(kind: type, *, gain: float = 3.0, seed: int = 0, units: int = UNITS, **settings) -> nn.Module:
    """A cell or layer with weights large enough for more than one fixed point, in float32, as people have them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = kind(FEATURES, units, **settings)
    with torch.no_grad():
        for values in module.parameters():
            values.mul_(gain)
    return module


def start_of(module: nn.Module, points: int = 40, seed: int = 0) -> Tensor | tuple[Tensor, Tensor]:
    layers = (module.num_layers,) if isinstance(module, nn.RNNBase) else ()
    parts = [uniform(*layers, points, UNITS, seed=seed + k) for k in range(2)]
    return tuple(parts) if isinstance(module, (nn.LSTM, nn.LSTMCell)) else parts[0]


def two_wells(h: Tensor) -> Tensor:
    """h1' = tanh 2 h1, h2' = h2 / 2: at rest at (a, 0), (-a, 0), stable, and (0, 0), a saddle."""
    return torch.stack([torch.tanh(2 * h[:, 0]), h[:, 1] / 2], 1)


WELL = optimize.brentq(lambda h: math.tanh(2 * h) - h, 0.5, 1, xtol=1e-15)


def close(found, expected) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


# ------------------------------------------------------------------------------------------ maps that are known


def test_two_wells_and_the_saddle_between_them():
    found = find_fixed_points(two_wells, uniform(200, 2))
    assert found.kind.tolist() == ["stable", "stable", "saddle"]
    assert found.unstable.tolist() == [0, 0, 1]
    first = found.state[:, 0].tolist()
    assert sorted(first[:2]) == pytest.approx([-WELL, WELL], abs=1e-9) and first[2] == pytest.approx(0, abs=1e-9)
    slope = 2 * (1 - WELL**2)
    expected = torch.tensor([[max(slope, 0.5), min(slope, 0.5)]] * 2 + [[2, 0.5]]).double()
    close(found.eigenvalues.real, expected)
    assert found.eigenvalues.imag.abs().max() == 0
    close(found.jacobian[2], torch.diag(torch.tensor([2, 0.5]).double()))
    assert found.multiplicity.sum() == 200 and (found.multiplicity > 20).all()
    assert found.converged.all() and not found.outlier.any() and not found.at_bound.any()
    start = uniform(200, 2)
    for point in range(3):
        members = torch.where(found.ends[0] == point)[0]
        assert len(members) == found.multiplicity[point]
        assert int(found.start[point]) in members.tolist()
        close(found.distance[point], (start[found.start[point]] - found.state[point]).norm())
    torch.testing.assert_close(found.q, found.speed**2 / 2)
    # Eigenvectors are those of the eigenvalues, in the same order.
    close(found.jacobian.to(torch.complex128) @ found.eigenvectors, found.eigenvectors * found.eigenvalues.unsqueeze(1))


def test_a_linear_map_far_from_the_unit_cube():
    a = torch.tensor([[0.5, -0.3], [0.2, 0.3]]).double()
    found = find_fixed_points(lambda h, b: h @ a.T + b, uniform(30, 2), torch.tensor([9.0, 60.0]).double())
    close(found.state, torch.linalg.solve(torch.eye(2).double() - a, torch.tensor([9.0, 60.0]).double())[None])
    assert found.multiplicity.tolist() == [30]
    assert found.outlier.tolist() == [True]
    close(found.jacobian[0], a)


def test_a_saddle_node_is_found_before_it_merges_and_its_ghost_after():
    """h' = h + b + h^2: at rest at +-sqrt(-b); for b > 0 the least speed is b, at h = 0."""
    start = uniform(50, 1)
    before = find_fixed_points(lambda h: h - 0.04 + h * h, start)
    assert before.kind.tolist() == ["stable", "saddle"]
    close(before.state[:, 0], torch.tensor([-0.2, 0.2]).double())
    after = find_fixed_points(lambda h: h + 0.04 + h * h, start)
    assert after.kind.tolist() == ["ghost"] and after.multiplicity.tolist() == [50]
    assert after.speed.item() == pytest.approx(0.04) and after.state.item() == pytest.approx(0, abs=1e-3)
    assert not after.converged.any()
    assert after.reason.tolist() == [newton.LEAST]


def test_where_the_speed_falls_for_ever_there_is_a_slope_and_no_ghost():
    """h' = h + e^-h moves by e^-h wherever it is."""
    found = find_fixed_points(lambda h: h + torch.exp(-h), 5 * uniform(20, 1), steps=3, reach=2.0)
    assert set(found.kind) == {"slope"}
    assert set(found.reason) == {newton.LEFT}
    unasked = find_fixed_points(lambda h: h + torch.exp(-h), 5 * uniform(20, 1), steps=3, least_steps=0)
    assert set(unasked.kind) == {"undecided"}


def test_a_line_of_fixed_points_is_marginal_and_is_not_strung_together():
    """h1' = h1, h2' = h2 / 2: every (h1, 0) is at rest."""
    found = find_fixed_points(lambda h: h * torch.tensor([1.0, 0.5]).double(), uniform(100, 2), same=0.05)
    assert set(found.kind) == {"marginal"}
    assert not found.unstable.any()
    places = found.state[:, 0].sort().values
    assert places.diff().min() > 0.05  # different points are further apart than `same`
    assert 10 < len(found) <= 40
    assert found.multiplicity.sum() == 100


def test_a_rotation_has_complex_eigenvalues():
    turn = torch.tensor([[0.0, -0.9], [0.9, 0.0]]).double()
    found = find_fixed_points(lambda h: h @ turn.T, uniform(10, 2))
    row = found.table().iloc[0]
    assert (row.leading_modulus, row.leading_angle) == pytest.approx((0.9, math.pi / 2))
    assert row.time_constant == pytest.approx(-1 / math.log(0.9))


def test_a_relu_network_rests_beyond_1():
    """h' = relu(h / 2 + 2) rests at 4."""
    layer = network(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        for values in layer.parameters():
            values.zero_()
        layer.weight_hh_l0.copy_(torch.eye(UNITS) / 2)
        layer.bias_hh_l0.fill_(2.0)
    found = find_fixed_points(layer, uniform(1, 10, UNITS), torch.zeros(FEATURES))
    close(found.state[0, 0], torch.full((UNITS,), 4.0).double())
    assert found.settings["bound"] is None
    assert found.speed.item() < 1e-9


def test_a_rate_network_is_found_at_its_memories():
    """h' = 0.9 h + 0.3 tanh(2 h): at rest at 0 and near +-2.98, where no bound of 1 may keep it from."""
    well = optimize.brentq(lambda h: 3 * math.tanh(2 * h) - h, 1, 5)
    found = find_fixed_points(lambda h: 0.9 * h + 0.3 * torch.tanh(2 * h), 3 * uniform(60, 1))
    assert found.state.flatten().tolist() == pytest.approx(
        [-well, well, 0] if found.state[0] < 0 else [well, -well, 0], abs=1e-8
    )
    assert found.kind.tolist() == ["stable", "stable", "saddle"]


def test_scales_far_from_one_are_told_apart_and_reached():
    """Tolerances follow the starts: the same map in other units has the same points."""
    for scale in (1e-6, 1.0, 1e6):
        found = find_fixed_points(lambda h, scale=scale: scale * two_wells(h / scale), scale * uniform(200, 2))
        assert found.kind.tolist() == ["stable", "stable", "saddle"]
        assert found.state[:2, 0].abs().tolist() == pytest.approx([WELL * scale] * 2, rel=1e-6)


def test_starts_close_together_far_from_zero_are_told_apart():
    found = find_fixed_points(lambda h: 1000 + 1e-3 * two_wells((h - 1000) / 1e-3), 1000 + 1e-3 * uniform(200, 2))
    assert found.kind.tolist() == ["stable", "stable", "saddle"]


def test_a_single_start_has_no_outlier():
    found = find_fixed_points(two_wells, uniform(1, 2))
    assert found.multiplicity.tolist() == [1] and not found.outlier.any()


def test_points_held_at_a_bound_are_marked():
    found = find_fixed_points(lambda h: h / 2 + 2, uniform(10, 2), bound=1.0)
    assert found.at_bound.all() and not found.converged.any()
    assert set(found.kind) == {"slope"} and set(found.reason) == {finder.AT_BOUND}
    torch.testing.assert_close(found.state, torch.ones_like(found.state), rtol=0, atol=1e-4)


def test_values_that_are_not_finite_on_the_way_end_no_other_search():
    """log is defined above 0 only; h' = log(h) + 2 rests at 0.1586 and 3.1462."""
    found = find_fixed_points(lambda h: torch.log(h) + 2, uniform(40, 1).abs() * 5 + 0.05)
    assert found.state.isfinite().all()
    expected = [optimize.brentq(lambda h: math.log(h) + 2 - h, *ends) for ends in ((1, 5), (0.05, 1))]
    assert found.state[:2, 0].tolist() == pytest.approx(expected)
    assert found.kind[:2].tolist() == ["stable", "saddle"]


def test_a_tolerance_below_rounding_makes_no_ghosts():
    found = find_fixed_points(two_wells, uniform(30, 2) + 0.2, tolerance=1e-30)
    assert set(found.kind) <= {"stable", "saddle", "undecided"}
    undecided = found[found.kind == "undecided"]
    assert all(reason == finder.ROUNDING for reason in undecided.reason)


# ------------------------------------------------------------------------------------------------ networks of torch


def by_root(module: nn.Module, x: Tensor, start: Tensor, parts: int) -> np.ndarray:
    """Roots that scipy finds by itself, calling the module as a user would; (points, n)."""
    module = module.double()

    def change(flat: np.ndarray) -> np.ndarray:
        state = torch.tensor(flat).view(parts, -1, 1, UNITS)
        state = tuple(state) if parts == 2 else state[0]
        with torch.no_grad():
            after = module(x.view(1, 1, -1), state)[1]
        after = torch.cat(after) if parts == 2 else after
        return after.flatten().numpy() - flat

    found = [optimize.root(change, each, tol=1e-12) for each in start.numpy()]
    return np.array([each.x for each in found if abs(each.fun).max() < 1e-10])


@LAYERS
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
def test_layers_rest_where_a_root_finder_says(kind, layers, batch_first):
    layer = network(kind, num_layers=layers, batch_first=batch_first)
    before = {name: values.clone() for name, values in layer.state_dict().items()}
    start, x = start_of(layer), uniform(FEATURES, seed=9)
    found = find_fixed_points(layer, start, x)
    parts = found.state if kind is nn.LSTM else (found.state,)
    assert all(part.shape == (layers, len(found), UNITS) for part in parts)
    rests = found[found.converged]
    assert len(rests) and rests.speed.max() < 1e-9
    # Nothing of the network was touched.
    assert all(torch.equal(values, before[name]) for name, values in layer.state_dict().items())
    assert all(values.requires_grad and values.grad is None for values in layer.parameters())
    roots = by_root(layer, x, rests.flat + 1e-3 * uniform(*rests.flat.shape), len(parts))
    assert len(roots)
    for root in roots:
        nearest = (rests.flat - torch.tensor(root)).abs().amax(1).min()
        assert nearest < 1e-6
    # As the layer itself steps, in its own form of states.
    state = tuple(part[:, found.converged] for part in parts)
    held = x.expand(1, len(rests), -1)
    after = layer.double()(held.transpose(0, 1) if batch_first else held, state if kind is nn.LSTM else state[0])[1]
    for mine, theirs in zip(state, after if kind is nn.LSTM else (after,), strict=True):
        close(mine, theirs.detach())


@LAYERS
@pytest.mark.parametrize("settings", [{"num_layers": 3}, {"num_layers": 1}, {"num_layers": 2, "bias": False}])
def test_jacobians_in_closed_form_are_those_of_automatic_differentiation(kind, settings):
    layer = network(kind, **settings)
    start, x = start_of(layer, 5), uniform(5, FEATURES, seed=4)
    one_step = as_map(layer, start, x, None)
    assert type(one_step) is maps._Closed
    s = one_step.pack((start,) if isinstance(start, Tensor) else start)
    closed = one_step.jacobian(s, x)
    close(closed, Map.jacobian(one_step, s, x))
    close(closed, Map.jacobian(one_step, s, x, numbers=1))  # a row at a time
    expected = torch.stack(
        [torch.func.jacrev(lambda one, k=k: one_step(one[None], x[k : k + 1])[0])(s[k]) for k in range(5)]
    )
    close(closed, expected)


@CELLS
def test_cells_have_the_points_of_the_layer_with_their_weights(kind):
    cell = network(kind)
    layer = {nn.RNNCell: nn.RNN, nn.GRUCell: nn.GRU, nn.LSTMCell: nn.LSTM}[kind](FEATURES, UNITS)
    layer.load_state_dict({f"{name}_l0": values for name, values in cell.state_dict().items()})
    start, x = start_of(cell), uniform(FEATURES, seed=9)
    ours, theirs = (find_fixed_points(module, start, x) for module in (cell, layer))
    close(ours.flat, theirs.flat)
    assert ours.kind.tolist() == theirs.kind.tolist()
    parts = ours.state if kind is nn.LSTMCell else (ours.state,)
    assert all(part.shape == (len(ours), UNITS) for part in parts)
    layered = tuple(part[None] for part in start) if isinstance(start, tuple) else start[None]
    close(find_fixed_points(layer, layered, x).flat, ours.flat)


class Doubled(nn.GRUCell):
    """A class of its own, which does something else with the weights of its parent."""

    def forward(self, input: Tensor, hx: Tensor) -> Tensor:
        return super().forward(2 * input, hx)


class Leaky(nn.RNNCellBase):
    """A cell that torch does not have."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__(features, units, bias=True, num_chunks=1)

    def forward(self, input: Tensor, hx: Tensor) -> Tensor:
        sums = input @ self.weight_ih.T + self.bias_ih + hx @ self.weight_hh.T + self.bias_hh
        return 0.8 * hx + 0.4 * torch.tanh(sums)  # up to 2


def test_a_cell_is_what_it_does_rather_than_what_it_is_called():
    x = uniform(FEATURES, seed=9)
    cell, plain = network(Doubled), network(nn.GRUCell)
    ours, theirs = find_fixed_points(cell, start_of(cell), x), find_fixed_points(plain, start_of(cell), 2 * x)
    assert ours.settings["bound"] is None  # nothing is known of it
    assert set(ours.kind) == {"stable", "slope"} and (ours.outlier == (ours.kind == "slope")).all()
    close(ours.flat[:1], theirs.flat[theirs.kind == "stable"])
    leaky = network(Leaky)
    found = find_fixed_points(leaky, 2 * start_of(leaky), x)
    assert found.settings["bound"] is None
    state = found.state[found.converged]
    assert state.abs().max() > 1
    close(leaky.double()(x.expand(len(state), -1), state).detach(), state)
    hooked = network(nn.GRU)
    hooked.register_forward_hook(lambda module, inputs, outputs: (outputs[0], outputs[1] / 2))
    halved = find_fixed_points(hooked, start_of(hooked), x)
    after = hooked.double()(x.expand(1, len(halved), -1), halved.state)[1]
    assert ((after - halved.state).norm(dim=-1)[0] < 1e-8)[halved.converged].all()


def test_weights_under_a_parametrization_are_those_that_it_gives():
    plain, normed = network(nn.GRU), network(nn.GRU)
    nn.utils.parametrizations.weight_norm(normed, "weight_hh_l0")
    x = uniform(FEATURES, seed=9)
    expected = find_fixed_points(plain, start_of(plain), x)
    found = find_fixed_points(normed, start_of(normed), x)
    torch.testing.assert_close(found.flat[found.converged], expected.flat[expected.converged], rtol=0, atol=1e-5)


def test_projections_are_searched_too():
    lstm = network(nn.LSTM, proj_size=4, num_layers=2)
    start = uniform(2, 20, 4), uniform(2, 20, UNITS)
    found = find_fixed_points(lstm, start, torch.zeros(FEATURES))
    h, c = found.state
    assert h.shape == (2, len(found), 4) and c.shape == (2, len(found), UNITS)
    assert found.settings["bound"] is None  # a projection can leave the cube
    after = lstm.double()(torch.zeros(1, len(found), FEATURES).double(), (h.contiguous(), c.contiguous()))[1]
    close(after[0][:, found.converged].detach(), h[:, found.converged])


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_wrapped_networks_are_unpacked(wrap):
    cell, x = network(nn.GRUCell), uniform(FEATURES, seed=9)
    expected = find_fixed_points(cell, start_of(cell), x)
    for wrapped in (wrap(cell), nn.DataParallel(wrap(cell))):
        found = find_fixed_points(wrapped, start_of(cell), x)
        assert torch.equal(found.flat, expected.flat)
        assert found.settings["bound"] == 1.0


def test_training_mode_and_no_grad_around_the_call_do_no_harm():
    layer, x = network(nn.GRU).train(), uniform(FEATURES, seed=9)
    expected = find_fixed_points(layer, start_of(layer), x)
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            found = find_fixed_points(layer, start_of(layer), x.clone())
        assert torch.equal(found.flat, expected.flat)
        assert found.kind.tolist() == expected.kind.tolist()


def test_functions_may_be_in_float32_and_modules_are_searched_in_float64():
    layer, x = network(nn.GRU), uniform(FEATURES, seed=9)
    found = find_fixed_points(layer, start_of(layer).float(), x.float())
    assert found.flat.dtype == torch.float64
    short = find_fixed_points(layer, start_of(layer).float(), x.float(), dtype=torch.float32)
    assert short.flat.dtype == torch.float32
    assert short.kind.tolist() == found.kind.tolist()
    torch.testing.assert_close(short.flat.double(), found.flat, rtol=0, atol=1e-3)
    wells = find_fixed_points(two_wells, uniform(200, 2).float())
    assert wells.flat.dtype == torch.float32 and wells.kind.tolist() == ["stable", "stable", "saddle"]


# ---------------------------------------------------------------------------------------------- inputs and portions


def test_several_inputs_are_several_searches():
    layer, x = network(nn.GRU), uniform(3, FEATURES, reach=2, seed=9)
    found = find_fixed_points(layer, start_of(layer), x)
    assert torch.equal(found.inputs, x)
    assert found.ends.shape == (3, 40)
    for condition in range(3):
        alone = find_fixed_points(layer, start_of(layer), x[condition], same=found.settings["same"])
        ours = found[found.condition.numpy() == condition]
        torch.testing.assert_close(ours.flat, alone.flat, rtol=0, atol=1e-6)
        assert torch.equal(ours.multiplicity, alone.multiplicity)
        assert (ours.ends[[k for k in range(3) if k != condition]] == -1).all()
    assert sorted(found.table().condition.unique()) == [0, 1, 2]


def test_paired_inputs_belong_to_their_starts():
    layer, x = network(nn.GRU), uniform(3, FEATURES, reach=2, seed=9)
    which = torch.arange(40) % 3
    found = find_fixed_points(layer, start_of(layer), x[which], paired=True)
    whole = find_fixed_points(layer, start_of(layer), x, same=found.settings["same"])
    assert len(found.inputs) == 3 and found.ends.shape == (1, 40)
    assert found.multiplicity.sum() == 40
    for start in range(40):
        point = found.ends[0, start]
        assert torch.equal(found.inputs[found.condition[point]], x[which[start]])
        other = whole.flat[whole.ends[which[start], start]]
        torch.testing.assert_close(found.flat[point], other, rtol=0, atol=1e-6)


def test_what_is_no_tensor_is_handed_on():
    found = find_fixed_points(
        lambda h, pair: pair["scale"] * h + pair["push"], uniform(9, 2), {"scale": 0.5, "push": 1}
    )
    close(found.state, torch.full((1, 2), 2.0).double())
    assert found.inputs is None


@pytest.mark.parametrize("step", [network(nn.LSTM, num_layers=2), two_wells], ids=["layer", "function"])
def test_portions_change_nothing_but_rounding(step):
    start = start_of(step) if isinstance(step, nn.Module) else uniform(40, 2)
    inputs = torch.zeros(FEATURES).double() if isinstance(step, nn.Module) else None
    whole = find_fixed_points(step, start, inputs)
    with pytest.warns(UserWarning, match="Jacobians of .* do not fit into memory=1 bytes"):
        small = find_fixed_points(step, start, inputs, memory=1)
    close(small.flat, whole.flat)
    assert small.kind.tolist() == whole.kind.tolist()
    close(small.eigenvalues.abs(), whole.eigenvalues.abs())
    assert small.jacobian is None
    with pytest.raises(ValueError, match="keep_jacobians=True"):
        _ = small.eigenvectors


def test_memory_is_bounded_by_portions():
    """No call of the map sees more states than fit; without portions there would be 2,000 x 40 x 40 matrices."""
    seen = []
    weights = uniform(40, 40, reach=0.4)

    def step(h: Tensor) -> Tensor:
        seen.append(len(h))
        return torch.tanh(h @ weights)

    memory = 2**22
    find_fixed_points(step, uniform(2000, 40), memory=memory)
    assert max(seen) * 40 * 8 * newton.GRAPH <= 2 * memory
    assert len(seen) > 100


# ---------------------------------------------------------------------------------------------------- the result


@pytest.fixture(scope="module")
def wells() -> FixedPoints:
    return find_fixed_points(two_wells, uniform(200, 2))


def test_a_table_has_a_row_for_each_point(wells):
    table = wells.table()
    assert isinstance(table, pd.DataFrame) and len(table) == 3
    assert table.kind.tolist() == ["stable", "stable", "saddle"]
    np.testing.assert_allclose(table.speed, wells.speed)
    np.testing.assert_allclose(table.q, wells.speed**2 / 2)
    assert table.leading_modulus[2] == pytest.approx(2)


def test_points_can_be_chosen(wells):
    stable = wells[wells.kind == "stable"]
    assert len(stable) == 2 and set(stable.kind) == {"stable"}
    assert torch.equal(stable.state, wells.state[:2])
    assert (stable.ends == -1).sum() == wells.multiplicity[2]
    assert torch.equal(stable.state[stable.ends[stable.ends >= 0]], wells.state[wells.ends[wells.ends < 2]])
    assert len(wells[wells.converged]) == 3 and len(wells[1]) == 1 and len(wells[:2]) == 2
    assert len(wells[wells.speed > 1]) == 0 and "none" in repr(wells[wells.speed > 1])
    assert len(wells[wells.speed > 1].table()) == 0


@pytest.mark.parametrize("what", ["bare", "tuple", "without Jacobians", "none"])
def test_what_is_saved_is_what_is_loaded(what, wells, tmp_path):
    found = {
        "bare": lambda: wells,
        "tuple": lambda: find_fixed_points(network(nn.LSTM), start_of(network(nn.LSTM)), uniform(2, FEATURES)),
        "without Jacobians": lambda: find_fixed_points(two_wells, uniform(9, 2), keep_jacobians=False),
        "none": lambda: wells[wells.speed > 1],
    }[what]()
    found.save(tmp_path / "points.safetensors")
    again = FixedPoints.load(tmp_path / "points.safetensors")
    for name, values in vars(found).items():
        other = getattr(again, name)
        if isinstance(values, Tensor):
            assert torch.equal(values, other), name
        elif isinstance(values, np.ndarray):
            assert values.tolist() == other.tolist(), name
        else:
            assert values == other, name
    states = (found.state, again.state)
    assert all(torch.equal(*pair) for pair in (zip(*states, strict=True) if what == "tuple" else [states]))
    assert repr(again) == repr(found)


def test_a_file_of_something_else_is_refused(tmp_path):
    from memrnn.core.files import save_arrays

    save_arrays(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"seeds": [0]})
    with pytest.raises(ValueError, match="expected points written by"):
        FixedPoints.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        FixedPoints.load(tmp_path / "none.safetensors")


def test_a_summary_says_how_many_of_what(wells):
    assert "3 different of 200 searches: 2 stable, 1 saddle (1 out)" in repr(wells)


def test_figures_show_every_kind(wells, tmp_path):
    figure = wells.plot(uniform(50, 2), tmp_path / "wells.png")
    assert (tmp_path / "wells.png").stat().st_size > 5_000
    plane, circle = figure.axes
    assert [text.get_text() for text in plane.get_legend().get_texts()] == ["stable (2)", "saddle (1)"]
    drawn = np.concatenate([each.get_offsets() for each in plane.collections])
    assert len(drawn) == 3
    moduli = np.concatenate([np.hypot(*each.get_offsets().T) for each in circle.collections])
    assert sorted(moduli) == pytest.approx(sorted(wells.eigenvalues.abs().flatten().tolist()))
    wells[:1].plot()
    wells[wells.speed > 1].plot()
    find_fixed_points(lambda h: h / 2, uniform(5, 1)).plot()  # one number alone
    layer = network(nn.LSTM, num_layers=2)
    find_fixed_points(layer, start_of(layer), torch.zeros(FEATURES)).plot(start_of(layer))
    with pytest.raises(ValueError, match="found states of 5 numbers, expected 2"):
        wells.plot(uniform(4, 5))


# ------------------------------------------------------------------------------------------------------- starts


@LAYERS
@pytest.mark.parametrize("batch_first", [False, True])
def test_visited_states_are_those_that_a_layer_goes_through(kind, batch_first):
    layer = network(kind, num_layers=2, batch_first=batch_first)
    inputs = uniform(9, 4, FEATURES)
    visited = visited_states(layer, inputs.transpose(0, 1) if batch_first else inputs)
    outputs, last = layer.double()(inputs.transpose(0, 1) if batch_first else inputs)
    outputs = outputs.transpose(0, 1) if batch_first else outputs
    parts, last = (visited, last) if kind is nn.LSTM else ((visited,), (last,))
    close(parts[0][1].view(9, 4, UNITS), outputs.detach())  # of the upper layer
    for part, end in zip(parts, last, strict=True):
        assert part.shape == (2, 36, UNITS)
        close(part[:, -4:], end.detach())
    find_fixed_points(layer, visited, torch.zeros(FEATURES))  # as they are


@CELLS
def test_visited_states_of_cells_and_functions(kind):
    cell, inputs = network(kind), uniform(5, 4, FEATURES)
    visited = visited_states(cell, inputs)
    state, cell = None, cell.double()
    for x in inputs:
        state = cell(x, state)
    parts, ends = (visited, state) if kind is nn.LSTMCell else ((visited,), (state,))
    for part, end in zip(parts, ends, strict=True):
        assert part.shape == (20, UNITS)
        close(part[-4:], end.detach())
    added = visited_states(lambda h, x: h + x, inputs, torch.zeros(4, FEATURES).double())
    close(added.view(5, 4, FEATURES), inputs.cumsum(0))


def test_samples_are_drawn_from_what_is_given():
    h, c = uniform(2, 30, 4), uniform(2, 30, 6, seed=1)
    some_h, some_c = sample_states((h, c), 10)
    rows = [(h - one.unsqueeze(1)).abs().sum((0, 2)).argmin().item() for one in some_h.unbind(1)]
    assert len(set(rows)) == 10
    assert torch.equal(some_h, h[:, rows]) and torch.equal(some_c, c[:, rows])  # parts stay together
    assert torch.equal(sample_states(h, 10), some_h) and not torch.equal(sample_states(h, 10, seed=1), some_h)
    valid = torch.arange(30) < 12
    assert (sample_states(torch.arange(30.0).view(30, 1), 12, valid=valid) < 12).all()
    noisy = sample_states(torch.zeros(10, 50).double(), 400, noise=0.3)
    assert noisy.std().item() == pytest.approx(0.3, rel=0.05) and noisy.shape == (400, 50)
    near = sample_states((h, c), 100, noise=1.0, bound=1.0)
    assert near[0].abs().max() == 1 and near[1].abs().max() > 1
    before = torch.random.get_rng_state()
    sample_states(h, 20, noise=1.0)
    assert torch.equal(torch.random.get_rng_state(), before)


# ---------------------------------------------------------------------------------------------- what is refused


def refused(message: str, step=two_wells, start=None, inputs=None, **settings) -> None:
    with pytest.raises(ValueError, match=message):
        find_fixed_points(step, uniform(4, 2) if start is None else start, inputs, **settings)


def test_maps_that_change_the_state_s_kind_are_refused():
    refused(
        r"step: found \[\(5, 1, torch.float64\)\] after .*\[\(5, 2, torch.float64\)\], expected no change",
        lambda h: h[:, :1],
    )
    refused("step: found .*float32.*float64", lambda h: h.float())
    refused(r"step: found \[\(5, 2, .*\), \(5, 2, .*\)\]", lambda h: (h, h))
    refused("step: found NoneType", lambda h: None)
    refused("step: found ndarray", lambda h: h.detach().numpy())
    refused(r"step: found \[\(5, 5, 2", lambda h, x: h + x[:, None], inputs=uniform(2))


def test_maps_that_fail_are_named():
    refused(r"step: it failed for states of shape \(5, 2\): TypeError", lambda h, x: h)
    refused(
        r"step: it failed for states of shape \(5, 2\) and inputs \(5, 3\): RuntimeError",
        lambda h, x: h + x,
        inputs=uniform(3),
    )
    fixed = uniform(5, 2)
    refused(r"found \[\(5, 2, torch.float64\)\] after .*\[\(1, 2,.*any number of states", lambda h: (h + fixed) / 2)


def numpy_step(h: Tensor) -> Tensor:
    return torch.from_numpy(np.tanh(2 * h.detach().numpy()))


@torch.no_grad()
def step_without_grad(h: Tensor) -> Tensor:
    return two_wells(h)


@torch.inference_mode()
def step_in_inference(h: Tensor) -> Tensor:
    return two_wells(h)


@pytest.mark.parametrize(
    "step",
    [
        numpy_step,
        step_in_inference,
        step_without_grad,
        lambda h: two_wells(h.detach()),
        lambda h: torch.cat([torch.tanh(2 * h[:, :1]), h[:, 1:].detach() / 2], 1),  # of one part alone
        lambda h: torch.tanh(h) * torch.sigmoid(3 * h).detach(),  # of a gate
        lambda h: two_wells(h.data),
    ],
    ids=["numpy", "inference", "no_grad", "detach", "part", "gate", "data"],
)
def test_maps_without_their_derivatives_are_refused(step):
    refused("step: found derivatives that are not those of the map's values.*detach", step)


def test_maps_that_do_not_depend_on_the_state_are_no_fault():
    found = find_fixed_points(lambda h: torch.full_like(h, 0.3), uniform(5, 2))
    close(found.state, torch.tensor([[0.3, 0.3]], dtype=torch.float64))
    assert not found.eigenvalues.any()


def test_kinks_where_the_starts_lie_are_no_fault():
    found = find_fixed_points(lambda h: torch.relu(h) / 2, torch.zeros(3, 2).double())
    close(found.state, torch.zeros(1, 2).double())


def test_maps_that_write_over_their_argument_are_called_on_copies():
    start = uniform(6, 2)
    kept = start.clone()
    found = find_fixed_points(lambda h: h.mul_(0.5), start)
    assert torch.equal(start, kept)
    close(found.state, torch.zeros(1, 2).double())
    close(found.eigenvalues.real, torch.full((1, 2), 0.5).double())


def test_randomness_and_memory_are_refused():
    dropout = nn.Dropout(0.1)
    refused("step: found other values at a second call.*dropout.*eval", lambda h: dropout(h) / 2, uniform(40, 6))
    layer = network(nn.GRU, num_layers=2, dropout=0.2)
    refused("step: found other values at a second call", layer, start_of(layer), torch.zeros(FEATURES))
    find_fixed_points(layer.eval(), start_of(layer), torch.zeros(FEATURES))
    calls = []
    refused("or a state that it keeps", lambda h: calls.append(1) or h / 2 + len(calls))


def test_states_that_act_on_each_other_are_refused():
    norm = nn.BatchNorm1d(2).double()
    refused("it failed|depends on the others.*batch normalisation", lambda h: norm(h))
    refused("depends on the others", lambda h: h - h.mean(0))
    refused("depends on the others", lambda h: h / h.norm(), start=uniform(1, 2))
    find_fixed_points(lambda h: norm(h) / 2, uniform(4, 2)) if norm.eval() else None


def test_the_order_of_arguments_is_not_guessed():
    class Mine(nn.Module):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(x + h)

    class Wrapped(nn.Module):
        def forward(self, *args: Tensor) -> Tensor:
            return torch.tanh(sum(args))

    def swapped(input: Tensor, hidden: Tensor) -> Tensor:
        return torch.tanh(input + hidden)

    x = uniform(2)
    refused(
        r"found a Mine that takes \(x, h\), expected \(state, inputs\).*lambda state, x: layer\(x, state\)",
        Mine(),
        None,
        x,
    )
    refused("found a Wrapped that takes arguments that it does not name", Wrapped(), None, x)
    refused(r"found a function swapped that takes \(input, hidden\)", swapped, None, x)
    refused("found a .*GRUCell.* that takes|found a function forward", nn.GRUCell(2, 2).double().forward, None, x)
    script = torch.jit.script(nn.GRUCell(2, 2).double())
    refused("step: found a .*Script.*|step: found a .*GRUCell", script, None, x)
    refused("step: found a str, expected a function", "gru", None, x)
    control = find_fixed_points(lambda x, u: x / 2 + u, uniform(4, 2), x)  # x is the state there
    close(control.state, 2 * x[None])


def test_starts_that_do_not_fit_a_network_are_refused():
    x = torch.zeros(FEATURES)
    gru, lstm = network(nn.GRU, num_layers=2), network(nn.LSTM, num_layers=2)
    refused(
        r"found states of shape \[\(40, 7\)\], expected \(2, points, 7\) .* Give a tensor h, as the layer",
        gru,
        uniform(40, UNITS),
        x,
    )
    refused(
        r"expected \(2, points, 7\) and \(2, points, 7\) for a torch.nn.LSTM. Give a tuple \(h, c\)",
        lstm,
        start_of(gru),
        x,
    )
    refused(r"expected \(2, points, 7\) for", gru, uniform(2, 40, 6), x)
    refused(r"expected \(2, points, 7\) for", gru, uniform(3, 40, UNITS), x)
    refused(r"expected \(points, 7\) for a torch.nn.GRUCell. Give a tensor h", network(nn.GRUCell), start_of(lstm), x)
    refused(r"expected \(points, 7\) for a torch.nn.GRUCell", network(nn.GRUCell), uniform(1, 4, UNITS), x)
    refused("found a bidirectional torch.nn.GRU", network(nn.GRU, bidirectional=True), uniform(2, 4, UNITS), x)
    refused(r"start: found the shapes \[\(3, 4, 2\)\], expected \(points, units\).*flatten", start=uniform(3, 4, 2))
    refused(r"start: found the shapes \[\(2,\)\], expected \(points, units\).*unsqueeze", start=uniform(2))


def test_inputs_that_do_not_fit_are_refused():
    gru = network(nn.GRU)
    refused(
        r"inputs: found the shape \(4,\), expected .* 3 inputs of the torch.nn.GRU.*torch.zeros\(3\)",
        gru,
        start_of(gru),
        torch.zeros(4),
    )
    refused("inputs: found a NoneType, expected a tensor", gru, start_of(gru))
    refused("inputs: found values that are not finite", gru, start_of(gru), torch.full((3,), torch.nan))
    refused(
        r"inputs: found the shape \(5, 3\), expected \(40, features\) for paired",
        gru,
        start_of(gru),
        uniform(5, 3),
        paired=True,
    )
    refused(r"inputs: found the shape \(0, 3\), expected one input", gru, start_of(gru), uniform(0, 3))
    refused(
        "inputs: found torch.float32 beside torch.float64, expected one type", lambda h, x: h + x, None, torch.zeros(2)
    )
    refused("inputs: found a NoneType, expected .* for paired", paired=True)
    refused("weights: found torch.float32 beside torch.float64, expected one type", nn.Linear(2, 2))


def test_starts_beyond_a_bound_are_refused():
    cell = network(nn.GRUCell)
    refused(
        r"start: h of \d+ of 40 states goes up to 2\.9\d*, beyond the bound 1 outside which",
        cell,
        3 * start_of(cell),
        torch.zeros(3),
    )
    refused("beyond the bound 0.5 given", start=uniform(9, 2), bound=0.5)
    found = find_fixed_points(cell, 3 * start_of(cell), torch.zeros(3), bound=None)
    assert found.settings["bound"] is None
    lstm = network(nn.LSTMCell)
    h, c = start_of(lstm)
    find_fixed_points(lstm, (h, 5 * c), torch.zeros(3))  # c is free


@pytest.mark.parametrize(
    ("name", "value"),
    [("tolerance", math.nan), ("least_steps", -1), ("bound", "none")]
    + [
        (name, value)
        for name in ("tolerance", "reach", "same", "near_one", "steps", "outlier", "memory", "bound")
        for value in (0, -1.0)
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    refused(f"{name}: found ", **{name: value})


def test_speeds_that_are_not_finite_at_the_start_are_refused():
    refused("the speed of 4 of the first 4 starts is not finite", lambda h: h / 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 31}, "count: found 31, expected 1 to 30"), ({"count": 0}, "count: found 0"),
        ({"count": 3, "noise": -1.0}, "noise, bound: found -1.0"), ({"count": 3, "bound": 0.0}, "noise, bound"),
        ({"count": 3, "valid": torch.ones(29, dtype=torch.bool)}, "valid: found"),
        ({"count": 3, "valid": torch.zeros(30, dtype=torch.bool)}, "count: found 3, expected 1 to 0"),
    ],
)  # fmt: skip
def test_samples_that_cannot_be_drawn_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sample_states(uniform(30, 2), **settings)


def test_sequences_that_do_not_fit_are_refused():
    for message, step, inputs, start in [
        (r"inputs: found the shape \(9, 3\), expected sequences", network(nn.GRU), uniform(9, 3), None),
        ("inputs: found a list, expected sequences", network(nn.GRU), [uniform(9, 3)], None),
        ("start: found None, expected a state for each sequence", two_wells, uniform(5, 4, 3), None),
        ("start: found 3 states, expected 4", lambda h, x: h, uniform(5, 4, 3), uniform(3, 2)),
        ("inputs: found the shape", network(nn.GRU), uniform(5, 4, 2), None),
    ]:
        with pytest.raises(ValueError, match=message):
            visited_states(step, inputs, start)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same():
    layer, x = network(nn.LSTM, num_layers=2).eval(), uniform(FEATURES, seed=9)
    expected = find_fixed_points(layer, start_of(layer), x)
    found = find_fixed_points(layer.cuda(), tuple(part.cuda() for part in start_of(layer)), x.cuda())
    assert found.flat.is_cuda
    close(found.flat.cpu(), expected.flat)
    refused("expected one place", layer, start_of(layer), x)
