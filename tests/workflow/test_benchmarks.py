"""The benchmarks: what is compared is equal work, and the tables have the columns they promise."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import load_script
from reference import dense

from memrnn.core import streams
from memrnn.core.files import load_json
from memrnn.models import networks as nets
from memrnn.models.fronts import Convnet
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
SEARCH = SCRIPT.with_name("slow_points.py")
CONVNET = SCRIPT.with_name("convnet.py")
CONTRACT = ["benchmark", "size", "cell", "setting", "networks", "threads", "device", "median_ms", "ratio", "peak_mib"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench():
    """The script; other processes find it and its neighbours."""
    sys.path.insert(0, str(SCRIPT.parent))
    yield load_script(SCRIPT)
    sys.path.remove(str(SCRIPT.parent))


def asked(bench, **options) -> argparse.Namespace:
    defaults = {"sizes": ["digits", "mnist"], "cells": ["gru", "lstm"], "devices": ["cpu"], "rounds": 30}
    return argparse.Namespace(**{**dict.fromkeys(("networks", "threads", "settings")), **defaults, **options})


def as_the_engine_draws(drawn, noise, images, x):
    """In place of `dense_inputs`, which draws the same in another order."""
    x.copy_(dense(task.inputs(drawn, noise, images.train_images, images.mean, images.std, x.shape[1])))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_plain_step_and_the_exact_one_do_the_same_update(bench, cell, monkeypatch):
    started = []
    initial = nets.initial
    monkeypatch.setattr(nets, "initial", lambda *sizes: started.append(initial(*sizes)) or started[-1])
    monkeypatch.setattr(bench, "dense_inputs", as_the_engine_draws)
    task = bench.Task(cell, networks=2, batch=8, pixels=16, units=12, steps=10)
    plain, exact = (bench.prepare(setting, task, CPU) for setting in ("plain", "exact"))
    before = {name: values.detach().clone() for name, values in started[0].parameters.items()}
    for _ in range(2):  # the second update tells whether trials and noise go on alike
        plain()
        exact()
        for name, values in started[0].parameters.items():
            engine = exact.func.networks.parameters[name]
            assert values.grad.abs().max() > 1e-4
            torch.testing.assert_close(engine.grad, values.grad, rtol=1e-3, atol=1e-6)
            moved = (engine - before[name]).abs().max()
            assert bench.RATE / 2 < moved < 3 * bench.RATE
            assert (engine - values).abs().max() < moved


def test_dense_inputs_are_noise_with_the_image_and_the_trigger_put_in(bench):
    images, stage = bench.synthetic(16), Lesson(bench.CLASSES, 10)
    draws, noise = ([streams.generator(seed, "test", name) for seed in range(3)] for name in ("draws", "noise"))
    drawn = task.draw(draws, 50, stage, bench.MIN_DELAY, images.offsets("train"), images.counts("train"))
    x = torch.full((3, 10, 50, 17), torch.nan)
    bench.dense_inputs(drawn, noise, images, x)
    shown = x[..., :-1]
    is_image = (shown == images.train_images[drawn.image].unsqueeze(1)).all(-1)
    time = torch.arange(10).view(1, -1, 1)
    assert torch.equal(is_image, time == drawn.stimulus.unsqueeze(1))
    assert torch.equal(x[..., -1], (time == drawn.response.unsqueeze(1)).float())
    pixels = shown[~is_image]
    assert pixels.mean() == pytest.approx(images.mean, abs=0.01)
    assert pixels.std() == pytest.approx(images.std, abs=0.01)
    assert not torch.equal(pixels[:100], pixels[-100:])


def test_torchs_lstm_with_the_same_weights_says_the_same(bench):
    networks = nets.initial("lstm", range(2), 7, 5, 11)
    modules = [(torch.nn.LSTM(7, 5), torch.nn.Linear(5, 11)) for _ in range(2)]
    ours = networks.parameters

    def in_torchs_order(values):
        """Columns f, i, o, g as rows i, f, g, o."""
        f, i, o, g = values.mT.chunk(4) if values.ndim == 2 else values.chunk(4)
        return torch.cat([i, f, g, o])

    with torch.no_grad():
        for k, (layer, readout) in enumerate(modules):
            layer.weight_ih_l0.copy_(in_torchs_order(ours["inputs"][k]))
            layer.weight_hh_l0.copy_(in_torchs_order(ours["recurrent"][k]))
            layer.bias_ih_l0.copy_(in_torchs_order(ours["bias"][k]))
            layer.bias_hh_l0.zero_()
            readout.weight.copy_(networks.readout[k].mT)
            readout.bias.copy_(networks.readout_bias[k])
    x = torch.randn(2, 6, 3, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bench.layer_logits(modules, x), bench.plain_logits(networks, x))


def test_scaling_changes_one_quantity_at_a_time(bench):
    points = list(bench.scalings(asked(bench)))
    for varied in ("batch", "units", "steps", "networks"):
        base = getattr(bench.SCALED, varied)
        tasks = [point.task for point in points if point.varied == varied]
        assert tasks == [bench.SCALED._replace(**{varied: value}) for value in (base // 2, base, 2 * base)]
    assert len(points) == 12


def test_every_comparison_has_the_plain_loop(bench):
    for options in ({}, {"settings": ["bf16"]}, {"networks": [20], "threads": [2]}):
        points = list(bench.comparisons(asked(bench, **options)))
        assert all(point.settings[0] == "plain" and len(point.settings) > 1 for point in points)
        assert len(points) == len(set(points))
    assert {(p.task.networks, p.threads) for p in points} == {(20, 2)}
    assert all(point.settings == bench.SETTINGS for point in points)


def test_peak_memory_comes_from_another_process_in_mib(bench):
    task = bench.Task("gru", networks=1, batch=8, pixels=16, units=12)
    ((key, mib),) = bench.peaks([bench.Point("training", "digits", task, 1, "cpu", ("exact",), 1)]).items()
    assert key == ("exact", task, "cpu")
    assert 50 < mib < 10000  # torch alone takes hundreds


def run_script(script: Path, folder: Path, *arguments: str) -> str:
    """Run a benchmark as a user would, whatever the shell says of memrnn's place; it writes to folder/bench.

    Returns what it printed.
    """
    done = subprocess.run(
        [sys.executable, script, *arguments, "--out", "bench"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_of(folder: Path, name: str, *figures: str) -> pd.DataFrame:
    """The table of a run, of which what every benchmark promises is true: columns, ratios, ranges and files."""
    table = pd.read_csv(folder / "bench" / f"{name}.csv")
    assert list(table.columns[: len(CONTRACT)]) == CONTRACT
    assert (table.ratio[table.setting == "plain"] == 1).all()
    alike = table.median_ms.where(table.setting == "plain").groupby([table.cell, table.networks])
    assert table.ratio.to_numpy() == pytest.approx((alike.transform("first") / table.median_ms).to_numpy())
    assert (table.low_ms <= table.median_ms).all() and (table.median_ms <= table.high_ms).all()
    kinds = ("csv", "csv.sha256", "json", "json.sha256", *figures)
    assert {path.name for path in (folder / "bench").iterdir()} == {f"{name}.{kind}" for kind in kinds}
    return table


def test_a_small_run_writes_the_table_and_the_figure(bench, tmp_path):
    arguments = ["--benchmarks", "training", "--sizes", "digits", "--networks", "1", "--rounds", "2", "--no-memory"]
    printed = run_script(SCRIPT, tmp_path, *arguments)
    table = table_of(tmp_path, "training", "png", "svg")
    assert list(zip(table.cell, table.setting, strict=True)) == [
        (cell, setting) for cell in ("gru", "lstm") for setting in bench.SETTINGS
    ]
    where = load_json(tmp_path / "bench" / "training.json")
    assert where["machine"]["processor"] and where["versions"]["torch"] == torch.__version__
    assert printed.count("gru") == 1


def test_the_floor_counts_every_product_of_an_update(bench):
    limits = load_script(SCRIPT.with_name("limits.py"))
    for cell, gates in (("gru", 3), ("lstm", 4)):
        task = bench.Task(cell, 1, batch=2, pixels=3, units=5, steps=4)
        found = {
            name: sum(rows * inner * columns * times for (rows, inner, columns), times in shapes)
            for name, shapes in limits.products(task, 7).items()
        }
        # Forward and the weights' gradient; forward, the states' gradient and the weights' gradient.
        assert found == {"input": 2 * 7 * 3 * gates * 5, "recurrent": 3 * (2 * 4) * 5 * gates * 5}
        run, operations = limits.product((2, 3, 4), torch.bfloat16)
        assert operations == 2 * 2 * 3 * 4 and run().shape == (1, 2, 4)


# ------------------------------------------------------------------------------------------ search for slow points


@pytest.fixture(scope="module")
def bench_search(bench):
    return load_script(SEARCH)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_plain_search_and_ours_end_at_the_same_states(bench_search, cell):
    task = bench_search.Task(cell, networks=2, pixels=5, units=12, points=3)
    plain, ours, again = (bench_search.prepare(setting, task, CPU)() for setting in ("plain", "search", "search"))
    for expected, found, repeated in zip(plain, ours, again, strict=True):
        assert found.shape == (2, 3, 12)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert torch.equal(found, repeated)


def test_peak_memory_of_a_search_comes_from_another_process_in_mib(bench_search):
    task = bench_search.Task("gru", networks=1, pixels=5, units=12)
    point = bench_search.Point("digits", task, 1, "cpu", 1, settings=("search",))
    ((key, mib),) = bench_search.peaks([point], bench_search.peak).items()
    assert key == ("search", task, "cpu")
    assert 50 < mib < 10000


def test_a_small_run_of_the_search_writes_its_table(tmp_path):
    arguments = ["--sizes", "digits", "--networks", "1", "2", "--cells", "gru", "--rounds", "2", "--no-memory"]
    run_script(SEARCH, tmp_path, *arguments)
    table = table_of(tmp_path, "slow_points")
    assert list(zip(table.networks, table.setting, strict=True)) == [
        (n, s) for n in (1, 2) for s in ("plain", "search", "search_onednn")
    ]
    minutes = table.median_ms * table.networks * 100_000 / 1000 / 60
    assert table.paper_minutes.to_numpy() == pytest.approx(minutes.to_numpy())


# ------------------------------------------------------------------------------------------ the convolutional front end


@pytest.fixture(scope="module")
def bench_convnet(bench):
    return load_script(CONVNET)


@pytest.mark.parametrize("setting", ["plain", "plain_batched"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_torchs_layers_and_the_exact_engine_do_the_same_update(bench, bench_convnet, setting, cell, monkeypatch):
    trained = []
    plain_step = bench_convnet.plain_step
    monkeypatch.setattr(bench_convnet, "plain_step", lambda own, *more: trained.extend(own) or plain_step(own, *more))
    monkeypatch.setattr(bench, "dense_inputs", as_the_engine_draws)
    front = Convnet((5, 8, 3), filters=(4, 6), kernel=3, dense=(7, 5), leak=0.2)
    task = bench_convnet.Task(cell, networks=2, batch=6, units=9, front=front, steps=8)
    plain, exact = (bench_convnet.prepare(each, task, CPU) for each in (setting, "exact"))
    # The second update tells whether trials and noise go on alike. Filters have moved by other lengths by then, so that
    # a number near 0 may be on the other side of the ReLU.
    for near in (1e-5, 0.1):
        plain()
        exact()
        ours = exact.func.networks
        grads = ours.like({name: values.grad for name, values in ours.parameters.items()})
        expected = [values for name, values in grads.parameters.items() if name not in front.parameter_names]
        for network in range(2):
            layers = bench_convnet.layers_of(grads, network)
            for layer, channels, filters in ((0, 3, 4), (3, 4, 6)):
                # A stored number's gradient is divided like the number; layers_of divided it again.
                layers[layer].weight.data *= channels * filters
                layers[layer].bias.data *= filters
            expected += layers.parameters()
        assert len(trained) == len(expected)
        for values, grad in zip(trained, expected, strict=True):
            largest = grad.abs().max().item()
            assert largest > 0
            torch.testing.assert_close(values.grad, grad.detach(), rtol=0, atol=near * largest)


def test_sizes_of_the_front_end_are_the_configurations(bench_convnet):
    small, paper = (bench_convnet.task_of(size, "lstm", 1) for size in ("small", "paper"))
    assert paper.front == Convnet((32, 32, 3), (128, 128, 128), 3, (2048, 2048, 1024), 0.2)
    assert (paper.units, paper.batch, paper.steps, paper.pixels) == (512, 64, 20, 3072)
    assert (small.units, small.batch, small.front.filters, small.front.dense) == (100, 32, (8, 8, 16), (256,))


def test_a_small_run_behind_the_front_end_writes_its_table(tmp_path):
    arguments = ["--sizes", "small", "--cells", "gru", "--settings", "bf16_shared", "--rounds", "1"]
    printed = run_script(CONVNET, tmp_path, *arguments)
    table = table_of(tmp_path, "convnet")
    assert list(table.setting) == ["plain", "bf16_shared"]
    assert table[["pixels", "filters", "dense"]].drop_duplicates().values.tolist() == [[3072, "8 8 16", 256]]
    assert table.peak_mib.between(50, 10000).all()  # torch alone takes hundreds
    assert printed.count("gru") == 1


PEER = """
import numpy as np
from types import SimpleNamespace

class FixedPointFinderTorch:
    def __init__(self, rnn, **settings):
        assert settings["tol_q"] == 1e-12 / 2 and settings["dtype"] == "float64"

    def find_fixed_points(self, states, inputs):
        states[:] = 0  # as the true one, it writes over what it is given
        return None, SimpleNamespace(xstar=states)
"""


def test_the_finder_and_its_peer_are_judged_alike_on_the_same_starts(tmp_path):
    (tmp_path / "FixedPointFinderTorch.py").write_text(PEER)
    done = subprocess.run(
        [sys.executable, SCRIPT.with_name("fixed_point_finder.py"), "--peer", tmp_path, "--out", tmp_path,
         "--rates", "0.01", "--rounds", "2", "--updates", "100", "--starts", "60"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = pd.read_csv(tmp_path / "fixed_point_finder.csv").itertuples()
    assert (ours.method, ours.ratio, ours.starts) == ("memrnn", 1, 60)
    assert 2 <= ours.points < ours.at_rest <= 60
    assert (theirs.at_rest, theirs.points) == (0, 0)  # 0 is no fixed point
    assert load_json(tmp_path / "fixed_point_finder.json").keys() == {"machine", "versions"}
