"""The engine's settings compared: known answers on made-up tables, intervals by hand, and what must be refused."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import filled, load_script
from scipy import stats

from memrnn.core.files import save_table
from memrnn.run import config as configuration
from memrnn.run import planning

ROOT = Path(__file__).parents[2]
equivalence = load_script(ROOT / "benchmarks" / "equivalence.py")
CONFIG = ROOT / "config" / "equivalence.yaml"
CONVNET = ROOT / "config" / "equivalence_convnet.yaml"
PANELS = tuple(itertools.product(("gru", "lstm"), ("vocu", "decu")))
SEEDS = range(8)
CLASSES = 3
SEARCH_STEPS = 3000
# Spread between networks, and mean, of each measure of the made-up networks.
SPREAD = {"nominal_accuracy": 0.01, "extrapolation_score": 0.1, "regularisation_effect": 0.03, "log10_speed": 0.2}
MEAN = {"nominal_accuracy": 0.95, "extrapolation_score": 0.6, "regularisation_effect": 0.1, "log10_speed": -2.0}


def networks(seed: int = 0, panels=PANELS, seeds=SEEDS) -> pd.DataFrame:
    """Measures of made-up networks, as `network_measures` gives them."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_tuples([(*panel, each) for panel in panels for each in seeds], names=equivalence.NETWORK)
    values = {measure: rng.normal(MEAN[measure], SPREAD[measure], len(index)) for measure in equivalence.MEASURES}
    return pd.DataFrame(values, index=index).assign(learned=True).sort_index()


def shifted(exact: pd.DataFrame, noise: float, seed: int = 1, **shifts: float) -> pd.DataFrame:
    """The same networks with noise (in units of SPREAD) and shifts (in each measure's own unit) added."""
    rng = np.random.default_rng(seed)
    changed = exact.copy()
    for measure in equivalence.MEASURES:
        changed[measure] += rng.normal(shifts.get(measure, 0.0), noise * SPREAD[measure], len(exact))
    return changed


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.cell == "all"].set_index("measure")


def tables(measures: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables scores and slow_points of a run whose networks have these measures; classes differ within a network."""
    scores, points = [], []
    for (cell, curriculum, seed), row in measures.iterrows():
        for label in range(CLASSES):
            key = {"dataset": "digits", "cell": cell, "curriculum": curriculum, "seed": seed, "label": label}
            off = 0.01 * (label - (CLASSES - 1) / 2)
            start = row.extrapolation_score - 0.1
            score = {"trained": start + 0.1, "control": start, "centroid": start + row.regularisation_effect}
            scores += [
                {**key, "phase": phase, "nominal_accuracy": row.nominal_accuracy + off, "learned": row.learned}
                | {"extrapolation_score": value + off}
                for phase, value in score.items()
            ]
            points += [
                {**key, "phase": phase, "search_steps": steps, "speed": factor * 10 ** (row.log10_speed + off)}
                for phase, steps, factor in (("trained", 1000, 5), ("trained", SEARCH_STEPS, 1), ("control", 3000, 7))
            ]
    return pd.DataFrame(scores), pd.DataFrame(points)


# ------------------------------------------------------------------------------------------------------- known answers


def test_identical_networks_differ_by_nothing():
    exact = networks()
    table = equivalence.compare(exact, exact.copy(), "bf16")
    assert list(table.columns) == equivalence.COLUMNS
    assert len(table) == len(equivalence.MEASURES) * (len(PANELS) + 1)
    assert (table.difference == 0).all()
    ends = ["low", "high", "low_90", "high_90"]
    assert (pooled(table)[ends] == 0).all(axis=None)
    assert table[table.cell != "all"][ends].isna().all(axis=None)  # equal gaps make no mean certain
    assert np.allclose(table.sd_ratio, 1)
    assert (pooled(table).verdict == "equivalent").all()
    assert (pooled(table).note == "").all()
    assert pooled(table)[["seeds_low", "seeds_high"]].isna().all(axis=None)
    assert table[table.cell != "all"].verdict.isna().all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("measure", list(MEAN))
def test_a_shift_beyond_the_margin_is_different(measure, sign):
    exact = networks()
    shift = sign * 1.5 * equivalence.MEASURES[measure].margin
    row = pooled(equivalence.compare(exact, shifted(exact, 0.1, **{measure: shift}), "bf16"))
    assert row.verdict[measure] == "different"
    assert np.sign(row.difference[measure]) == sign
    assert (row.verdict.drop(measure) == "equivalent").all()


def test_noise_shows_nothing():
    exact = networks()
    row = pooled(equivalence.compare(exact, shifted(exact, 6.0, seed=3), "bf16"))
    assert (row.verdict == "not shown").all()
    assert ((row.low < 0) & (row.high > 0)).all()


def test_a_small_real_difference_is_equivalent_and_says_so():
    exact = networks()
    half = {measure: 0.4 * each.margin for measure, each in equivalence.MEASURES.items()}
    row = pooled(equivalence.compare(exact, shifted(exact, 0.05, **half), "bf16"))
    assert (row.low > 0).all()
    assert (row.verdict == "equivalent").all()
    assert (row.note == "small but real: the 95 % interval excludes 0").all()


@pytest.mark.parametrize(
    ("wide", "narrow", "verdict"),
    [
        ((-0.06, 0.06), (-0.049, 0.049), "equivalent"),
        ((-0.06, 0.04), (-0.05, 0.03), "not shown"),  # on the margin is not within it
        ((-0.04, 0.06), (-0.03, 0.05), "not shown"),
        ((0.001, 0.06), (0.01, 0.051), "different"),
        ((-0.06, -0.001), (-0.051, -0.01), "different"),
        ((0.0, 0.06), (0.01, 0.051), "not shown"),  # 0 at the end is not excluded
        ((-0.2, 0.2), (-0.15, 0.15), "not shown"),
    ],
)
def test_the_rule_at_its_edges(wide, narrow, verdict):
    assert equivalence.judge(wide, narrow, 0.05) == (verdict, "")


def test_the_printed_rule_states_the_margins_in_force():
    pairs = re.findall(r"(0\.\d+) for the ([a-z0-9 ]+?)[,.]", " ".join(equivalence.RULE.split()))
    assert {(label, float(margin)) for margin, label in pairs} == {
        (each.label, each.margin) for each in equivalence.MEASURES.values()
    }


# ----------------------------------------------------------------------------------------------------------- intervals


def test_panels_have_scipys_paired_t_interval():
    exact, other = networks(), networks(seed=5)
    table = equivalence.compare(exact, other, "bf16").set_index(["measure", "cell", "curriculum"])
    for measure, panel in itertools.product(equivalence.MEASURES, PANELS):
        row, ours, theirs = table.loc[(measure, *panel)], exact.loc[panel, measure], other.loc[panel, measure]
        paired, single = stats.ttest_rel(theirs, ours), stats.ttest_1samp(theirs - ours, 0)
        for share, low, high in ((0.95, row.low, row.high), (0.90, row.low_90, row.high_90)):
            assert np.allclose((low, high), paired.confidence_interval(share))
            assert np.allclose((low, high), single.confidence_interval(share))
        assert (row.pairs, row.freedom) == (8, 7)
        assert np.isclose(row.difference, theirs.mean() - ours.mean())
        assert np.allclose((row.exact_mean, row.exact_sd), (ours.mean(), np.std(ours, ddof=1)))
        assert np.isclose(row.sd_ratio, np.std(theirs, ddof=1) / np.std(ours, ddof=1))


def test_pooling_by_hand():
    # means 2 and 5; variances 1 and 4, of 3 and 4 pairs: v = 1/3 and 1; standard error sqrt(4/3) / 2 = sqrt(1/3);
    # degrees of freedom (4/3)^2 / ((1/9) / 2 + 1 / 3) = (16/9) / (7/18) = 32/7
    first, second = [1.0, 2.0, 3.0], [5 - np.sqrt(6), 5.0, 5.0, 5 + np.sqrt(6)]
    mean, error, freedom = equivalence.pool([first, second])
    assert np.allclose((mean, error, freedom), (3.5, np.sqrt(1 / 3), 32 / 7))
    # panels of one spread and size have all their degrees of freedom
    assert np.isclose(equivalence.pool([first, np.add(first, 7)])[2], 4)
    # two panels: the Welch interval of the difference of one and the other turned round, halved
    welch = stats.ttest_ind(second, np.negative(first), equal_var=False).confidence_interval(0.95)
    half = stats.t.ppf(0.975, freedom) * error
    assert np.allclose((mean - half, mean + half), (welch.low / 2, welch.high / 2))
    assert equivalence.pool([[0.0, 0.0], [1.0, 1.0, 1.0]]) == (0.5, 0.0, 3.0)


def test_the_pooled_row_by_hand():
    exact, other = networks(), networks(seed=5)
    row = pooled(equivalence.compare(exact, other, "bf16"))
    for measure in equivalence.MEASURES:
        ours, theirs = (np.array([each[measure].loc[panel] for panel in PANELS]) for each in (exact, other))
        gaps = theirs - ours  # (panels, seeds)
        v = gaps.var(axis=1, ddof=1) / 8
        mean, error, freedom = gaps.mean(), np.sqrt(v.sum()) / 4, v.sum() ** 2 / (v**2 / 7).sum()
        for share, low, high in ((0.95, "low", "high"), (0.90, "low_90", "high_90")):
            half = stats.t.ppf((1 + share) / 2, freedom) * error
            assert np.allclose(row.loc[measure, [low, high]].astype(float), (mean - half, mean + half))
        assert np.allclose(row.loc[measure, ["difference", "freedom"]].astype(float), (mean, freedom))
        seeds = stats.ttest_1samp(gaps.mean(axis=0), 0).confidence_interval(0.95)
        assert np.allclose(row.loc[measure, ["seeds_low", "seeds_high"]].astype(float), seeds)
        spreads = [np.sqrt(values.var(axis=1, ddof=1).mean()) for values in (ours, theirs)]
        assert np.isclose(row.exact_mean[measure], ours.mean())
        assert np.isclose(row.exact_sd[measure], spreads[0])
        assert np.isclose(row.sd_ratio[measure], spreads[1] / spreads[0])
    assert (row.pairs == 32).all()


def test_pairs_are_matched_by_seed_whatever_the_order():
    exact = networks()
    other = shifted(exact, 0.1)
    table = equivalence.compare(exact, other, "bf16")
    mixed = equivalence.compare(exact, other.sample(frac=1, random_state=0), "bf16")
    pd.testing.assert_frame_equal(table, mixed)


def test_networks_that_have_not_learned_stay_in_and_are_counted():
    exact = networks()
    other = exact.copy()
    other.loc[("gru", "vocu", 3), ["nominal_accuracy", "learned"]] = (0.1, False)
    table = equivalence.compare(exact, other.astype({"learned": bool}), "bf16")
    row = table.set_index(["measure", "cell", "curriculum"]).loc[("nominal_accuracy", "gru", "vocu")]
    assert (row.not_learned, row.not_learned_exact, row.pairs) == (1, 0, 8)
    assert np.isclose(row.difference, (0.1 - exact.nominal_accuracy["gru", "vocu", 3]) / 8)
    assert (pooled(table).not_learned == 1).all()


# ------------------------------------------------------------------------------------------------------ from the tables


def test_measures_of_a_network_are_means_over_its_classes():
    made = networks()
    made.loc[("lstm", "decu", 2), "learned"] = False
    scores, points = tables(made)
    found = equivalence.network_measures(scores, points, SEARCH_STEPS, "a run")
    pd.testing.assert_frame_equal(found, made)
    faster = equivalence.network_measures(scores, points, 1000, "a run")
    assert np.allclose(faster.log10_speed - made.log10_speed, np.log10(5))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s, p: (s[s.phase != "centroid"], p), "has the phases control, trained; expected centroid too"),
        (
            lambda s, p: (s, p[p.search_steps != 3000]),
            "no trained networks at 3000 search steps; found the",
        ),
        (lambda s, p: (s, p.assign(speed=0.0)), "speed 0 of gru decu seed 0 class 0; expected a positive number"),
        (lambda s, p: (s[(s.seed != 5) | (s.phase != "control")], p), "no regularisation_effect for gru decu seed 5"),
        (lambda s, p: (s, p[(p.seed != 5) | (p.cell != "gru")]), "no log10_speed for gru decu seed 5"),
        (lambda s, p: (s[(s.seed != 5) | (s.label != 1)], p), "has 2 classes for gru decu 5 centroid; expected 3"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(spoil, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        equivalence.network_measures(*spoil(*tables(networks())), SEARCH_STEPS, "a run")


def test_a_seed_missing_in_one_run_is_refused():
    exact = networks()
    less = exact.drop(index=[("gru", "vocu", 7), ("gru", "vocu", 3)])
    lacks = (
        "shared lacks the networks gru vocu seeds 3, 7; expected the networks of exact, because networks are paired by "
        "seed. Run this script without --only compare, with the same configuration for all settings."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(lacks)}$"):
        equivalence.compare(exact, less, "shared")
    with pytest.raises(ValueError, match=r"^shared has beyond them the networks gru vocu seeds 3, 7; expected"):
        equivalence.compare(less, exact, "shared")


def test_a_single_pair_is_refused():
    exact = networks(seeds=[0])
    with pytest.raises(ValueError, match=r"exact has 1 network of gru decu; expected two or more.*Add seeds"):
        equivalence.compare(exact, exact, "bf16")


def save_run(folder: Path, measures: pd.DataFrame) -> None:
    scores, points = tables(measures)
    save_table(folder / "tables" / "scores.csv", filled("scores", scores), "scores")
    save_table(folder / "tables" / "slow_points.csv", filled("slow_points", points), "slow_points")


def test_a_run_is_checked_against_its_configuration(tmp_path):
    config = equivalence.merged(CONFIG, "bf16")
    with pytest.raises(ValueError, match="bf16: no tables; expected a run of this script"):
        equivalence.load(tmp_path / "bf16", config)
    save_run(tmp_path / "bf16", networks(seeds=range(7)))
    with pytest.raises(ValueError, match=r"^equivalence_bf16 lacks the networks gru decu seeds 7; gru vocu seeds 7;"):
        equivalence.load(tmp_path / "bf16", config)
    save_run(tmp_path / "bf16", networks())
    assert np.allclose(equivalence.load(tmp_path / "bf16", config).astype(float), networks().astype(float))


def test_the_comparison_is_written_and_printed(tmp_path, capsys):
    configs = {setting: equivalence.merged(CONFIG, setting) for setting in equivalence.SETTINGS}
    exact = networks()
    for at, config in enumerate(configs.values()):
        save_run(tmp_path / config["run"], shifted(exact, 0.1, seed=at, extrapolation_score=0.06 * at))
    equivalence.report(tmp_path / "equivalence", configs)
    written = {path.name for path in (tmp_path / "equivalence").iterdir()}
    assert written == {f"equivalence.{kind}" for kind in ("csv", "csv.sha256", "md", "png", "svg")}
    text = (tmp_path / "equivalence" / "equivalence.md").read_text()
    assert text in capsys.readouterr().out
    assert equivalence.RULE in text
    assert re.search(r"^\| shared frames +\| extrapolation score +\| \+0\.1.* different ", text, flags=re.MULTILINE)
    table = pd.read_csv(tmp_path / "equivalence" / "equivalence.csv")
    assert len(table) == 3 * 4 * 5
    assert list(table.setting.unique()) == ["bf16", "shared", "bf16_shared"]
    shift = table[(table.cell == "all") & (table.measure == "extrapolation_score")].set_index("setting").difference
    assert np.allclose(shift, [0.06, 0.12, 0.18], atol=0.02)


def test_the_figure_shows_every_number():
    exact = networks()
    others = {"bf16": shifted(exact, 0.5), "shared": networks(seed=5)}
    table = pd.concat([equivalence.compare(exact, other, name) for name, other in others.items()])
    figure = equivalence.draw(table, {"context": "paper", "palette": "colorblind"})
    assert len(figure.axes) == len(equivalence.MEASURES)
    for axes, (measure, (label, margin, _)) in zip(figure.axes, equivalence.MEASURES.items(), strict=True):
        assert axes.get_title() == label
        rows = table[table.measure == measure]
        marks = [line.get_xdata() for line in axes.lines if line.get_label() in equivalence.NAMES.values()]
        assert np.allclose(np.concatenate(marks), rows.difference)
        ends = {tuple(np.round(segment[:, 0], 9)) for each in axes.collections for segment in each.get_segments()}
        assert ends >= {tuple(np.round(pair, 9)) for pair in rows[["low", "high"]].to_numpy()}
        assert ends >= {tuple(np.round(pair, 9)) for pair in rows[rows.cell == "all"][["low_90", "high_90"]].to_numpy()}
        band = axes.patches[0].get_bbox()
        assert np.allclose((band.x0, band.x1), (-margin, margin))
        low, high = axes.get_xlim()
        assert low < min(rows.low.min(), -margin)
        assert high > max(rows.high.max(), margin)
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == ["GRU, VoCu", "GRU, DeCu", "LSTM, VoCu", "LSTM, DeCu", "pooled"]


# -------------------------------------------------------------------------------------------------------------- running


@pytest.mark.parametrize("setting", list(equivalence.SETTINGS))
def test_every_settings_configuration_is_valid(setting):
    merged = equivalence.merged(CONFIG, setting)
    configuration.validate(merged, equivalence.SCHEMA)
    assert merged["run"] == f"equivalence_{setting}"
    assert merged["engine"]["precision"] == ("bfloat16" if "bf16" in setting else "float32")
    assert merged["engine"]["shared_frames"] == (64 if "shared" in setting else None)
    # the networks that the comparison is about
    assert set(itertools.product(merged["cells"], merged["protocols"])) == set(PANELS)
    assert merged["seeds"] == list(SEEDS)
    assert set(planning.ensembles(merged)["regularise"]) == set(PANELS)


@pytest.mark.parametrize("file", [CONFIG, CONVNET], ids=lambda file: file.stem)
def test_settings_differ_in_the_engine_and_the_runs_name_alone(file):
    configs = [equivalence.merged(file, setting) for setting in equivalence.SETTINGS]
    assert {config.pop("run") for config in configs} == {f"{file.stem}_{each}" for each in equivalence.SETTINGS}
    assert len({str(config.pop("engine")) for config in configs}) == len(configs)
    assert all(config == configs[0] for config in configs)


def test_the_convolutional_comparison_has_what_is_compared():
    config = equivalence.merged(CONVNET, next(iter(equivalence.SETTINGS)))
    assert config["network"]["front_end"] == "convnet"
    assert set(planning.ensembles(config)["regularise"]) == {("gru", "decu"), ("lstm", "decu")}
    assert {"control", "centroid"} <= set(config["regularise"]["modes"])
    assert config["claims"]["search_steps"] in config["slow_points"]["search_steps"]


def test_the_workflow_is_asked_for_the_tables_alone(tmp_path, monkeypatch):
    calls = []

    def run(command, cwd):
        calls.append((command, cwd))
        return subprocess.CompletedProcess(command, len(calls) - 1)

    monkeypatch.setattr(equivalence.subprocess, "run", run)
    folder = tmp_path / "equivalence"
    equivalence.run_workflow("shared", CONFIG, folder, "2")
    command, cwd = calls[0]
    own = folder / "shared.yaml"
    assert cwd == ROOT
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert command[3:6] == [
        *(f"results/equivalence_shared/tables/{name}.csv" for name in ("scores", "slow_points")),
        "--cores",
    ]
    assert command[command.index("--cores") + 1] == "2"
    assert command[command.index("--configfile") + 1 :] == [str(CONFIG), str(own)]
    assert equivalence.read_config(own) == equivalence.override("equivalence", "shared")
    with pytest.raises(ValueError, match=r"setting shared: Snakemake ended with 1; expected 0.*start again"):
        equivalence.run_workflow("shared", CONFIG, folder, "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--settings", "exact"], "found exact alone; expected at least one more"),
        (["--settings", "float16"], "invalid choice: 'float16'"),
        (["--cores", "0"], "found '0'; expected a whole number above 0, or all"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        equivalence.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_exact_is_always_run_and_first(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(equivalence, "run_workflow", lambda setting, *rest: asked.append((setting, *rest)))
    equivalence.main(["--settings", "bf16_shared", "--only", "run", "--cores", "1"])
    folder = ROOT / "results" / "equivalence"
    assert asked == [(setting, CONFIG, folder, "1") for setting in ("exact", "bf16_shared")]


def test_a_bad_configuration_ends_with_its_problems(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("run: bad\nseeds: [0, 0]\n")
    with pytest.raises(SystemExit) as caught:
        equivalence.main(["--configfile", str(bad)])
    assert "seeds: found [0, 0], with 0 more than once" in caught.value.code
    bad.write_text("- run\n")
    with pytest.raises(SystemExit) as caught:
        equivalence.main(["--configfile", str(bad)])
    assert "bad.yaml: expected sections of keys, found ['run']" in caught.value.code
