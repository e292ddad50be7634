"""The smoke run from end to end, and what Snakemake would do again after which change."""

import itertools
import os
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake
from PIL import Image

from memrnn import figures
from memrnn.analysis import correlate
from memrnn.analysis.claims import CLAIMS
from memrnn.core import tables as contract
from memrnn.core.files import load_json
from memrnn.run import verify
from memrnn.run.stages import STAGES

SMOKE = ("--configfile", "config/smoke.yaml")
CELLS, PROTOCOLS, SEEDS, LABELS = ("gru", "lstm"), ("vocu", "nacu"), (0, 1), range(10)
DELAYS, BUDGETS, MODES = (1, 5, 20, 50, 100), (30, 100), ("control", "centroid", "slow_points")
FIGURES = set(figures.FIGURES)
# VoCu's boundaries 0, 8, 16, ..., 98 of 140 fall on these steps of 150, where checkpoints lie beside 0, 75 and 150.
INTRODUCED = (0, 0, 9, 17, 28, 39, 51, 66, 84, 105)
CHECKPOINTS = sorted({0, 75, 150, *INTRODUCED})
# every (cell, protocol, phase, seed): the trained networks, and those of VoCu in each mode of regularisation
NETWORKS = [
    (cell, protocol, phase, seed)
    for cell, protocol, phase, seed in itertools.product(CELLS, PROTOCOLS, ("trained", *MODES), SEEDS)
    if phase == "trained" or protocol == "vocu"
]

# The columns that other tools rely on; the schema, which tables are checked against when they are written, has more.
CONTRACT = {
    "extrapolation": "dataset, cell, curriculum, phase, seed, label, delay, accuracy, trials, false_alarm, "
    "informedness",
    "slow_points": "dataset, cell, curriculum, phase, seed, label, search_steps, speed, distance, readout, "
    "start_speed, start_trials, nearest_distance",
    "training": "dataset, cell, curriculum, phase, seed, step, loss, response_accuracy, null_accuracy",
    "correlation": "dataset, cell, curriculum, predictor, search_steps, target, rho, low, high, networks, points",
    "claims": "claim, statement, measure, panel, primary, value, low, high, networks, verdict",
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

    assert np.allclose(frame.informedness, frame.accuracy - frame.false_alarm, atol=1e-6)
    # What is answered where it was not shown is no more than what is answered wrongly.
    wrong = frame.assign(wrong=1 - frame.accuracy).groupby(["cell", "curriculum", "phase", "seed", "delay"])
    assert (wrong.false_alarm.sum() * 9 <= wrong.wrong.sum() + 1e-6).all()


def test_the_training_task_has_a_row_per_network_and_class(results):
    frame = table(results, "nominal")
    assert keys(frame, "label") == sorted((*network, label) for network in NETWORKS for label in LABELS)
    assert (frame.groupby(["cell", "curriculum", "phase", "seed"]).trials.sum() == 10_000).all()
    assert frame.trials.between(800, 1200).all()
    # Networks of one seed meet the same trials.
    assert (frame.groupby(["seed", "label"]).trials.nunique() == 1).all()


def test_relaxed_speeds_have_a_row_per_trained_network_class_and_time(results):
    frame = table(results, "relaxed")
    times = (0, 10, 20, 40, 70, 100, 200)
    trained = [network for network in NETWORKS if network[2] == "trained"]
    expected = [(*network, label, time) for network in trained for label in LABELS for time in times]
    assert keys(frame, "label", "time") == sorted(expected)
    slow = table(results, "slow_points").query("phase == 'trained' and search_steps == 100")
    both = frame[frame.time == 0].merge(slow, on=["cell", "curriculum", "seed", "label"])
    assert both.speed_x.to_numpy() == pytest.approx(both.start_speed.to_numpy(), rel=1e-4, abs=1e-7)


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


def test_other_starts_have_a_row_per_network_class_and_start(results):
    frame = table(results, "other_starts")
    starts = [network for network in NETWORKS if network[1] == "vocu" and network[2] == "trained"]
    expected = [
        (*network[:2], start, network[3], label, 100)
        for network in starts for start in ("trial_states", "untrained") for label in LABELS
    ]  # fmt: skip
    assert keys(frame, "label", "search_steps") == sorted(expected)
    # A single trial's state is not the mean of many.
    slow = table(results, "slow_points").query("phase == 'trained' and curriculum == 'vocu' and search_steps == 100")
    for start in ("trial_states", "untrained"):
        assert not np.isin(frame.start_speed[frame.phase == start], slow.start_speed).any()


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
    vocu = trained[trained.curriculum == "vocu"].set_index("step").classes
    assert [set(vocu[step]) for step in steps[True]] == [{2}, {4}, {6}, {8}, {9}, {10}, {10}]


STEPS_OF = {"slow_points": BUDGETS, "relaxed": (0, 10, 20, 40, 70, 100, 200)}
PREDICTORS = [
    (name, steps)
    for name, kind in correlate.PREDICTORS.items()
    for steps in (STEPS_OF.get(kind.table, (100,)) if kind.at_budget else (0,))
]
JOINT = [("speed + drift + diffusion", 100), ("time_constant + drift + diffusion", 100), ("constant", 0)]


def test_correlation_has_a_row_per_cell_protocol_predictor_and_target(results):
    frame = table(results, "correlation")
    panels = itertools.product(CELLS, (*PROTOCOLS, "all"), PREDICTORS, correlate.TARGETS)
    expected = [(cell, protocol, *each, target) for cell, protocol, each, target in panels]
    found = frame[["cell", "curriculum", "predictor", "search_steps", "target"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted(expected)


def test_scores_have_lifetimes_within_the_delays(results):
    frame = table(results, "scores")
    assert frame.lifetime.between(20, 100).all()
    assert (frame.lifetime[frame.lifetime_censored] == 100).all()
    # A class no better than chance has the shortest lifetime there is, and no other class has it.
    pd.testing.assert_series_equal(frame.lifetime == 20, frame.accuracy_at_t_max.round(6) <= 0.1, check_names=False)


def test_predictors_are_compared_and_every_class_is_predicted_by_every_model(results):
    frame = table(results, "predictors")
    models = dict.fromkeys(correlate.TARGETS, PREDICTORS) | {"lifetime": PREDICTORS + JOINT}
    expected = [(c, p, t, *m) for c in CELLS for p in (*PROTOCOLS, "all") for t in models for m in models[t]]
    found = frame[["cell", "curriculum", "target", "predictor", "search_steps"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted(expected)
    frame = table(results, "predictions")
    networks = [(c, p, seed) for c in CELLS for p in PROTOCOLS for seed in SEEDS]
    expected = [
        (*network, label, panel, *model)
        for network in networks
        for label in LABELS
        for panel in (network[1], "all")
        for model in PREDICTORS + JOINT
    ]
    columns = ["cell", "curriculum", "seed", "label", "panel", "model", "search_steps"]
    assert sorted(frame[columns].itertuples(index=False, name=None)) == sorted(expected)
    assert frame.predicted.dropna().between(20, 100).all()
    assert frame.predicted[~frame.learned].isna().all()


def test_every_trained_network_s_points_are_of_some_kind(results):
    frame = table(results, "spectrum")
    trained = [network for network in NETWORKS if network[2] == "trained"]
    assert keys(frame, "label") == sorted((*network, label) for network in trained for label in LABELS)
    assert (frame.search_steps == 100).all()
    assert frame.drop(columns=["fixed_unstable", "drift", "diffusion"]).notna().all(axis=None)
    assert (frame.drift.isna() == frame.direction.isin(["no basis", "unseen"])).all()
    assert frame.kind.isin(["stable", "saddle", "ghost", "slope", "undecided"]).all()
    assert ((frame.kind == "stable") == (frame.fixed_unstable == 0)).all()
    assert (frame.fixed_unstable.isna() == ~frame.kind.isin(["stable", "saddle"])).all()
    assert (frame.newton_speed[frame.fixed_unstable.notna()] < 1e-9).all()
    assert ((frame.unstable > 0) == (frame.leading_modulus > 1 + 1e-9)).all()
    assert frame.relaxation_kept.between(0, 50).all()
    assert frame.relaxation_readout.isin([-1, *LABELS]).all()
    # kept to the end is read out at the end; and a window of 20 steps is no longer than what is kept for 20
    assert (frame.relaxation_readout == frame.label)[frame.relaxation_kept == 50].all()
    kept = frame[frame.relaxation_kept >= 20]
    assert (kept.relaxation_speed <= kept.window_speed).all()
    # The slow-point stage's read-outs, and speeds that Newton's steps only lower before they are led on.
    slow = table(results, "slow_points").query("phase == 'trained' and search_steps == 100")
    both = frame.merge(slow, on=["cell", "curriculum", "seed", "label"])
    assert len(both) == len(frame)
    assert (both.readout_x == both.readout_y).mean() > 0.95  # in float64 and in float32
    assert (both.newton_speed <= both.speed + 1e-6).mean() > 0.9


def test_portraits_are_of_the_first_seed(results):
    frame = table(results, "portraits")
    assert frame[["cell", "curriculum", "seed"]].drop_duplicates().to_numpy().tolist() == [
        [cell, protocol, 0] for cell in CELLS for protocol in PROTOCOLS
    ]
    assert frame.groupby(["cell", "curriculum"]).what.value_counts().unstack().loc[("gru", "vocu")].to_dict() == {
        "trajectory": 10 * 31, "slow_point": 10, "centroid": 10, "share": 1,
    }  # fmt: skip


def test_points_are_followed_back_over_every_checkpoint(results):
    frame = table(results, "backtrack")
    expected = [(c, "vocu", "trained", s, k, at) for c in CELLS for s in SEEDS for k in LABELS for at in CHECKPOINTS]
    assert keys(frame, "label", "step") == sorted(expected)
    assert (frame.distance_to_next.isna() == (frame.step == 150)).all()
    assert (frame.distance_to_next.dropna() > 0).all()
    assert (frame.search_steps == np.where(frame.step == 150, 100, 30)).all()
    in_play = frame.step.map({at: sum(start < at or start == 0 for start in INTRODUCED) for at in CHECKPOINTS})
    assert (frame.in_play == (frame.label < in_play)).all()
    assert (frame.introduced == np.take(INTRODUCED, frame.label)).all()
    assert (frame[["readout", "parent"]].max(axis=1) < in_play).all()
    assert (frame.parent[frame.readout == frame.label] == -1).all()
    other = (frame.readout != frame.label) & (frame.readout >= 0)
    assert (frame.parent == frame.readout)[other].all()
    # The last points are the slow-point stage's own.
    last = frame[frame.step == 150].set_index(["cell", "seed", "label"])
    slow = table(results, "slow_points").query("phase == 'trained' and curriculum == 'vocu' and search_steps == 100")
    slow = slow.set_index(["cell", "seed", "label"]).loc[last.index]
    for column in ("speed", "readout", "nearest_distance", "nearest_label"):
        assert last[column].to_numpy() == pytest.approx(slow[column].to_numpy(), rel=1e-6)


def test_confusions_and_formation_are_of_every_class(results):
    shares = table(results, "confusion")
    networks = [(cell, "vocu", "trained", seed) for cell in CELLS for seed in SEEDS]
    assert keys(shares, "label", "other") == sorted((*n, k, o) for n in networks for k in LABELS[2:] for o in range(k))
    assert (shares.step == np.take(INTRODUCED, shares.label)).all()
    assert np.allclose(shares.groupby(["cell", "seed", "label"]).confusion.sum(), 1, atol=1e-6)
    frame = table(results, "formation")
    assert keys(frame, "label") == sorted((*network, label) for network in networks for label in LABELS)
    assert (frame.introduced == np.take(INTRODUCED, frame.label)).all()
    appeared = frame.dropna(subset="appears")
    assert ((appeared.appears > appeared.introduced) | (appeared.introduced == 0)).all()
    assert (frame.parent[frame.appears.isna()] == -1).all()
    assert table(results, "confusion_test")[["cell", "curriculum"]].to_numpy().tolist() == [[c, "vocu"] for c in CELLS]


def test_claims_are_those_of_this_run(results):
    frame = table(results, "claims")
    assert list(dict.fromkeys(frame.claim)) == list(CLAIMS)
    assert (frame.verdict == "not judged").all()  # two networks are too few
    assert frame.groupby("claim").primary.any().to_dict() == dict.fromkeys(CLAIMS, True) | {"C4": False}


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
    assert files == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg", "txt")}
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
    found = load_json(results / "provenance.json")
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
    logs = [path.relative_to(results / "logs").parts[0].removesuffix(".log") for path in results.glob("logs/**/*.log")]
    jobs = {rule: took["jobs"] for rule, took in found["rules"].items()}
    assert jobs == {rule: count for rule, count in Counter(logs).items() if rule not in ALWAYS}
    assert jobs["train"] == len(CELLS) * len(PROTOCOLS)
    assert all(took["seconds"] > 0 for took in found["rules"].values())
    assert found["rules"]["train"]["cpu_seconds"] > 1
    assert found["devices"] == ["cpu"]
    assert found["threads"] == 1
    began, ended = (datetime.fromisoformat(found[key]) for key in ("started", "ended"))
    assert 5 < (ended - began).total_seconds() < 3600


def test_the_run_ends_with_the_claims_and_where_the_figures_lie(smoke_run):
    printed = (smoke_run / "stdout.txt").read_text()
    tail = printed[re.search(r"(\d+) of \1 steps \(100%\) done", printed).end() :]
    assert [line.split()[0] for line in tail.splitlines() if re.match(r"C\d\S* ", line)] == list(CLAIMS)
    assert re.search(r"^figures +results/smoke/figures$", tail, re.MULTILINE)
    assert re.search(r"^tables +results/smoke/tables$", tail, re.MULTILINE)
    assert re.search(r"^report +results/smoke/report.html$", tail, re.MULTILINE)


def test_every_rule_has_left_its_log(results):
    logs = {path.relative_to(results / "logs").with_suffix("") for path in (results / "logs").rglob("*.log")}
    benchmarks = {
        p.relative_to(results / "benchmarks").with_suffix("") for p in (results / "benchmarks").rglob("*.tsv")
    }
    assert logs == benchmarks
    for path in (results / "logs").rglob("*.log"):
        assert path.read_text().strip(), path
        assert "Traceback" not in path.read_text()


def test_a_trained_network_goes_into_the_finder_as_the_page_says(smoke_run, monkeypatch):
    (program,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "results" / "README.md").read_text(), re.M | re.S)
    monkeypatch.chdir(smoke_run)
    names: dict = {}
    exec(program.replace("results/digits", "results/smoke").replace("seeds0-3", "seeds0-1"), names)
    assert names["found"].ends.numel() == 10
    table = pd.read_csv("results/smoke/tables/slow_points.csv").query("cell == 'gru' and curriculum == 'vocu'")
    first = table[(table.seed == 0) & (table.search_steps == table.search_steps.max()) & (table.phase == "trained")]
    h, x = names["start"], names["points"]["held_input"][0].double().expand(10, -1)
    expected = first.sort_values("label").speed.tolist()  # in single precision
    assert (names["step"](h, x) - h).norm(dim=1).tolist() == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_nothing_is_left_over(results):
    files = [path.relative_to(results) for path in results.rglob("*")]
    assert [str(path) for path in files if path.name.startswith(".") or path.suffix in (".partial", ".tmp")] == []


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


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [(["--cores", "1"], True), (["--dry-run"], False), (["--unlock"], False), (["--cores", "1", "dataset"], False)],
)
def test_a_run_that_is_all_made_is_noted_for_the_report(finished, tmp_path, monkeypatch, arguments, noted):
    monkeypatch.setenv("MEMRNN_NOTE", str(tmp_path / "note"))
    done = snakemake(finished, *arguments, *SMOKE)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "note").exists() == noted
    assert (
        not noted
        or load_json(tmp_path / "note", sealed=False) == load_json(finished / "results/smoke/provenance.json")["config"]
    )


SUMMARIES = {"correlate", "predictors", "formation", "claims"}
ALWAYS = {"provenance", "report", "all"}  # where anything was done


def test_what_is_done_is_not_done_again(finished, edited):
    """Neither after a move, nor after a touch, nor for the same values written elsewhere in another order."""
    for module in (finished / "workflow").rglob("*.py"):
        module.touch()
    edited("config/more.yaml", "train: {log_every: 25, batch: 64}\nslow_points: {noise_steps: 14}\nthreads: 1\n")
    assert plan(finished, *SMOKE, "config/more.yaml").jobs == {}


def test_copies_whose_times_are_in_any_order_are_not_done_again(finished, tmp_path):
    """As a checkout of another commit and back leaves files, and cp -r, or a copy to another machine."""
    clone = shutil.copytree(finished, tmp_path / "clone", symlinks=True)
    files = [path for path in clone.rglob("*") if path.is_file() and path.relative_to(clone).parts[0] != ".snakemake"]
    random.Random(0).shuffle(files)
    for seconds, path in enumerate(files):
        os.utime(path, (10**9 + seconds, 10**9 + seconds))
    assert plan(clone, *SMOKE).jobs == {}


def test_another_strength_trains_on_again_but_never_trains(finished, edited):
    edited("config/more.yaml", "mode_settings: {centroid: {strength: 2.0e-3}}\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    blocks = {"regularise_block", "extrapolate_block", "slow_points_block"}
    assert set(found.jobs) == SUMMARIES | ALWAYS | blocks | {"tables", "figure"}
    again = [message for message in found.messages if re.match("Longer delays|Slow points of", message)]
    assert again and all("regularise" in message for message in again)
    assert "Figure task" not in found.messages


def test_another_palette_draws_again_and_nothing_else(finished, edited):
    edited("config/more.yaml", "figures: {palette: deep}\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    assert found.jobs == {"figure": len(figures.FIGURES), "provenance": 1, "report": 1, "all": 1}


def test_nobody_need_be_followed_back(finished, edited):
    edited("config/more.yaml", "backtrack: {protocols: []}\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    assert set(found.jobs) == {"tables", "formation", "claims", "figure"} | ALWAYS
    assert {message for message in found.messages if message.startswith("Table ")} == {
        "Table backtrack of the run", "Table confusion of the run",
    }  # fmt: skip


def test_a_new_seed_adds_a_block_and_the_summaries(finished, edited):
    edited("config/more.yaml", "seeds: [0, 1, 2]\n")
    found = plan(finished, *SMOKE, "config/more.yaml")
    blockwise = {stage.rule for stage in STAGES.values() if stage.of and not stage.first_block}
    assert set(found.jobs) == SUMMARIES | ALWAYS | blockwise | {"tables", "figure"}
    assert set(re.findall(r"seeds[\d_-]+", " ".join(found.messages))) == {"seeds2"}


# Of networks, what an edit of a function does again; the summaries and figures of that follow.
BLOCKS = {stage.rule for stage in STAGES.values() if stage.of}
EDITS = [  # tests/run/test_digests.py has more
    ("data/downloads.py", "locate", set(), None),  # the digits are not downloaded
    # Regularisation starts from slow points, and what it trains goes through every later stage.
    ("dynamics/points.py", "centroids", BLOCKS - {"train_block"}, None),
    ("models/lstm.py", "LSTM", BLOCKS, "lstm"),
]


@pytest.mark.parametrize(("module", "name", "expected", "cell"), EDITS, ids=[edit[1] for edit in EDITS])
def test_an_edit_does_again_what_uses_it(finished, edited, module, name, expected, cell):
    edited(
        f"workflow/lib/memrnn/{module}",
        append=f"\n\n_before = {name}\n\n\ndef {name}(*args):\n    return _before(*args)\n",
    )
    found = plan(finished, *SMOKE)
    assert {rule for rule in found.jobs if rule in BLOCKS | {"dataset"}} == expected
    assert bool(found.jobs) == bool(expected)
    reasons = re.findall(r"^Job \d+: (.+)\nReason: .*Code|^Job \d+: (.+)\nReason: Params", found.printed, re.MULTILINE)
    assert all(cell is None or cell in message for pair in reasons for message in pair if message)


def test_another_caption_draws_its_figure_again(finished, edited):
    edited(
        "workflow/lib/memrnn/figures/task.py",
        append="\n\n_before = draw\n\n\ndef draw(*args):\n    return _before(*args)\n",
    )
    found = plan(finished, *SMOKE)
    assert found.jobs == {"figure": 1, "provenance": 1, "report": 1, "all": 1}
    assert "Figure task" in found.messages


def test_an_older_file_with_other_contents_is_seen(finished, edited):
    """As tar, rsync -a and cp -p leave it; and a job's script counts as much as a module."""
    path = "workflow/scripts/extrapolate.py"
    edited(path, (finished / path).read_text().replace('settings["trials"]', '2 * settings["trials"]'))
    os.utime(finished / path, (1000, 1000))
    found = plan(finished, *SMOKE)
    assert {rule for rule in found.jobs if rule in BLOCKS} == {"extrapolate_block"}


def test_single_targets_do_what_they_lack(finished):
    """What is missing of a target is made; what nobody asked for is not."""
    lost = [
        finished / "results/smoke" / name for name in ("figures/task.png", "extrapolate/train/gru-nacu/seeds0-1.csv")
    ]
    aside = [path.rename(path.with_suffix(".aside")) for path in lost]
    try:
        assert plan(finished, "train", "slow_points", "regularise", *SMOKE).jobs == {}
        assert plan(finished, "results/smoke/figures/task.png", *SMOKE).messages == ["Figure task"]
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
        ([], "figure", {"figure": len(FIGURES), "provenance": 1, "report": 1, "all": 1}),
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
        ("backtrack: {protocols: [decu]}\n", [], ["backtrack.protocols", "decu", "nacu"]),
        ("threads: 1\n", ["slow_pionts"], ["slow_pionts"]),
        ("threads: 1\n", ["results/smoke/train/gru-vcou/seeds0-1.safetensors"], ["gru-vcou"]),
        ("threads: 1\n", ["results/smoke/train/gru-vocu/seeds0-2.safetensors"], ["seeds0-2"]),
    ],
    ids=[
        "unknown key",
        "regularising what is not trained",
        "following what is not",
        "unknown target",
        "unknown protocol",
        "unknown block",
    ],
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
    """The run was made on two cores. In a copy, one core makes again a chain through every stage, one of the LSTM, and
    every table, over files that stay; the manifest of the first run then says whether every file is as it was."""
    clone = shutil.copytree(smoke_run, tmp_path / "clone", symlinks=True)
    results = clone / "results" / "smoke"
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    again = [f"results/smoke/train/{trained}/seeds0-1.safetensors" for trained in ("gru-vocu", "lstm-nacu")]
    targets = [f"results/smoke/tables/{name}.csv" for name in ("claims", "predictors", "portraits", "training")]
    done = snakemake(clone, "--cores", "1", *targets, "--forcerun", *again, *SMOKE)
    assert done.returncode == 0, done.stdout
    assert not re.search(r"^figures  results", done.stdout, re.MULTILINE)  # no summary after a part of a run
    made = {
        path.relative_to(results)
        for path in results.rglob("*.*")
        if path.suffix in (".csv", ".safetensors") and path.stat().st_mtime_ns != before.get(path)
    }
    assert {path.parts[0] for path in made} == {
        *("train", "slow_points", "other_starts", "spectrum", "portraits", "backtrack"),
        *("regularise", "extrapolate", "tables"),
    }
    assert {path.stem for path in made if path.parts[0] == "tables"} == contract.TABLES.keys() - {"trial"}
    assert not (results / "report.html").exists()
    for name in ("manifest.csv", "provenance.json"):  # a part made anew has none
        assert not (results / name).exists()
        for file in (name, f"{name}.sha256"):
            shutil.copy(smoke_run / "results" / "smoke" / file, results)
    right, faults = verify.check(results)
    assert (right, faults) == (len(pd.read_csv(results / "manifest.csv")), [])


def test_no_record_outlives_a_part_that_was_made_anew(smoke_run, tmp_path):
    """Whoever makes one table with other settings has no record that tells of those before."""
    clone = shutil.copytree(smoke_run, tmp_path / "clone", symlinks=True)
    results = clone / "results" / "smoke"
    (clone / "more.yaml").write_text("correlate: {confidence: 0.9}\n")
    assert snakemake(clone, "--cores", "1", "train", *SMOKE).returncode == 0  # a target that lacks nothing
    assert (results / "provenance.json").exists()
    done = snakemake(clone, "--cores", "1", "results/smoke/tables/correlation.csv", *SMOKE, "more.yaml")
    assert done.returncode == 0 and "so the run's record was removed" in done.stdout, done.stdout
    assert not [path for name in ("provenance.json*", "manifest.csv*", "report.html") for path in results.glob(name)]
    # Times alone see no other setting; the record tells what was made with which.
    done = snakemake(clone, "--cores", "1", "--rerun-triggers", "mtime", "--configfile", *SMOKE[1:])
    assert done.returncode == 0, done.stdout
    record = load_json(results / "provenance.json")
    assert record["config"]["correlate"]["confidence"] == 0.95
    (made,) = record["made_with"]["correlate"]
    assert made["correlate"]["confidence"] == 0.9
    assert verify.check(results)[1] == []
