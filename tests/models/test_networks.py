"""Ensembles: how they begin, what they say, and that their files come back and hold networks."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from memrnn.core.files import load_arrays, save_arrays
from memrnn.models import networks as nets
from memrnn.models.cells import CELLS

GATES = {"gru": 3, "lstm": 4, "rnn": 1, "mgu": 2}
EVERY = pytest.mark.parametrize("cell", CELLS)
INPUTS, UNITS, OUTPUTS = 65, 100, 11


@pytest.mark.parametrize("cell", GATES)
def test_shapes_and_labels(cell):
    networks = nets.initial(cell, [3, 0], INPUTS, UNITS, OUTPUTS)
    assert {name: tuple(values.shape) for name, values in networks.parameters.items()} == {
        "inputs": (2, INPUTS, GATES[cell] * UNITS),
        "recurrent": (2, UNITS, GATES[cell] * UNITS),
        "bias": (2, GATES[cell] * UNITS),
        "readout": (2, UNITS, OUTPUTS),
        "readout_bias": (2, OUTPUTS),
    }
    assert {values.dtype for values in networks.parameters.values()} == {torch.float32}
    assert networks.labels == [{"phase": "trained", "seed": 3}, {"phase": "trained", "seed": 0}]


@EVERY
def test_initial_weights_are_normal_with_variance_one_over_fan_in_and_biases_small(cell):
    networks = nets.initial(cell, range(20), INPUTS, UNITS, OUTPUTS)
    for name, drawn in networks.parameters.items():
        deviation = 0.01 if drawn.ndim == 2 else 1 / math.sqrt(INPUTS if name == "inputs" else UNITS)
        values = drawn.flatten().numpy() / deviation
        # Five standard errors of mean and variance; the shape by Kolmogorov and Smirnov. Seeds are fixed.
        assert abs(values.mean()) < 5 / math.sqrt(values.size), name
        assert abs(values.var() - 1) < 5 * math.sqrt(2 / values.size), name
        assert stats.kstest(values[:20_000], "norm").pvalue > 1e-3, name


@EVERY
def test_gates_seeds_and_tensors_are_drawn_apart(cell):
    networks = nets.initial(cell, [0, 1], UNITS, UNITS, OUTPUTS)  # as many inputs as units: the shapes agree
    blocks = [
        gate.numpy().ravel()
        for values in (networks.weights.inputs, networks.weights.recurrent)
        for network in values
        for gate in network.chunk(CELLS[cell].gates, -1)
    ]
    correlation = np.corrcoef(blocks) - np.eye(len(blocks))
    assert np.abs(correlation).max() < 5 / math.sqrt(blocks[0].size)


@EVERY
def test_a_seed_begins_the_same_in_every_block(cell):
    block = nets.initial(cell, [4, 1, 7], INPUTS, UNITS, OUTPUTS)
    for position, seed in enumerate(block.seeds):
        alone = nets.initial(cell, [seed], INPUTS, UNITS, OUTPUTS)
        for name, values in alone.parameters.items():
            assert torch.equal(values[0], block.parameters[name][position]), name


@EVERY
def test_logits_and_step_against_loops(cell):
    networks = nets.initial(cell, [0, 1], 4, 3, OUTPUTS)
    h = torch.randn(2, 5, 6, 3, generator=torch.Generator().manual_seed(0))
    for shape in ((2, 5, 6, 3), (2, 30, 3)):
        logits = networks.logits(h.view(shape))
        assert logits.shape == (*shape[:-1], OUTPUTS)
        for network in range(2):
            w, b = networks.readout[network].numpy(), networks.readout_bias[network].numpy()
            expected = [sum(row[j] * w[j] for j in range(3)) + b for row in h[network].reshape(-1, 3).numpy()]
            np.testing.assert_allclose(logits[network].reshape(-1, OUTPUTS), expected, rtol=0, atol=1e-6)
    # One step is the first of a sequence.
    x = torch.randn(2, 1, 6, 4, generator=torch.Generator().manual_seed(1))
    stepped = networks.step(networks.cell.initial_state(2, 6, 3, x), x[:, 0])
    torch.testing.assert_close(stepped[0], networks.cell.sequence(networks.weights, x)[:, 0])


# ---------------------------------------------------------------- files


@pytest.fixture
def saved(tmp_path):
    networks = nets.from_parameters(
        "lstm", nets.initial("lstm", [2, 2], 4, 3, OUTPUTS).parameters, (2, 2), ("control", "centroid")
    )
    path = tmp_path / "block.safetensors"
    nets.save(path, networks, {"dataset": "digits", "curriculum": "vocu"})
    return path, networks


def test_what_is_saved_comes_back(saved):
    path, networks = saved
    loaded, meta = nets.load(path)
    assert loaded.cell is CELLS["lstm"]
    assert loaded.seeds == (2, 2) and loaded.phases == ("control", "centroid")
    assert meta["dataset"] == "digits" and meta["curriculum"] == "vocu"
    assert loaded.parameters.keys() == networks.parameters.keys()
    for name, values in networks.parameters.items():
        assert torch.equal(loaded.parameters[name], values) and loaded.parameters[name].dtype == values.dtype


def test_trained_weights_are_saved_without_their_graph(saved, tmp_path):
    _, networks = saved
    leaves = {name: values.clone().requires_grad_() for name, values in networks.parameters.items()}
    nets.save(tmp_path / "again", nets.from_parameters("lstm", leaves, networks.seeds, networks.phases), {})
    assert not any(values.requires_grad for values in nets.load(tmp_path / "again")[0].parameters.values())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["recurrent", "readout_bias"])
def test_weights_that_are_not_finite_are_refused(saved, name, bad):
    path, networks = saved
    networks.parameters[name].view(-1)[5] = bad
    nets.save(path, networks, {})
    with pytest.raises(ValueError, match=rf"block\.safetensors: {name} has values that are not finite"):
        nets.load(path)


def test_files_of_something_else_are_refused(saved, tmp_path):
    path, _ = saved
    other = tmp_path / "other.safetensors"
    save_arrays(other, {"train_images": torch.zeros(3, 4)}, {"name": "digits"})
    with pytest.raises(ValueError, match=r"other\.safetensors: expected networks, found no 'cell'"):
        nets.load(other)
    arrays, meta = load_arrays(path)
    save_arrays(other, {name: arrays[name] for name in arrays if name != "readout"}, meta)
    with pytest.raises(ValueError, match=r"expected networks, found no 'readout'"):
        nets.load(other)
    save_arrays(other, arrays, {**meta, "cell": "perceptron"})
    with pytest.raises(ValueError, match=r"expected networks, found no 'perceptron'"):
        nets.load(other)
