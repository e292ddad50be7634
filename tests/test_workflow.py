"""The smoke run from end to end, and what Snakemake would do again after which change."""

import itertools
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import snakemake
from PIL import Image

from memrnn import record

SMOKE = ("--configfile", "config/smoke.yaml")
CELLS, PROTOCOLS, SEEDS, LABELS = ("gru", "lstm"), ("vocu", "nacu"), (0, 1), range(10)
DELAYS, BUDGETS, MODES = (1, 5, 20, 50, 100), (30, 100), ("control", "centroid", "slow_points")
FIGURES = {"trial", "training", "extrapolation", "correlation", "budget", "regularisation"}
# every (cell, protocol, phase, seed): the trained networks, and those of VoCu in each mode of regularisation
NETWORKS = [
    (cell, protocol, phase, seed)
    for cell, protocol, phase, seed in itertools.product(CELLS, PROTOCOLS, ("trained", *MODES), SEEDS)
    if phase == "trained" or protocol == "vocu"
]

# The columns that other tools rely on, per table of the result contract.
CONTRACT = {
    "extrapolation": "dataset, cell, curriculum, phase, seed, label, delay, accuracy, trials",
    "slow_points": "dataset, cell, curriculum, phase, seed, label, search_steps, speed, distance, readout, "
    "start_speed, start_trials",
    "training": "dataset, cell, curriculum, phase, seed, step, loss, response_accuracy, null_accuracy",
    "correlation": "dataset, cell, curriculum, predictor, search_steps, target, rho, low, high, networks, points",
    "claims": "claim, statement, measure, value, low, high, verdict",
}


# ------------------------------------------------------------------------------------------------------- the results


@pytest.fixture(scope="module")
def results(smoke_run: Path) -> Path:
    return smoke_run / "results" / "smoke"


def table(results: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(results / "tables" / f"{name}.csv")


def keys(frame: pd.DataFrame, *more: str) -> list[tuple]:
    return sorted(frame[["cell", "curriculum", "phase", "seed", *more]].itertuples(index=False, name=None))


@pytest.mark.parametrize("name", CONTRACT)
def test_tables_begin_with_the_columns_of_the_contract(results, name):
    frame = table(results, name)
    assert set(CONTRACT[name].split(", ")) <= set(frame.columns)
    assert len(frame) > 0
    assert not frame.duplicated().any()
    if "dataset" in frame:
        assert set(frame.dataset) == {"digits"}


def test_extrapolation_has_a_row_per_network_class_and_delay(results):
    frame = table(results, "extrapolation")
    expected = [(*network, label, delay) for network in NETWORKS for label in LABELS for delay in DELAYS]
    assert keys(frame, "label", "delay") == sorted(expected)
    assert frame.accuracy.between(0, 1).all()
    assert frame.false_response.between(0, 1).all()
    assert (frame.trials == 100).all()
    assert np.allclose(frame.accuracy * 100, (frame.accuracy * 100).round(), atol=1e-4)


def test_slow_points_have_a_row_per_network_class_and_budget(results):
    frame = table(results, "slow_points")
    expected = [(*network, label, budget) for network in NETWORKS for label in LABELS for budget in BUDGETS]
    assert keys(frame, "label", "search_steps") == sorted(expected)
    assert frame.notna().all(axis=None)
    assert frame.readout.isin(range(-1, 10)).all()
    assert frame.start_trials.between(0, 140).all()
    assert (frame.speed >= 0).all()
    assert (frame.nearest_label != frame.label).all()
    first, last = (frame[frame.search_steps == budget].speed.to_numpy() for budget in BUDGETS)
    assert np.median(last) < np.median(first) < np.median(frame.start_speed)


def test_training_has_a_row_per_network_and_logged_step(results):
    frame = table(results, "training")
    steps = {True: range(0, 151, 25), False: range(0, 21, 10)}
    expected = [(*network, step) for network in NETWORKS for step in steps[network[2] == "trained"]]
    assert keys(frame, "step") == sorted(expected)
    assert frame.drop(columns="alpha").notna().all(axis=None)
    assert np.isfinite(frame.loss).all()
    trained = frame[frame.phase == "trained"]
    full = trained[trained.curriculum == "nacu"].set_index("step")
    assert full.loss[150].max() < full.loss[0].min()
    assert (full.classes == 10).all()
    assert (frame[frame.phase.isin(["trained", "control"])].penalty == 0).all()
    assert (frame[frame.phase.isin(["centroid", "slow_points"])].penalty > 0).all()
    # VoCu's boundaries 0, 8, 16, ..., 98 of 140 fall on steps 0, 9, 17, 28, 39, 51, 66, 84 and 105 of 150.
    vocu = trained[trained.curriculum == "vocu"].set_index("step").classes
    assert [set(vocu[step]) for step in steps[True]] == [{2}, {4}, {6}, {8}, {9}, {10}, {10}]


def test_correlation_has_a_row_per_cell_protocol_and_predictor(results):
    frame = table(results, "correlation")
    predictors = [("centroid_speed", 0), *(("speed", budget) for budget in BUDGETS)]
    expected = [(c, p, *predictor) for c in CELLS for p in (*PROTOCOLS, "all") for predictor in predictors]
    found = frame[["cell", "curriculum", "predictor", "search_steps"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted(expected)
    assert set(frame.target) == {"extrapolation_score"}


def test_claims_are_those_of_this_run(results):
    frame = table(results, "claims")
    assert list(dict.fromkeys(frame.claim)) == ["C1", "C2", "C3", "C5"]
    assert frame.verdict.isin(["supported", "mixed", "not supported"]).all()
    assert (frame.groupby("claim").verdict.nunique() == 1).all()


def test_one_trial_is_told_step_by_step(results):
    frame = table(results, "trial")
    sizes = {"pixel": 64, "trigger": 1, "stimulus": 1, "target": 11, "output": 11}
    for quantity, size in sizes.items():
        rows = frame[frame.quantity == quantity]
        assert sorted(zip(rows.step, rows["index"], strict=True)) == list(itertools.product(range(20), range(size)))
    wide = frame.pivot_table(index="step", columns=["quantity", "index"], values="value")
    (asked,) = wide.index[wide["trigger"][0] == 1]
    (shown,) = wide.index[wide["stimulus"][0] == 1]
    assert asked - shown >= 4
    assert wide["pixel"].loc[shown].between(0, 1).all()  # as an image's pixels are, and a frame of noise is not
    assert wide["shape"].loc[0].tolist() == [8, 8, 1]
    assert (wide["target"].sum(axis=1) == 1).all()
    assert (wide["target"][0] == (wide.index != asked)).all()
    assert frame[frame.quantity == "output"].value.between(0, 1).all()


def test_every_figure_shows_something(results):
    files = {path.name for path in (results / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    for name in FIGURES:
        with Image.open(results / "figures" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 60  # at the smoke run's 60 dots per inch
        inked = pixels < 200
        assert 0.005 < inked.mean() < 0.7
        halves = [np.array_split(half, 2, axis=1) for half in np.array_split(inked, 2)]
        assert all(quarter.any() for half in halves for quarter in half)  # what is drawn reaches everywhere
        drawing = (results / "figures" / f"{name}.svg").read_text()
        assert drawing.count("<path") > 20


def test_provenance_is_complete(results):
    found = record.load_json(results / "provenance.json")
    default, smoke = (
        yaml.safe_load(Path(results.parents[1], "config", f"{n}.yaml").read_text()) for n in ("config", "smoke")
    )
    assert found["config"]["run"] == "smoke"
    assert found["config"].keys() == default.keys()
    for key, section in smoke.items():
        if isinstance(section, dict):
            assert found["config"][key] == default[key] | section
        else:
            assert found["config"][key] == section
    assert found["commit"] is None  # the clone of these tests has no version control
    assert set(found["versions"]) >= {"python", "torch", "numpy", "snakemake"}
    jobs = {rule: took["jobs"] for rule, took in found["rules"].items()}
    assert jobs == {
        "dataset": 1, "train": 4, "trials": 1, "slow_points": 6, "regularise": 2, "extrapolate": 6, "tables": 3,
        "correlate": 1, "claims": 1, "figures": 6,
    }  # fmt: skip
    assert all(took["seconds"] > 0 for took in found["rules"].values())


def test_the_run_ends_with_the_claims_and_where_the_figures_lie(smoke_run):
    printed = (smoke_run / "stdout.txt").read_text()
    tail = printed[printed.rindex("33 of 33 steps (100%) done") :]
    assert [line.split()[0] for line in tail.splitlines() if re.match(r"C\d ", line)] == ["C1", "C2", "C3", "C5"]
    assert re.search(r"^figures +results/smoke/figures$", tail, re.MULTILINE)
    assert re.search(r"^tables +results/smoke/tables$", tail, re.MULTILINE)


def test_every_rule_has_left_its_log(results):
    logs = {path.relative_to(results / "logs").with_suffix("") for path in (results / "logs").rglob("*.log")}
    benchmarks = {
        p.relative_to(results / "benchmarks").with_suffix("") for p in (results / "benchmarks").rglob("*.tsv")
    }
    assert logs == benchmarks
    assert len(logs) == 32
    for path in (results / "logs").rglob("*.log"):
        assert path.read_text().strip(), path
        assert "Traceback" not in path.read_text()


def test_nothing_is_left_over(results):
    files = [path.relative_to(results) for path in results.rglob("*")]
    assert [str(path) for path in files if path.name.startswith(".") or path.suffix in (".partial", ".tmp")] == []


def test_the_smoke_run_is_short(results):
    """At most 90 s on two idle cores; told by the processor's seconds, which other work hardly changes."""
    taken = [pd.read_csv(path, sep="\t", na_values="-").cpu_time for path in (results / "benchmarks").rglob("*.tsv")]
    assert 10 < pd.concat(taken).sum() < 2 * 90


# --------------------------------------------------------------------------------------- what a change makes run again


@dataclass(frozen=True)
class Plan:
    """What a dry run would do: jobs per rule, and the message of each."""

    jobs: dict[str, int]
    messages: list[str]
    printed: str


def plan(clone: Path, *arguments: str) -> Plan:
    done = snakemake(clone, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout
    counts: dict[str, int] = {}
    if "Job stats:" in done.stdout:
        lines = done.stdout.split("Job stats:")[1].strip().splitlines()[2:]
        counts = {line.split()[0]: int(line.split()[1]) for line in itertools.takewhile(str.strip, lines)}
        assert counts.pop("total") == sum(counts.values())
    else:
        assert "Nothing to be done" in done.stdout
    return Plan(counts, re.findall(r"^ *Job \d+: (.+)$", done.stdout, re.MULTILINE), done.stdout)


@pytest.fixture(scope="module")
def finished(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished clone in another place, times of modification included."""
    return shutil.copytree(smoke_run, tmp_path_factory.mktemp("copy") / "elsewhere", symlinks=True)


@pytest.fixture
def edited(finished: Path):
    """Edits a file of the finished clone for one test."""
    kept: list[tuple[Path, str, os.stat_result]] = []

    def edit(path: str, text: str = "", append: str = "") -> None:
        file = finished / path
        if file.exists():
            kept.append((file, file.read_text(), file.stat()))
            file.write_text(text or file.read_text() + append)
        else:
            kept.append((file, "", None))
            file.write_text(text)

    yield edit
    for file, content, status in reversed(kept):
        if status is None:
            file.unlink()
        else:
            file.write_text(content)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


AFTER_NETWORKS = {"tables": 3, "correlate": 1, "claims": 1, "provenance": 1, "all": 1}


def test_what_is_done_is_not_done_again(finished, edited):
    """Neither after a move, nor after a touch, nor for the same values written elsewhere in another order."""
    for module in (finished / "workflow" / "lib").rglob("*.py"):
        module.touch()
    edited("config/more.yaml", "train: {log_every: 25, batch: 32}\nslow_points: {noise_steps: 14}\nthreads: 1\n")
    assert plan(finished, *SMOKE, "config/more.yaml").jobs == {}


def test_another_strength_trains_on_again_but_never_trains(finished, edited):
    edited("config/more.yaml", "regularise: {strength: 2.0e-3}\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    assert found.jobs == AFTER_NETWORKS | {
        "regularise_block": 2, "extrapolate_block": 2, "slow_points_block": 2, "figure": 5,
    }  # fmt: skip
    again = [message for message in found.messages if re.match("Longer delays|Slow points of", message)]
    assert len(again) == 4
    assert all("regularise" in message for message in again)
    assert "Figure trial" not in found.messages


def test_another_palette_draws_again_and_nothing_else(finished, edited):
    edited("config/more.yaml", "figures: {palette: deep}\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    assert found.jobs == {"figure": 6, "provenance": 1, "all": 1}


def test_a_new_seed_adds_a_block_and_the_summaries(finished, edited):
    edited("config/more.yaml", "seeds: [0, 1, 2]\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    assert found.jobs == AFTER_NETWORKS | {
        "train_block": 4, "regularise_block": 2, "extrapolate_block": 6, "slow_points_block": 6, "figure": 5,
    }  # fmt: skip
    blocks = Counter(re.findall(r"seeds[\d_-]+", " ".join(found.messages)))
    assert blocks == {"seeds2": 18}


@pytest.mark.parametrize(
    ("module", "expected", "figures"),
    [
        ("downloads", {}, set()),  # the digits are not downloaded
        ("figures", {"figure": 6, "provenance": 1, "all": 1}, FIGURES),
        (
            "extrapolate",
            AFTER_NETWORKS | {"extrapolate_block": 6, "tables": 1, "figure": 4},
            {"extrapolation", "regularisation", "correlation", "budget"},
        ),
        # Regularisation starts from slow points, and what it trains goes through every later stage.
        (
            "slow_points",
            AFTER_NETWORKS | {"slow_points_block": 6, "regularise_block": 2, "extrapolate_block": 2, "figure": 5},
            FIGURES - {"trial"},
        ),
        (
            "cells",
            AFTER_NETWORKS
            | {"train_block": 4, "trials": 1, "slow_points_block": 6, "regularise_block": 2, "extrapolate_block": 6}
            | {"figure": 6},
            FIGURES,
        ),
    ],
)
def test_an_edit_of_a_module_runs_the_stages_that_use_it(finished, edited, module, expected, figures):
    edited(f"workflow/lib/memrnn/{module}.py", append="\n# an edit\n")
    found = plan(finished, *SMOKE)
    assert found.jobs == expected
    assert {message.removeprefix("Figure ") for message in found.messages if message.startswith("Figure ")} == figures


def test_a_script_is_an_input_of_its_jobs(finished, edited):
    """An interrupted training goes on only with the same inputs, so a change of its script must be a change of them."""
    edited("workflow/scripts/regularise.py", append="\n# an edit\n")
    found = plan(finished, "regularise", "--rerun-triggers", "mtime", *SMOKE)
    assert found.jobs == {"regularise_block": 2, "regularise": 1}


def test_single_targets_do_what_they_lack(finished):
    """What is missing of a target is made; what nobody asked for is not."""
    lost = [
        finished / "results/smoke" / name for name in ("figures/trial.png", "extrapolate/train/gru-nacu/seeds0-1.csv")
    ]
    aside = [path.rename(path.with_suffix(".aside")) for path in lost]
    try:
        assert plan(finished, "train", "slow_points", "regularise", *SMOKE).jobs == {}
        assert plan(finished, "results/smoke/figures/trial.png", *SMOKE).messages == ["Figure trial"]
        found = plan(finished, "extrapolate", "figures", *SMOKE)
    finally:
        for path, kept in zip(lost, aside, strict=True):
            kept.rename(path)
    assert found.jobs["extrapolate"] == found.jobs["figures"] == 1
    assert found.jobs["extrapolate_block"] == 1
    assert "Longer delays for gru, nacu, train, seeds0-1" in found.messages
    assert not {"train_block", "slow_points_block", "regularise_block", "claims", "provenance"} & set(found.jobs)


@pytest.mark.parametrize(
    ("target", "rule", "expected"),
    [
        # Regularisation starts from the points of the trained networks, so it lies between the two uses of the rule.
        (["slow_points"], "slow_points_block", {"slow_points_block": 6, "regularise_block": 2, "slow_points": 1}),
        ([], "figure", {"figure": 6, "provenance": 1, "all": 1}),
    ],
)
def test_a_rule_can_be_forced(finished, target, rule, expected):
    assert plan(finished, *target, "--forcerun", rule, *SMOKE).jobs == expected


# --------------------------------------------------------------------------------------------------- must refuse


@pytest.mark.parametrize(
    ("config", "target", "expected"),
    [
        ("figures: {pallete: deep}\n", [], ["figures.pallete", "palette"]),
        ("regularise: {protocols: [vocu, decu]}\n", [], ["regularise.protocols", "decu", "nacu"]),
        ("threads: 1\n", ["slow_pionts"], ["slow_pionts"]),
        ("threads: 1\n", ["results/smoke/train/gru-vcou/seeds0-1.safetensors"], ["gru-vcou"]),
        ("threads: 1\n", ["results/smoke/train/gru-vocu/seeds0-2.safetensors"], ["seeds0-2"]),
    ],
    ids=["unknown key", "regularising what is not trained", "unknown target", "unknown protocol", "unknown block"],
)
def test_mistakes_are_told_before_any_job(finished, edited, config, target, expected):
    edited("config/more.yaml", config)
    # for real, not dry: nothing may start
    done = snakemake(finished, "--cores", "1", *target, *SMOKE, "config/more.yaml")
    assert done.returncode != 0
    for text in expected:
        assert text in done.stdout
    for text in ("Traceback", "Job stats", "Select jobs to execute"):
        assert text not in done.stdout
    told = done.stdout[done.stdout.index("Config MD5") :] if "Config MD5" in done.stdout else done.stdout
    assert len(told.splitlines()) < 20


# ---------------------------------------------------------------------------------------------------- the same numbers


def test_one_core_gives_the_same_bytes_as_two(smoke_run, tmp_path):
    """The run was made on two cores; here, on one, a chain through every stage with networks, and one of the LSTM."""
    clone = tmp_path / "clone"
    shutil.copytree(smoke_run, clone, ignore=shutil.ignore_patterns("results", ".snakemake"))
    # Verdicts of a run before this one, which they must not be taken for.
    (clone / "results/smoke/tables").mkdir(parents=True)
    for old in ("provenance.json", "tables/claims.csv"):
        shutil.copy(smoke_run / "results/smoke" / old, clone / "results/smoke" / old)
    tables = [f"results/smoke/extrapolate/{each}/seeds0-1.csv" for each in ("regularise/gru-vocu", "train/lstm-nacu")]
    done = snakemake(clone, "--cores", "1", *tables, *SMOKE)
    assert done.returncode == 0, done.stdout
    assert not re.search(r"^C\d ", done.stdout, re.MULTILINE)
    made = sorted(
        path.relative_to(clone)
        for path in (clone / "results/smoke").rglob("*")
        if path.is_file() and not {"logs", "benchmarks", "tables", "provenance.json"} & set(path.parts)
    )
    # images; networks, checkpoints and table; points and table; networks and table; table; and of the LSTM without
    # regularisation: networks, checkpoints and table; table
    assert len(made) == 13
    for path in made:
        assert (clone / path).read_bytes() == (smoke_run / path).read_bytes(), path
