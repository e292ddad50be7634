"""Verdicts: intervals by hand, the rules each way, and what must be refused."""

import itertools
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import filled, spectrum_of
from scipy import stats

from memrnn.analysis.claims import CLAIMS, Evidence, judge, numbers, summary, verdict
from memrnn.analysis.claims.__main__ import main
from memrnn.analysis.claims.summary import WIDTH
from memrnn.analysis.correlate import correlate
from memrnn.analysis.scores import POINT, scores
from memrnn.core.files import load_json, load_table, save_json, save_table
from memrnn.core.stats import mean_interval, spread_interval
from memrnn.core.tables import TABLES, columns_of

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SETTINGS = {"search_steps": 3000, "nominal_margin": 0.05, "distinct_distance": 0.1, "majority": 0.5}
CORRELATE = {"resamples": 100, "confidence": 0.95, "seed": 0, "learned_accuracy": 0.5}
PHASES = ("trained", "control", "centroid", "slow_points")
CLASSES, DELAYS = 4, (20, 100, 1000)
FOLLOWED, INTRODUCED = ("vocu", "decu"), [0, 0, 10, 20]


def run(cells=("gru",), protocols=("decu", "vocu"), seeds=4, phases=PHASES, learned=lambda *network: True, **changes):
    """Tables of a small run in which every claim is supported; `changes`: functions of (cell, protocol, seed, phase).

    nominal: accuracy at T_max; score: accuracy of class 0 at both delays above it, the other classes one hundredth less
    each; slope: sign of speed against score; readout: number of classes that keep their read-out; distance: to the
    nearest point. Of the points followed back, under vocu and decu: appears, parent and excess of each class.
    """
    ask = {
        "nominal": lambda cell, protocol, seed, phase: 0.97 + 0.001 * seed * (protocol != "vocu"),
        "score": lambda cell, protocol, seed, phase: (
            0.3
            + 0.01 * seed
            + (0.2 + 0.004 * seed if protocol == "vocu" else 0)
            + (0.2 + 0.01 * seed if phase in ("centroid", "slow_points") else 0)
        ),
        "slope": lambda *network: -1,
        "readout": lambda *network: CLASSES,
        "distance": lambda *network: 0.5,
        "appears": lambda cell, protocol, seed, phase: (
            [5, 5, 15, 25] if protocol == "vocu" else [20, 10, 25, 9 + 4 * seed]
        ),
        "parent": lambda cell, protocol, seed, phase: [-1, 0, 1, 2],
        "excess": lambda cell, protocol, seed, phase: [np.nan, np.nan, 0.1 + 0.01 * seed, 0.3],
    }
    assert set(changes) <= set(ask)
    ask |= changes
    extrapolation, slow, formation = [], [], []
    for network in itertools.product(cells, protocols, range(seeds), phases):
        cell, protocol, seed, phase = network
        has = learned(*network)
        for label in range(CLASSES):
            point = ["digits", cell, protocol, phase, seed, label]
            score = round(ask["score"](*network) - 0.01 * label, 7) if has else 0.0
            for delay in DELAYS:
                accuracy = score if delay > 20 else ask["nominal"](*network) if has else 0.0
                extrapolation.append([*point, delay, accuracy])
            for steps in (300, 3000):
                readout = label if label < ask["readout"](*network) else -1
                # in every other network class 1 is faster or slower than its score would have it
                memory = score + 0.015 * (label == 1 and seed % 2)
                speed = np.exp(ask["slope"](*network) * 10 * memory) if steps == 3000 else 1.0 + label
                slow.append([*point, steps, speed, readout, 1.0 + label, ask["distance"](*network)])
        if phase == "trained" and protocol in FOLLOWED:
            formation += formation_rows(network, has, ask)
    formation = pd.DataFrame(formation, columns=columns_of("formation")).astype({"appears": float})
    names = ["dataset", "cell", "curriculum", "phase", "seed", "label"]
    table = scores(
        pd.DataFrame(extrapolation, columns=[*names, "delay", "accuracy"]), 20, CORRELATE["learned_accuracy"]
    )
    columns = [*names, "search_steps", "speed", "readout", "start_speed", "nearest_distance"]
    slow = pd.DataFrame(slow, columns=columns)
    bootstrap = {key: CORRELATE[key] for key in ("resamples", "confidence", "seed")}
    return table, correlate(slow, spectrum_of(table), table, **bootstrap), slow, formation, permutation_test(formation)


def formation_rows(network, learned, ask):
    """A row per class of one network followed back: parents slow down tenfold, other points by a factor of two."""
    introduced = INTRODUCED if network[1] == "vocu" else [0] * CLASSES
    given = zip(introduced, *(ask[name](*network) for name in ("appears", "parent", "excess")), strict=True)
    for label, (start, appears, parent, excess) in enumerate(given):
        key = dict(zip(("cell", "curriculum", "seed", "phase"), network, strict=True))
        change = {"parent_speed_change": -1.0, "others_speed_change": -np.log10(2)} if parent >= 0 else {}
        yield dict.fromkeys(columns_of("formation"), np.nan) | key | change | {
            "dataset": "digits", "label": label, "learned": learned, "introduced": start, "appears": appears,
            "steps": 40, "parent": parent, "parent_distance": 0.05 if label < 3 else 0.2, "candidates": 0,
            "most_confused": -1, "parent_excess": excess if network[1] == "vocu" else np.nan,
        }  # fmt: skip


def permutation_test(formation):
    vocu = formation[formation.curriculum == "vocu"]
    rows = []
    for cell, of_cell in vocu.groupby("cell"):
        networks = of_cell[of_cell.learned & of_cell.parent_excess.notna()].seed.nunique()
        p = 0.01 if networks else np.nan
        rows.append(["digits", cell, "vocu", p, p, 2 * networks, 0, networks, 100])
    return pd.DataFrame(rows, columns=columns_of("confusion_test"))


def evidence(tables, **changes):
    names = ("scores", "correlation", "slow_points", "formation", "confusion_test")
    return Evidence(dict(zip(names, tables, strict=True)), SETTINGS | changes, CORRELATE["confidence"])


def judged(tables, **changes):
    return judge(evidence(tables, **changes))


def verdicts(table):
    assert (table.groupby("claim").verdict.nunique() == 1).all()
    return dict(zip(table.claim, table.verdict, strict=True))


def panel(table, claim, name, measure=""):
    found = table[(table.claim == claim) & (table.panel == name) & table.measure.str.contains(measure)]
    assert len(found) == 1
    return found.iloc[0]


def headlines(tables):
    return numbers(judged(tables), evidence(tables), correlate=CORRELATE, max_delay=20)


class TestIntervals:
    def test_mean(self):
        values = [0.1, 0.4, 0.5, 0.8]
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        assert mean_interval(values, 0.9) == pytest.approx((0.45, expected.low, expected.high))
        # By hand: 0, 2 has mean 1 and standard error 1; the quantile of t with one degree of freedom is tan(0.45 pi).
        assert mean_interval([0, 2], 0.9) == pytest.approx((1, 1 - np.tan(0.45 * np.pi), 1 + np.tan(0.45 * np.pi)))

    def test_mean_stays_within_bounds(self):
        assert mean_interval([0.9, 1.0, 0.1], 0.95, (0.0, 1.0)) == pytest.approx((2 / 3, 0, 1))

    def test_one_value_is_its_mean_and_has_no_spread(self):
        assert mean_interval([0.5], 0.95)[0] == 0.5
        assert np.isnan(spread_interval([0.5], 0.95)[0])

    def test_spread(self):
        # Two degrees of freedom: the chi-squared distribution is exponential with mean 2.
        spread, low, high = spread_interval([1, 2, 3], 0.9)
        assert spread == 1
        assert (low, high) == pytest.approx((np.sqrt(2 / (-2 * np.log(0.05))), np.sqrt(2 / (-2 * np.log(0.95)))))

    @pytest.mark.parametrize("interval", [mean_interval, spread_interval])
    def test_few_or_equal_values(self, interval):
        assert np.isnan(interval([], 0.95)).all()
        assert np.isnan(interval([0.5], 0.95)[1:]).all()
        value, low, high = interval([0.1 + 0.2, 0.3, 0.3], 0.95)  # equal but for rounding: no sign of certainty
        assert value == pytest.approx(0.3 if interval is mean_interval else 0) and np.isnan(low) and np.isnan(high)

    def test_equal_shares_are_known_to_a_step(self):
        # As if one of four had been a step off: 0.9, 1, 1, 1 has the standard error 0.025.
        half = stats.ttest_1samp([0.9, 1, 1, 1], 0).confidence_interval(0.95)
        half = (half.high - half.low) / 2
        assert mean_interval([1, 1, 1, 1], 0.95, (0, 1), step=0.1) == pytest.approx((1, 1 - half, 1))
        assert mean_interval([0.9, 1, 1, 1], 0.95, step=0.1) == pytest.approx(mean_interval([0.9, 1, 1, 1], 0.95))


class TestVerdict:
    def test_rule(self):
        assert verdict([True, True]) == "supported"
        assert verdict([True, False]) == "mixed"
        assert verdict([False, False]) == "not supported"
        assert verdict([]) == "not supported"
        assert verdict([True, True], complete=False) == "mixed"
        assert verdict([False], complete=False) == "not supported"


class TestJudge:
    def test_supported(self):
        table = judged(run(cells=("gru", "lstm")))
        assert list(table.columns) == columns_of("claims")
        assert verdicts(table) == dict.fromkeys(CLAIMS, "supported")
        assert table.holds[table.side != "(descriptive)"].all()
        assert table.holds[table.side == "(descriptive)"].isna().all()
        assert (table.statement == table.claim.map({name: claim.STATEMENT for name, claim in CLAIMS.items()})).all()
        per_cell = {"C1": 1 + 1 + 2, "C2": 4 * 2, "C3": 3, "C4": 1 + 5 + 3 * 2, "C5": 4}
        assert table.claim.value_counts().to_dict() == {claim: 2 * rows for claim, rows in per_cell.items()}
        assert set(table.panel[table.claim == "C3"]) == {
            f"{cell} {curriculum}" for cell in ("gru", "lstm") for curriculum in ("decu", "vocu", "all")
        }
        assert set(table.panel[table.claim == "C5"]) == {
            f"{cell} {curriculum} {mode}"
            for cell in ("gru", "lstm")
            for curriculum in ("decu", "vocu")
            for mode in ("centroid", "slow_points")
        }

    def test_c1_by_hand(self):
        table = judged(run())
        # Extrapolation: decu - vocu is -(0.2 + 0.004 seed), so -0.2 .. -0.212, however far the seeds are apart.
        found = panel(table, "C1", "gru decu - vocu", "extrapolation")
        assert (found.value, found.low, found.high) == pytest.approx(
            mean_interval([-0.2, -0.204, -0.208, -0.212], 0.95)
        )
        assert (found.side, found.networks, found.left_out) == ("excludes 0", 4, 0)
        found = panel(table, "C1", "gru decu - vocu", "nominal")
        assert (found.value, found.low, found.high) == pytest.approx(mean_interval([0, 0.001, 0.002, 0.003], 0.95))
        assert found.side == "within ±0.05"
        spread = panel(table, "C1", "gru decu", "standard deviation")
        assert spread.value == pytest.approx(np.std([0, 0.01, 0.02, 0.03], ddof=1))
        assert spread.low < spread.value < spread.high

    def test_c1_mixed_and_not_supported(self):
        def far(cell, protocol, seed, phase):
            return 0.97 if protocol == "vocu" else 0.9 + 0.001 * seed

        def same(cell, protocol, seed, phase):
            return 0.3 + 0.01 * seed

        def far_by_chance(cell, protocol, seed, phase):
            return 0.9 + (0.08 if protocol == "vocu" and seed == 0 else 0)

        unequal = judged(run(nominal=far))
        assert not panel(unequal, "C1", "gru decu - vocu", "nominal").holds
        assert verdicts(unequal)["C1"] == "mixed"
        assert verdicts(judged(run(score=same)))["C1"] == "mixed"
        assert verdicts(judged(run(score=same, nominal=far)))["C1"] == "not supported"
        # A mean difference of 0.02 is within the margin, but its interval is not.
        found = panel(judged(run(nominal=far_by_chance)), "C1", "gru decu - vocu", "nominal")
        assert found.value == pytest.approx(-0.02)
        assert not found.holds
        assert panel(judged(run(nominal=far), nominal_margin=0.08), "C1", "gru decu - vocu", "nominal").holds

    def test_c1_is_paired_over_seeds_that_learned_under_both(self):
        tables = run(learned=lambda cell, protocol, seed, phase: (protocol, seed) not in [("decu", 0), ("vocu", 1)])
        found = panel(judged(tables), "C1", "gru decu - vocu", "extrapolation")
        assert found.value == pytest.approx(-(0.208 + 0.212) / 2)
        assert (found.networks, found.left_out) == (2, 2)

    def test_c2_by_hand(self):
        tables = run(readout=lambda cell, protocol, seed, phase: [4, 4, 3, 2][seed] if protocol == "vocu" else 4)
        found = panel(judged(tables), "C2", "gru vocu", "read out")
        assert (found.value, found.low, found.high) == pytest.approx(mean_interval([1, 1, 0.75, 0.5], 0.95, (0, 1)))
        assert found.value == 0.8125 and found.low < 0.5 and found.high == 1
        assert not found.holds
        assert verdicts(judged(tables))["C2"] == "mixed"
        assert panel(judged(tables, majority=0.4), "C2", "gru vocu", "read out").holds

    def test_c2_describes_how_slow_the_points_are(self):
        tables = run()
        slow = tables[2]
        chosen = (slow.phase == "trained") & (slow.curriculum == "vocu")
        # Means would differ from medians: the last of four classes and the last of four networks are far off.
        for seed, factor in enumerate([1, 2, 4, 90]):
            here = chosen & (slow.seed == seed)
            slow.loc[here & (slow.search_steps == 3000), "speed"] = np.array([0.001, 0.002, 0.004, 1]) * factor
            slow.loc[here, "start_speed"] = slow.label + factor
        found = judged(tables)
        # Medians over classes are 0.003 times and 1.5 plus a network's own number; that has the median 3.
        for measure, value in [("slow points, median", 0.009), ("centroids, median", 4.5)]:
            row = panel(found, "C2", "gru vocu", measure)
            assert row.value == pytest.approx(value)
            assert row[["low", "high", "holds"]].isna().all()
            assert (row.side, row.networks, row.left_out) == ("(descriptive)", 4, 0)
        assert verdicts(found)["C2"] == "supported"
        lines = summary(found).splitlines()
        at = lines.index("    speed of the slow points, median; side: (descriptive)")
        assert lines[at + 2].split() == ["gru", "vocu", "0.009", "n", "=", "4"]

    def test_c2_budget_distance_and_not_supported(self):
        tables = run(readout=lambda *network: 2, distance=lambda *network: 0.1)
        table = judged(tables)
        # Exactly at the threshold is neither a majority nor apart.
        assert panel(table, "C2", "gru vocu", "read out").value == 0.5
        assert panel(table, "C2", "gru vocu", "distinct").value == 0
        assert verdicts(table)["C2"] == "not supported"
        assert panel(judged(tables, distinct_distance=0.09), "C2", "gru vocu", "distinct").value == 1
        _, _, slow, *_ = tables
        slow.loc[(slow.search_steps == 300), "readout"] = slow.label
        assert panel(judged(tables, search_steps=300), "C2", "gru vocu", "read out").value == 1
        assert panel(judged(tables), "C2", "gru vocu", "read out").value == 0.5

    def test_c3_each_way(self):
        table = judged(run())
        found = panel(table, "C3", "gru all")
        assert -1 <= found.low < found.value < found.high < -0.8
        assert (found.networks, found.side) == (8, "high < 0")
        upside_down = run(slope=lambda cell, protocol, seed, phase: 1 if cell == "lstm" else -1, cells=("gru", "lstm"))
        assert verdicts(judged(upside_down))["C3"] == "mixed"
        assert verdicts(judged(run(slope=lambda *network: 1)))["C3"] == "not supported"
        # At 300 steps the speed rises from class to class while the score falls, whatever the network.
        assert panel(judged(run(slope=lambda *network: 1), search_steps=300), "C3", "gru vocu").value < 0

    def test_c3_needs_the_whole_interval(self):
        table, correlation, *others = run()
        doubtful = judged((table, correlation.assign(rho=-0.4, low=-0.8, high=0.1), *others))
        assert verdicts(doubtful)["C3"] == "not supported"
        certain = judged((table, correlation.assign(rho=-0.4, low=-0.8, high=-0.1), *others))
        assert verdicts(certain)["C3"] == "supported"

    def test_c3_does_not_count_a_lone_protocol_twice(self):
        only = judged(run(protocols=("decu", "nacu"), learned=lambda cell, protocol, *rest: protocol != "nacu"))
        alone, pooled = panel(only, "C3", "gru decu"), panel(only, "C3", "gru all")
        assert alone.holds and pd.isna(pooled.holds)
        assert pooled.value == alone.value
        assert verdicts(only)["C3"] == "supported"

    def test_a_measure_that_could_not_be_judged_is_not_supported(self):
        """Networks whose nominal accuracies are the same: whether they differ elsewhere is known, C1 is not."""
        table = judged(run(nominal=lambda *network: 0.97))
        nominal = panel(table, "C1", "gru decu - vocu", "nominal")
        assert nominal.value == 0 and nominal[["low", "high", "holds"]].isna().all()
        assert panel(table, "C1", "gru decu - vocu", "extrapolation").holds
        assert verdicts(table)["C1"] == "mixed"

    def test_c4_by_hand(self):
        found = judged(run())
        # Introduced 0, 0, 10, 20. VoCu's points appear in that order; DeCu's at 20, 10, 25, 9 + 4 seed.
        orders = [stats.spearmanr(INTRODUCED, [20, 10, 25, 9 + 4 * seed]).statistic for seed in range(4)]
        difference = panel(found, "C4", "gru vocu - decu", "difference between protocols")
        expected = mean_interval([1 - rho for rho in orders], 0.95)
        assert (difference.value, difference.low, difference.high) == pytest.approx(expected)
        assert (difference.side, difference.networks, difference.left_out) == ("(descriptive)", 4, 0)
        order = panel(found, "C4", "gru vocu", "^rho of order")
        assert (order.value, order.side) == (1, "(descriptive)") and np.isnan(order.low)
        share = panel(found, "C4", "gru vocu", "share of later classes that split")
        assert (share.value, share.side) == (1, "(descriptive)") and pd.isna(share.holds)
        excess = panel(found, "C4", "gru vocu", "confusion with the parent, above")
        expected = mean_interval([0.2, 0.205, 0.21, 0.215], 0.95)
        assert (excess.value, excess.low, excess.high) == pytest.approx(expected)
        assert (excess.side, excess.holds) == ("low > 0, p < 0.025", True)
        # Beside them: of the later classes, 2 lay within 0.1 of its parent and 3 did not.
        assert panel(found, "C4", "gru vocu", "lay on its parent's").value == 0.5
        assert panel(judged(run(), distinct_distance=0.3), "C4", "gru vocu", "lay on its parent's").value == 1
        p = panel(found, "C4", "gru vocu", "^p of")
        assert (p.value, p.networks, p.left_out) == (0.01, 4, 0)
        assert np.isnan(p.low) and pd.isna(p.holds)
        for protocol, appears in (("vocu", 10 / 40), ("decu", np.mean([15, 16.5, 18.5, 20.5]) / 40)):
            assert panel(found, "C4", f"gru {protocol}", "log10 change of the parent's").value == -1
            other = panel(found, "C4", f"gru {protocol}", "other points' speed")
            assert other.value == pytest.approx(-np.log10(2))
            assert panel(found, "C4", f"gru {protocol}", "points appear").value == pytest.approx(appears)

    def test_c4_each_way(self):
        def upside_down(cell, protocol, seed, phase):
            return [25, 25, 15, 5] if protocol == "vocu" else [5, 5, 15, 25]

        def orphans(cell, protocol, seed, phase):
            return [-1, 0, 1, -1] if seed else [-1, 0, 1, 2]

        def below(cell, protocol, seed, phase):
            return [np.nan, np.nan, -0.1, -0.01 * seed]

        # What comes about by construction judges nothing, whichever way it is.
        odd = judged(run(appears=upside_down, parent=orphans))
        share = panel(odd, "C4", "gru vocu", "share of later classes that split")
        assert share.value == pytest.approx((1 + 3 * 0.5) / 4)
        assert panel(odd, "C4", "gru vocu - decu").value == -2
        assert odd.holds[odd.claim == "C4"].count() == 1
        assert verdicts(odd)["C4"] == "supported"
        assert verdicts(judged(run(excess=below)))["C4"] == "not supported"

    def test_c4_asks_for_evidence_over_classes_too(self):
        *tables, test = run(cells=("gru", "lstm"))
        assert verdicts(judged((*tables, test.assign(p=0.024))))["C4"] == "supported"
        assert verdicts(judged((*tables, test.assign(p=0.026))))["C4"] == "not supported"
        assert verdicts(judged((*tables, test.assign(p=[0.01, 0.2]))))["C4"] == "mixed"

    def test_c4_leaves_out_what_is_undefined(self):
        def at_once(cell, protocol, seed, phase):
            return [20] * 4 if (protocol, seed) == ("decu", 0) else [5, 15, 25, np.nan]

        def choiceless(cell, protocol, seed, phase):
            return [np.nan] * 4 if seed == 3 else [np.nan, np.nan, 0.1, 0.2]

        table = judged(
            run(
                appears=at_once,
                excess=choiceless,
                learned=lambda cell, protocol, seed, phase: (protocol, seed) != ("vocu", 1),
            )
        )
        order = panel(table, "C4", "gru vocu", "^rho of order")
        assert (order.networks, order.left_out) == (3, 1)
        # a class that never appears comes last, as its order has it
        assert order.value == pytest.approx(stats.spearmanr(INTRODUCED, [5, 15, 25, 99]).statistic)
        pairs = panel(table, "C4", "gru vocu - decu")
        assert (pairs.networks, pairs.left_out) == (2, 2)
        excess = panel(table, "C4", "gru vocu", "confusion with the parent, above")
        assert (excess.networks, excess.left_out) == (2, 2)

    def test_c4_without_networks_followed_back(self):
        table, correlation, slow, formation, test = run()
        nobody = judged((table, correlation, slow, formation.iloc[:0], test.iloc[:0]))
        absent = nobody[nobody.claim == "C4"]
        assert absent.measure.item() == "not computable: the run has no such networks"
        assert absent.statement.str.contains("Nothing could be judged").all()
        assert verdicts(nobody)["C5"] == "supported"
        decu = judged((table, correlation, slow, formation[formation.curriculum == "decu"], test.iloc[:0]))
        described = decu[decu.claim == "C4"]
        assert (described.side == "(descriptive)").all()
        assert described.panel.tolist() == ["gru decu"] * 3
        assert verdicts(decu)["C4"] == "not supported"
        vocu = judged((table, correlation, slow, formation[formation.curriculum == "vocu"], test))
        assert verdicts(vocu)["C4"] == "supported"
        assert "gru vocu - decu" not in set(vocu.panel[vocu.claim == "C4"])

    def test_c3_asks_nothing_but_the_speed_and_the_score(self):
        table, correlation, *more = run()
        others = (correlation.predictor != "speed") | (correlation.target != "extrapolation_score")
        upset = correlation.assign(**{name: correlation[name].mask(others, 0.9) for name in ("rho", "low", "high")})
        pd.testing.assert_frame_equal(judged((table, upset, *more)), judged((table, correlation, *more)))
        assert len(panel(judged((table, upset, *more)), "C3", "gru all"))

    def test_c5_is_paired_with_control(self):
        gains = {"slow_points": [0.1, 0.2, 0.3, 0.4], "centroid": [-0.1, 0.1, -0.1, 0.1], "control": [0, 0, 0, 0]}

        def score(cell, protocol, seed, phase):
            return 0.3 + 0.1 * seed + (gains[phase][seed] if phase in gains else 0)

        table = judged(run(score=score))
        found = panel(table, "C5", "gru vocu slow_points")
        assert (found.value, found.low, found.high) == pytest.approx(mean_interval([0.1, 0.2, 0.3, 0.4], 0.95))
        assert found.holds and found.networks == 4
        assert not panel(table, "C5", "gru vocu centroid").holds
        assert verdicts(table)["C5"] == "mixed"
        gains["slow_points"] = [0.0, 0.0, 0.0, 0.0]
        assert verdicts(judged(run(score=score)))["C5"] == "not supported"

    def test_c5_is_about_the_papers_modes_alone(self):
        table, *more = run()
        placebo = table[table.phase == "control"].assign(phase="placebo")
        found = judged((pd.concat([table, placebo], ignore_index=True), *more))
        described = panel(found, "C5", "gru vocu placebo")
        assert described.side == "(descriptive)" and pd.isna(described.holds) and described.value == 0
        assert verdicts(found)["C5"] == "supported"

    def test_c5_leaves_out_networks_that_had_not_learned(self):
        table = judged(run(learned=lambda cell, protocol, seed, phase: seed > 0 or phase != "trained"))
        found = panel(table, "C5", "gru vocu slow_points")
        assert (found.networks, found.left_out) == (3, 1)

    def test_protocol_that_never_learned_is_listed_and_does_not_enter(self):
        with_nacu = run(protocols=("decu", "nacu", "vocu"), learned=lambda cell, protocol, *rest: protocol != "nacu")
        table = judged(with_nacu)
        assert verdicts(table) == dict.fromkeys(CLAIMS, "supported")
        for claim, name in [
            ("C1", "gru decu - nacu"),
            ("C2", "gru nacu"),
            ("C3", "gru nacu"),
            ("C5", "gru nacu centroid"),
        ]:
            found = table[(table.claim == claim) & (table.panel == name)]
            assert len(found)
            assert found[["value", "low", "high", "holds"]].isna().all(axis=None)
            assert (found.networks == 0).all()
            assert (found.left_out == 4).all()
        assert panel(table, "C3", "gru all").left_out == 4

    def test_nothing_to_judge(self):
        table = judged(run(learned=lambda *network: False))
        assert verdicts(table) == dict.fromkeys(CLAIMS, "not supported")
        assert table.statement.str.contains("Nothing could be judged").all()
        assert table[["value", "holds"]].isna().all(axis=None)
        text = summary(table)
        assert text.count("  NOT JUDGED  ") == len(CLAIMS)
        assert "SUPPORTED" not in text
        flat = " ".join(text.split())  # why, once a claim, and not once for every panel
        assert flat.count("Nothing could be judged: no network learned the task.") == len(CLAIMS)
        assert "too few" not in flat and len(text.splitlines()) < 60

    def test_single_network(self):
        table = judged(run(seeds=1))
        assert table.statement.str.contains("Nothing could be judged").all()
        assert table[["low", "high", "holds"]].isna().all(axis=None)
        values = table.measure.ne("extrapolation score, standard deviation between networks")
        assert table.value.notna().equals(values)
        text = summary(table)
        assert "holds" not in text and "fails" not in text
        assert re.search(r"gru decu - vocu +-?\d\.\d{3} +n = 1", text)

    def test_one_protocol_without_regularisation_says_what_is_absent(self):
        table = judged(run(protocols=("vocu",), phases=("trained",)))
        assert verdicts(table)["C2"] == "supported"
        absent = table[table.claim == "C5"]
        assert len(absent) == 1
        assert absent.measure.item() == "not computable: the run has no such networks"
        assert absent.statement.str.contains("Nothing could be judged").all()
        assert "not computable: the run has no such networks" in summary(table)
        # C1 has no pair of protocols, but its spread is still described.
        assert set(table.panel[table.claim == "C1"]) == {"gru vocu"}

    def test_order_of_rows_does_not_matter(self):
        tables = run()
        shuffled = [frame.sample(frac=1, random_state=2) for frame in tables]
        columns = ["claim", "measure", "panel"]
        first, second = (judged(frames).sort_values(columns, ignore_index=True) for frames in (tables, shuffled))
        pd.testing.assert_frame_equal(first, second)

    def test_refuses_what_does_not_fit(self):
        table, correlation, slow, *formed = run()
        formation, test = formed
        with pytest.raises(
            ValueError, match="table scores has the phases centroid, control, slow_points; expected trained"
        ):
            judged((table[table.phase != "trained"], correlation, slow, *formed))
        with pytest.raises(ValueError, match=r"for gru decu; expected control among them.*regularise\.modes"):
            judged((table[table.phase != "control"], correlation, slow, *formed))
        with pytest.raises(ValueError, match=r"search budgets \[300, 3000\]; expected 1000 \(claims\.search_steps\)"):
            judged((table, correlation, slow, *formed), search_steps=1000)
        with pytest.raises(ValueError, match=r"disagree about the network gru decu trained 2"):
            judged((table, correlation, slow[(slow.seed != 2) | (slow.curriculum != "decu")], *formed))
        with pytest.raises(ValueError, match="has the datasets digits, mnist; expected one"):
            judged((pd.concat([table, table.assign(dataset="mnist")]), correlation, slow, *formed))
        for odd in (formation.assign(seed=formation.seed + 9), formation.assign(learned=False)):
            with pytest.raises(ValueError, match="formation and scores disagree about the network digits gru decu"):
                judged((table, correlation, slow, odd, test))


class TestNumbers:
    def test_structure_and_values(self):
        tables = run(cells=("gru", "lstm"), learned=lambda cell, protocol, seed, phase: (cell, seed) != ("gru", 3))
        found = headlines(tables)
        assert set(found) == {
            *("verdicts", "networks", "nominal", "extrapolation", "rho", "budget_rho", "regularise", "readout_share"),
            *("judged", "distinct_share", "formation", "settings"),
        }
        assert found["verdicts"] == dict.fromkeys(CLAIMS, "supported")
        assert found["judged"] == dict.fromkeys(CLAIMS, True)
        assert found["networks"] == {"trained": 16, "learned": 14, "left_out": 2}
        assert found["settings"] == {"max_delay": 20, **SETTINGS, **CORRELATE}
        first = found["nominal"][0]
        assert (first["cell"], first["curriculum"], first["networks"], first["left_out"]) == ("gru", "decu", 3, 1)
        assert first["mean"] == pytest.approx(0.971)
        assert first["all_mean"] == pytest.approx(0.971 * 3 / 4)
        assert first["low"] < first["mean"] < first["high"]
        assert found["extrapolation"][0]["mean"] == pytest.approx(0.3 + 0.01 - 0.015)
        assert found["extrapolation"][0]["sd"] == pytest.approx(0.01)
        assert [(entry["cell"], entry["curriculum"], entry["networks"], entry["points"]) for entry in found["rho"]] == [
            *(("gru", "decu", 3, 12), ("gru", "vocu", 3, 12), ("gru", "all", 6, 24)),
            *(("lstm", "decu", 4, 16), ("lstm", "vocu", 4, 16), ("lstm", "all", 8, 32)),
        ]
        assert all(entry["search_steps"] == 3000 and -1 < entry["rho"] < -0.8 for entry in found["rho"])
        assert [(entry["cell"], entry["search_steps"]) for entry in found["budget_rho"]] == [
            (cell, steps) for cell in ("gru", "lstm") for steps in (0, 300, 3000)
        ]
        gain = found["regularise"][0]
        assert (gain["cell"], gain["curriculum"], gain["mode"]) == ("gru", "decu", "centroid")
        assert (gain["difference"], gain["score"]) == pytest.approx((0.21, 0.505))
        assert gain["control"] == pytest.approx(0.295)
        where = {"cell": "gru", "curriculum": "decu"}
        low = mean_interval([1, 1, 1], 0.95, step=1 / CLASSES)[1]
        share = {"value": 1.0, "low": pytest.approx(low), "high": 1.0, "networks": 3, "left_out": 1}
        assert found["readout_share"][0] == found["distinct_share"][0] == where | share
        share |= {"low": None, "high": None}
        formed = found["formation"]
        assert formed["split_share"][0] == where | {"curriculum": "vocu"} | share
        assert formed["p"][1] == {
            "cell": "lstm", "curriculum": "vocu", "value": 0.01, "low": None, "high": None, "networks": 4, "left_out": 0
        }  # fmt: skip
        assert formed["parent_excess"][0]["value"] == pytest.approx((0.2 + 0.205 + 0.21) / 3)

    def test_json_has_null_and_no_nan(self, tmp_path):
        found = headlines(run(learned=lambda *network: False))
        save_json(tmp_path / "numbers.json", found)
        assert load_json(tmp_path / "numbers.json") == found
        assert found["judged"] == dict.fromkeys(CLAIMS, False)
        assert found["nominal"][0]["mean"] is None
        assert found["nominal"][0]["all_mean"] == 0
        assert found["rho"][0]["rho"] is None
        assert found["regularise"][0]["score"] is None
        assert "NaN" not in json.dumps(found)


class TestSummary:
    def test_text(self):
        tables = run(
            cells=("gru", "lstm"),
            protocols=("decu", "nacu", "vocu"),
            learned=lambda cell, protocol, *rest: protocol != "nacu",
            slope=lambda cell, *rest: 1 if cell == "lstm" else -1,
        )
        lines = summary(judged(tables)).splitlines()
        assert max(map(len, lines)) <= WIDTH
        heads = [line for line in lines if line[:1] == "C" and line[2:3] == " "]
        assert [line.split("  ")[:2] for line in heads] == [
            ["C1", "SUPPORTED"],
            ["C2", "SUPPORTED"],
            ["C3", "MIXED"],
            ["C4", "SUPPORTED"],
            ["C5", "SUPPORTED"],
        ]
        text = "\n".join(lines)
        assert re.search(r"gru all {16}-0\.9\d\d \[-\d\.\d{3}, -0\.\d{3}\]  holds  n = 8, 4 left out", text)
        assert re.search(r"lstm all {16}0\.9\d\d \[ 0\.\d{3},  \d\.\d{3}\]  fails  n = 8, 4 left out", text)
        assert "gru nacu               not computable                  n = 0, 4 left out" in text

    def test_same_from_the_file(self, tmp_path):
        table = judged(
            run(protocols=("decu", "nacu", "vocu"), learned=lambda cell, protocol, *rest: protocol != "nacu")
        )
        save_table(tmp_path / "claims.csv", table, "claims")
        back = load_table(tmp_path / "claims.csv", "claims")
        assert summary(back) == summary(table)
        nothing = judged(run(learned=lambda *network: False))
        save_table(tmp_path / "nothing.csv", nothing, "claims")
        assert summary(load_table(tmp_path / "nothing.csv", "claims")) == summary(nothing)

    def test_command_prints_what_is_there(self, tmp_path, capsys):
        table = judged(run())
        save_table(tmp_path / "tables" / "claims.csv", table, "claims")
        main([str(tmp_path)])
        printed = capsys.readouterr().out
        assert printed.startswith(summary(table))
        assert str(tmp_path / "tables") in printed
        assert "figures" not in printed
        (tmp_path / "figures").mkdir()
        (tmp_path / "report.html").touch()
        main([str(tmp_path)])
        printed = capsys.readouterr().out
        assert str(tmp_path / "figures") in printed
        assert str(tmp_path / "report.html") in printed

    def test_command_without_a_run(self, tmp_path):
        with pytest.raises(SystemExit, match=r"claims\.csv: expected a CSV table"):
            main([str(tmp_path / "nothing")])

    def test_needs_no_torch(self):
        code = "import memrnn.analysis.claims, memrnn.analysis.correlate, sys; sys.exit('torch' in sys.modules)"
        library = Path(__file__).parents[2] / "workflow" / "lib"
        assert subprocess.run([sys.executable, "-c", code], cwd=library, check=False).returncode == 0


class Inputs(dict):
    """Paths by name, as Snakemake hands them on."""

    __getattr__ = dict.__getitem__


def test_scripts_from_tables_to_verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the log of a script sets it
    table, correlation, slow, formation, test = run()
    spectrum = spectrum_of(table)
    long = [
        table.assign(delay=20, accuracy=table.nominal_accuracy),
        *(table.assign(delay=delay, accuracy=table.extrapolation_score) for delay in DELAYS[1:]),
    ]
    paths = {name: str(tmp_path / f"{name}.csv") for name in TABLES} | {"numbers": str(tmp_path / "numbers.json")}
    made = {"extrapolation": pd.concat(long)[[*POINT, "delay", "accuracy"]], "slow_points": slow, "spectrum": spectrum}
    for name, frame in (made | {"formation": formation, "confusion_test": test}).items():
        save_table(paths[name], filled(name, frame), name)

    def execute(stage, inputs, outputs):
        job = SimpleNamespace(
            input=Inputs({name: paths[name] for name in inputs}),
            output=SimpleNamespace(**{name: paths[name] for name in outputs}),
            params=SimpleNamespace(correlate=CORRELATE, claims=SETTINGS, max_delay=20),
            log=[str(tmp_path / f"{stage}.log")],
        )
        runpy.run_path(str(SCRIPTS / f"{stage}.py"), init_globals={"snakemake": job})

    execute("correlate", ["extrapolation", "slow_points", "spectrum"], ["scores", "correlation"])
    found = load_table(paths["correlation"], "correlation")
    pd.testing.assert_frame_equal(found, correlation, rtol=1e-6, check_dtype=False)
    line = "gru all, speed at 3000 search steps and extrapolation_score: rho -0.9"
    assert line in (tmp_path / "correlate.log").read_text(encoding="utf-8")

    execute("claims", ["scores", "correlation", "slow_points", "formation", "confusion_test"], ["claims", "numbers"])
    assert verdicts(load_table(paths["claims"], "claims")) == dict.fromkeys(CLAIMS, "supported")
    assert load_json(paths["numbers"])["verdicts"] == dict.fromkeys(CLAIMS, "supported")
    assert "C5  SUPPORTED" in (tmp_path / "claims.log").read_text(encoding="utf-8")
