"""Verdicts: the rules each way, estimates by hand, and what must be refused."""

import itertools
import json
import re
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, filled, relaxed_of, spectrum_of
from jobs import Named
from scipy import stats

from memrnn.analysis.claims import CLAIMS, Evidence, judge, numbers, summary
from memrnn.analysis.claims.__main__ import main
from memrnn.analysis.claims.summary import WIDTH
from memrnn.analysis.claims.verdict import LEAST, count, decide
from memrnn.analysis.correlate import correlate
from memrnn.analysis.scores import POINT, scores
from memrnn.core.files import load_json, load_table, save_json, save_table
from memrnn.core.stats import mean_interval
from memrnn.core.tables import TABLES, columns_of

SCRIPTS = ROOT / "workflow" / "scripts"
SETTINGS = {"search_steps": 3000, "max_delay": 20, "coincide_distance": 0.1, "confidence": 0.95}
BOOTSTRAP = {"resamples": 100, "confidence": 0.95, "seed": 0}
PHASES = ("trained", "control", "centroid", "slow_points")
CLASSES, DELAYS = 4, (20, 100, 1000)
FOLLOWED, INTRODUCED = ("vocu", "decu"), [0, 0, 10, 20]
JUDGED = [claim for claim in CLAIMS if claim != "C4"]


def run(cells=("gru",), protocols=("decu", "vocu"), seeds=4, phases=PHASES, learned=lambda *network: True, **changes):
    """Tables of a small run in which no claim is contradicted; `changes`: functions of (cell, protocol, seed, phase).

    nominal: accuracy in the training task; score: informedness of class 0 at both delays above T_max, the other classes
    one hundredth less each; alarm: false alarm of every class; slope: sign of speed against score; readout: number of
    classes that keep their read-out; distance: to the nearest point. Of the points followed back, under vocu and decu:
    appears, parent and excess of each class.
    """
    ask = {
        "nominal": lambda cell, protocol, seed, phase: 0.97 + 0.001 * seed * (protocol != "vocu"),
        "score": lambda cell, protocol, seed, phase: (
            0.3
            + 0.01 * seed
            + (0.2 + 0.004 * seed if protocol == "vocu" else 0)
            + (0.2 + 0.01 * seed if phase in ("centroid", "slow_points") else 0)
        ),
        "alarm": lambda *network: 0.0,
        "slope": lambda *network: -1,
        "readout": lambda *network: CLASSES,
        "distance": lambda *network: 50.0,
        "appears": lambda cell, protocol, seed, phase: (
            [5, 5, 15, 25] if protocol == "vocu" else [20, 10, 25, 9 + 4 * seed]
        ),
        "parent": lambda cell, protocol, seed, phase: [-1, 0, 1, 2],
        "excess": lambda cell, protocol, seed, phase: [np.nan, np.nan, 0.1 + 0.01 * seed, 0.3],
    }
    assert set(changes) <= set(ask)
    ask |= changes
    extrapolation, nominal, slow, formation, relaxed = [], [], [], [], []
    for network in itertools.product(cells, protocols, range(seeds), phases):
        cell, protocol, seed, phase = network
        has = learned(*network)
        for label in range(CLASSES):
            point = ["digits", cell, protocol, phase, seed, label]
            score = round(ask["score"](*network) - 0.01 * label, 7) if has else 0.0
            right = ask["nominal"](*network) if has else 0.0
            nominal.append([*point, right, 0.0, right])
            for delay in DELAYS:
                informedness, alarm = (score if delay > 20 else right), ask["alarm"](*network)
                extrapolation.append([*point, delay, informedness + alarm, alarm, informedness])
            # in every other network class 1 is faster or slower than its score would have it
            memory = score + 0.015 * (label == 1 and seed % 2)
            fast = np.exp(ask["slope"](*network) * 10 * memory)
            for steps in (300, 3000):
                readout = label if label < ask["readout"](*network) else -1
                speed = fast if steps == 3000 else 1.0 + label
                slow.append([*point, steps, speed, readout, label, 1.0 + label, ask["distance"](*network)])
            if phase == "trained":
                relaxed.append(fast)
        if phase == "trained" and protocol in FOLLOWED:
            formation += formation_rows(network, has, ask)
    formation = pd.DataFrame(formation, columns=columns_of("formation")).astype({"appears": float})
    measured = ["accuracy", "false_alarm", "informedness"]
    table = scores(
        pd.DataFrame(extrapolation, columns=[*POINT, "delay", *measured]),
        pd.DataFrame(nominal, columns=[*POINT, *measured]),
        20,
        0.5,
    )
    names = ["search_steps", "speed", "readout", "start_readout", "start_speed", "nearest_distance"]
    slow = pd.DataFrame(slow, columns=[*POINT, *names])
    order = pd.MultiIndex.from_frame(slow.loc[(slow.phase == "trained") & (slow.search_steps == 3000), POINT])
    trained = table[table.phase == "trained"]
    fast = pd.Series(relaxed, order).reindex(pd.MultiIndex.from_frame(trained[POINT])).to_numpy()
    relaxed = relaxed_of(table, (0, 40), fast)
    return {
        "scores": table,
        "correlation": correlate(slow, spectrum_of(table), relaxed, table, **BOOTSTRAP),
        "slow_points": slow,
        "other_starts": slow[:0],
        "relaxed": relaxed,
        "formation": formation,
        "confusion_test": permutation_test(formation),
    }


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


def judged(tables, **changes):
    return judge(Evidence(tables, **(SETTINGS | changes)))


def with_interval(tables, low, high, value=None):
    """The same tables with one interval for every rho, over classes and between networks."""
    value = (low + high) / 2 if value is None else value
    names = {
        f"{kind}{end}": at for kind in ("", "network_") for end, at in (("rho", value), ("low", low), ("high", high))
    }
    return tables | {"correlation": tables["correlation"].assign(**names)}


def verdicts(table, claim):
    """Of each panel of a claim's primary measure."""
    rows = table[(table.claim == claim) & table.primary]
    return dict(zip(rows.panel, rows.verdict, strict=True))


def panel(table, claim, name, measure="", primary=None):
    found = table[(table.claim == claim) & (table.panel == name) & table.measure.str.contains(measure)]
    found = found if primary is None else found[found.primary == primary]
    assert len(found) == 1
    return found.iloc[0]


def counts(table):
    return {claim: count(rows) for claim, rows in table.groupby("claim", sort=False)}


RULES = {
    "C1": {
        "supported": [(0.01, 0.2), (-0.2, -0.01)],
        "contradicted": [(-0.03, 0.03), (0.005, 0.025)],  # the second exists, and is smaller than any of interest
        "inconclusive": [(-0.01, 0.2), (-0.04, 0.01), (0.0, 0.2)],
    },
    "C2": {
        "supported": [(0.81, 1)],
        "contradicted": [(0.5, 0.79)],
        "inconclusive": [(0.7, 0.9), (0.8, 0.9), (0.6, 0.8)],
    },
    "C3a": {
        "supported": [(-0.5, -0.1), (-0.3, -0.01)],
        "contradicted": [(-0.1, 0.3), (-0.15, -0.05)],
        "inconclusive": [(-0.5, 0.1), (-0.2, 0.1), (-0.3, 0.0)],
    },
    "C5": {
        "supported": [(0.01, 0.2)],
        "contradicted": [(-0.1, 0.01), (0.001, 0.01)],
        "inconclusive": [(-0.1, 0.2), (0.0, 0.2), (-0.1, 0.02)],
    },
}


class TestRules:
    @pytest.mark.parametrize(
        ("claim", "verdict", "low", "high"),
        [
            (claim, verdict, *interval)
            for claim, expected in RULES.items()
            for verdict, intervals in expected.items()
            for interval in intervals
        ],
    )
    def test_each_way(self, claim, verdict, low, high):
        assert CLAIMS[claim].rule(low, high) == verdict

    def test_without_an_interval_nothing_is_judged(self):
        for claim in RULES:
            assert CLAIMS[claim].rule(np.nan, np.nan) == "not judged"

    def test_an_effect_too_small_for_interest_is_contradicted(self):
        assert decide(0.1, 0.2, supported=True, contradicted=True) == "contradicted"

    def test_count(self):
        def of(*given):
            return count(pd.DataFrame({"verdict": [*given, "not judged"], "primary": [True] * len(given) + [False]}))

        assert of("supported", "contradicted", "supported") == "2 of 3 supported, 1 contradicted"
        assert of("inconclusive", "not judged") == "0 of 2 supported, 1 inconclusive, 1 not judged"
        assert of("not judged", "not judged") == "not judged"
        assert of() == "described only"


class TestJudge:
    def test_contract(self):
        table = judged(run(cells=("gru", "lstm")))
        assert list(table.columns) == columns_of("claims")
        assert list(dict.fromkeys(table.claim)) == list(CLAIMS)
        assert (table.statement == table.claim.map({name: claim.STATEMENT for name, claim in CLAIMS.items()})).all()
        assert (table.verdict[~table.primary] == "not judged").all()
        cells, each = ("gru", "lstm"), ("decu", "vocu")
        primary = table[table.primary].groupby("claim").panel.apply(list).to_dict()
        assert primary == {
            "C1": [f"{cell} decu - vocu" for cell in cells],
            **{claim: [f"{cell} all" for cell in cells] for claim in ("C2", "C3a", "C3'")},
            "C3b": [f"{cell} {protocol}" for cell in cells for protocol in each],
            "C5": [f"{cell} {protocol} slow_points" for cell in cells for protocol in each],
        }
        assert counts(table)["C1"] == "2 of 2 supported"
        assert counts(table)["C5"] == "4 of 4 supported"

    def test_c1_by_hand(self):
        table = judged(run())
        # M: decu - vocu is -(0.2 + 0.004 seed), so -0.2 .. -0.212, however far the seeds are apart.
        found = panel(table, "C1", "gru decu - vocu", "memory score M, difference")
        assert (found.value, found.low, found.high) == pytest.approx(
            mean_interval([-0.2, -0.204, -0.208, -0.212], 0.95)
        )
        assert (found.networks, found.left_out, found.verdict) == (4, 0, "supported")
        found = panel(table, "C1", "gru decu - vocu", "nominal")
        assert (found.value, found.low, found.high) == pytest.approx(mean_interval([0, 0.001, 0.002, 0.003], 0.90))
        spread = panel(table, "C1", "gru decu", "standard deviation")
        assert spread.value == pytest.approx(np.std([0, 0.01, 0.02, 0.03], ddof=1))
        assert spread.low < spread.value < spread.high

    def test_c1_is_not_judged_unless_the_nominal_task_is_done_equally_well(self):
        def unequal(by, seed=None):
            def nominal(cell, protocol, at, phase):
                worse = protocol == "vocu" and seed in (None, at)
                return 0.97 - by * worse + 0.001 * at * (protocol == "decu")

            return verdicts(judged(run(nominal=nominal)), "C1")["gru decu - vocu"]

        assert unequal(0.04) == "supported"
        assert unequal(0.06) == "not judged"
        # A mean difference of 0.02 is within the margin, but its interval is not.
        assert unequal(0.08, seed=0) == "not judged"

    def test_c1_judges_the_memory_and_not_the_accuracy(self):
        """A class that is the answer to everything is right for ever: all of VoCu's advantage may be that."""

        def same(cell, protocol, seed, phase):
            return 0.3 + 0.01 * seed + 0.001 * (protocol == "vocu") * (seed % 2)

        table = judged(run(score=same, alarm=lambda cell, protocol, *rest: 0.3 if protocol == "vocu" else 0.0))
        assert verdicts(table, "C1") == {"gru decu - vocu": "contradicted"}
        accuracy = panel(table, "C1", "gru decu - vocu", "extrapolation score")
        assert accuracy.value == pytest.approx(-0.3, abs=0.01) and accuracy.verdict == "not judged"

    def test_c1_is_paired_over_seeds_that_learned_under_both(self):
        tables = run(
            seeds=6, learned=lambda cell, protocol, seed, phase: (protocol, seed) not in [("decu", 0), ("vocu", 1)]
        )
        found = panel(judged(tables), "C1", "gru decu - vocu", "memory score M, difference")
        assert found.value == pytest.approx(-np.mean([0.208, 0.212, 0.216, 0.22]))
        assert (found.networks, found.left_out) == (4, 2)

    def test_c1_of_other_protocols_is_described(self):
        table = judged(run(protocols=("decu", "recu", "vocu")))
        assert set(verdicts(table, "C1")) == {"gru decu - vocu"}
        assert not panel(table, "C1", "gru decu - recu", "memory score").primary
        alone = judged(run(protocols=("recu", "vocu")))
        assert list(verdicts(alone, "C1").values()) == ["not judged"]
        assert counts(alone)["C1"] == "not judged"

    def test_c2_by_hand(self):
        tables = run(readout=lambda cell, protocol, seed, phase: [4, 4, 3, 2][seed] if protocol == "vocu" else 4)
        table = judged(tables)
        found = panel(table, "C2", "gru all", "slow point of their own")
        # A seed counts once, with the mean of its two networks.
        assert (found.value, found.low, found.high) == pytest.approx(
            mean_interval([1, 1, 0.875, 0.75], 0.95, (0, 1), step=1 / CLASSES / 2)
        )
        assert found.networks == 8 and found.verdict == "inconclusive"
        one = panel(table, "C2", "gru vocu", "slow point of their own")
        assert (one.value, one.verdict) == (0.8125, "not judged")
        assert panel(table, "C2", "gru vocu", "slow for the task").value == 1
        assert panel(table, "C2", "gru vocu", "at their centroid").value == 1

    def test_c2_asks_for_slowness(self):
        """The way to the next class's point must take more than 10 T_max = 200 steps at the point's speed."""
        tables = run()
        slow = tables["slow_points"]
        fast = slow.assign(nearest_distance=slow.speed * np.where(slow.label == 0, 200, 201))
        found = panel(judged(tables | {"slow_points": fast}), "C2", "gru all", "slow point of their own")
        assert found.value == 0.75  # exactly 200 steps are too few
        kept = panel(judged(tables | {"slow_points": fast}), "C2", "gru vocu", "read out at their point")
        assert kept.value == 1
        near = judged(tables | {"slow_points": slow.assign(nearest_distance=slow.speed)})
        assert verdicts(near, "C2") == {"gru all": "contradicted"}
        still = judged(tables | {"slow_points": slow.assign(speed=0.0)})
        assert panel(still, "C2", "gru all", "slow point of their own").value == 1

    def test_c2_describes_points_from_other_starts(self):
        tables = run()
        slow = tables["slow_points"].query("phase == 'trained' and search_steps == 3000")
        lost = slow.assign(phase="untrained", readout=0)  # one of four classes is read out right
        fast = slow.assign(phase="trial_states", nearest_distance=slow.speed * np.where(slow.label < 2, 200, 201))
        found = judged(tables | {"other_starts": pd.concat([lost, fast])})
        assert panel(found, "C2", "gru vocu", "in untrained networks").value == 0.25
        assert panel(found, "C2", "gru vocu", "from states of single trials").value == 0.5
        assert counts(found) == counts(judged(tables))

    def test_c2_points_are_those_of_the_budget(self):
        tables = run(readout=lambda *network: 2)
        slow = tables["slow_points"]
        early = slow.search_steps == 300
        slow["readout"] = slow.readout.mask(early, slow.label)
        slow["nearest_distance"] = slow.nearest_distance.mask(early, 1000.0)
        assert panel(judged(tables), "C2", "gru all", "slow point of their own").value == 0.5
        assert panel(judged(tables, search_steps=300), "C2", "gru all", "slow point of their own").value == 1

    def test_c2_describes_how_slow_the_points_are(self):
        tables = run()
        slow = tables["slow_points"]
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
            assert row[["low", "high"]].isna().all()
        lines = summary(found).splitlines()
        at = lines.index("    speed of the slow points, median")
        assert lines[at + 2].split() == ["gru", "vocu", "0.009", "n", "=", "4"]

    @pytest.mark.parametrize("claim", ["C3a", "C3b", "C3'"])
    def test_c3_follows_its_interval(self, claim):
        tables = run()
        for low, high, verdict in [(-0.8, -0.1, "supported"), (-0.8, 0.1, "inconclusive"), (-0.1, 0.3, "contradicted")]:
            assert set(verdicts(judged(with_interval(tables, low, high)), claim).values()) == {verdict}

    @pytest.mark.parametrize(
        ("claim", "predictor", "steps"), [("C3a", "speed", 3000), ("C3b", "speed", 3000), ("C3'", "relaxed_speed", 40)]
    )
    def test_c3_asks_nothing_but_its_predictor_and_the_memory_score(self, claim, predictor, steps):
        tables = with_interval(run(), -0.8, -0.1)
        table = tables["correlation"]
        mine = (table.predictor == predictor) & (table.search_steps == steps) & (table.target == "memory_score")
        upset = with_interval(tables, 0.5, 0.9)["correlation"].where(~mine, table)
        found = judged(tables | {"correlation": upset})
        assert set(verdicts(found, claim).values()) == {"supported"}
        others = {"C3a", "C3b", "C3'"} - {claim} - ({"C3b"} if claim == "C3a" else {"C3a"} if claim == "C3b" else set())
        for other in others:
            assert set(verdicts(found, other).values()) == {"contradicted"}

    def test_c3_of_a_run_as_it_is(self):
        table = judged(run())
        assert verdicts(table, "C3a") == {"gru all": "supported"}
        assert panel(table, "C3'", "gru vocu", "read out right after 40").value == 1
        assert panel(table, "C3a", "gru all", "within").value == pytest.approx(-0.9)

    def test_few_networks_judge_nothing(self):
        for seeds, said in ((LEAST - 1, {"not judged"}), (LEAST, {"supported"})):
            table = judged(with_interval(run(seeds=seeds), -0.8, -0.1))
            for claim in ("C1", "C3a", "C3b", "C3'", "C5"):
                assert set(verdicts(table, claim).values()) == said, claim
        # Two networks a seed are no two seeds.
        assert panel(judged(run(seeds=LEAST - 1)), "C3a", "gru all", primary=True).networks == 2 * (LEAST - 1)

    def test_c4_is_described_and_never_judged(self):
        found = judged(run())
        assert not found.primary[found.claim == "C4"].any()
        assert counts(found)["C4"] == "described only"
        # Introduced 0, 0, 10, 20. VoCu's points appear in that order; DeCu's at 20, 10, 25, 9 + 4 seed.
        orders = [stats.spearmanr(INTRODUCED, [20, 10, 25, 9 + 4 * seed]).statistic for seed in range(4)]
        difference = panel(found, "C4", "gru vocu - decu", "difference between protocols")
        expected = mean_interval([1 - rho for rho in orders], 0.95)
        assert (difference.value, difference.low, difference.high) == pytest.approx(expected)
        assert panel(found, "C4", "gru vocu", "^rho of order").value == 1
        assert panel(found, "C4", "gru vocu", "share of later classes that split").value == 1
        excess = panel(found, "C4", "gru vocu", "confusion with the parent, above")
        expected = mean_interval([0.2, 0.205, 0.21, 0.215], 0.95)
        assert (excess.value, excess.low, excess.high) == pytest.approx(expected)
        # Of the later classes, 2 lay within 0.1 of its parent and 3 did not.
        assert panel(found, "C4", "gru vocu", "lay on its parent's").value == 0.5
        assert panel(judged(run(), coincide_distance=0.3), "C4", "gru vocu", "lay on its parent's").value == 1
        p = panel(found, "C4", "gru vocu", "^p of")
        assert (p.value, p.networks, p.left_out) == (0.01, 4, 0) and np.isnan(p.low)
        for protocol, appears in (("vocu", 10 / 40), ("decu", np.mean([15, 16.5, 18.5, 20.5]) / 40)):
            assert panel(found, "C4", f"gru {protocol}", "log10 change of the parent's").value == -1
            other = panel(found, "C4", f"gru {protocol}", "other points' speed")
            assert other.value == pytest.approx(-np.log10(2))
            assert panel(found, "C4", f"gru {protocol}", "points appear").value == pytest.approx(appears)

    def test_c4_leaves_out_what_is_undefined(self):
        def at_once(cell, protocol, seed, phase):
            return [20] * 4 if (protocol, seed) == ("decu", 0) else [5, 15, 25, np.nan]

        def choiceless(cell, protocol, seed, phase):
            return [np.nan] * 4 if seed == 3 else [np.nan, np.nan, 0.1, 0.2]

        learned = {"learned": lambda cell, protocol, seed, phase: (protocol, seed) != ("vocu", 1)}
        table = judged(run(appears=at_once, excess=choiceless, **learned))
        order = panel(table, "C4", "gru vocu", "^rho of order")
        assert (order.networks, order.left_out) == (3, 1)
        # a class that never appears comes last, as its order has it
        assert order.value == pytest.approx(stats.spearmanr(INTRODUCED, [5, 15, 25, 99]).statistic)
        pairs = panel(table, "C4", "gru vocu - decu")
        assert (pairs.networks, pairs.left_out) == (2, 2)
        excess = panel(table, "C4", "gru vocu", "confusion with the parent, above")
        assert (excess.networks, excess.left_out) == (2, 2)

    def test_c4_without_networks_followed_back(self):
        tables = run()
        nothing = {name: tables[name].iloc[:0] for name in ("formation", "confusion_test")}
        absent = judged(tables | nothing)
        absent = absent[absent.claim == "C4"]
        assert absent.measure.item() == "not computable: the run has no such networks"
        assert not absent.primary.any()

    def test_c5_is_paired_with_control(self):
        gains = {"slow_points": [0.1, 0.2, 0.3, 0.4], "centroid": [-0.1, 0.1, -0.1, 0.1], "control": [0, 0, 0, 0]}

        def score(cell, protocol, seed, phase):
            return 0.3 + 0.1 * seed + (gains[phase][seed] if phase in gains else 0)

        table = judged(run(score=score))
        found = panel(table, "C5", "gru vocu slow_points", "memory")
        assert (found.value, found.low, found.high) == pytest.approx(mean_interval([0.1, 0.2, 0.3, 0.4], 0.95))
        assert (found.networks, found.verdict) == (4, "supported")
        centroid = panel(table, "C5", "gru vocu centroid", "memory")
        assert (centroid.primary, centroid.verdict) == (False, "not judged")
        gains["slow_points"] = [0.0, 0.001, 0.0, 0.001]
        assert set(verdicts(judged(run(score=score)), "C5").values()) == {"contradicted"}
        gains["slow_points"] = [0.0, 0.0, 0.0, 0.0]  # equal values are no certainty
        assert set(verdicts(judged(run(score=score)), "C5").values()) == {"not judged"}

    def test_c5_is_not_judged_where_there_is_nothing_to_gain(self):
        def score(cell, protocol, seed, phase):
            control = 0.97 + 0.001 * seed - (0.04 if protocol == "vocu" else 0.01)
            return control + 0.015 + (0.01 + 0.001 * seed if phase == "slow_points" else 0)

        found = verdicts(
            judged(run(score=score, nominal=lambda cell, protocol, seed, phase: 0.97 + 0.001 * seed)), "C5"
        )
        # Over four classes M is 0.015 below its first class's.
        assert found == {"gru decu slow_points": "not judged", "gru vocu slow_points": "contradicted"}

    def test_c5_is_about_the_papers_modes_alone(self):
        tables = run()
        table = tables["scores"]
        placebo = table[table.phase == "control"].assign(phase="placebo")
        found = judged(tables | {"scores": pd.concat([table, placebo], ignore_index=True)})
        beside = panel(found, "C5", "gru vocu placebo", "memory")
        assert (beside.value, beside.primary, beside.verdict) == (0, False, "not judged")
        assert counts(found)["C5"] == "2 of 2 supported"

    def test_c5_leaves_out_networks_that_had_not_learned(self):
        table = judged(run(learned=lambda cell, protocol, seed, phase: seed > 0 or phase != "trained"))
        found = panel(table, "C5", "gru vocu slow_points", "memory")
        assert (found.networks, found.left_out, found.verdict) == (3, 1, "not judged")

    def test_protocol_that_never_learned_is_listed_and_does_not_enter(self):
        without = judged(run())
        table = judged(
            run(protocols=("decu", "nacu", "vocu"), learned=lambda cell, protocol, *rest: protocol != "nacu")
        )
        for claim in ("C1", "C2", "C3a", "C3'"):
            assert verdicts(table, claim) == verdicts(without, claim)
        for claim, name in [
            ("C1", "gru decu - nacu"),
            ("C2", "gru nacu"),
            ("C3b", "gru nacu"),
            ("C5", "gru nacu centroid"),
        ]:
            found = table[(table.claim == claim) & (table.panel == name)]
            assert len(found)
            assert found[["value", "low", "high"]].isna().all(axis=None)
            assert (found.networks == 0).all() and (found.left_out == 4).all()
            assert (found.verdict == "not judged").all()
        assert panel(table, "C3a", "gru all", primary=True).left_out == 4

    def test_nothing_to_judge(self):
        table = judged(run(learned=lambda *network: False))
        assert {claim: counts(table)[claim] for claim in JUDGED} == dict.fromkeys(JUDGED, "not judged")
        assert table.value.isna().all()
        text = summary(table)
        assert text.count("NOT JUDGED: no network learned the task") == len(JUDGED)  # why, once a claim
        assert len(text.splitlines()) < 40 and "n = 0" not in text
        assert "SUPPORTED" not in text

    def test_one_protocol_without_regularisation_says_what_is_absent(self):
        table = judged(run(protocols=("vocu",), phases=("trained",)))
        absent = table[table.claim == "C5"]
        assert len(absent) == 1 and absent.primary.all()
        assert absent.measure.item() == "not computable: the run has no such networks"
        assert counts(table)["C5"] == "not judged"
        assert "not judged" in summary(table).lower()

    def test_order_of_rows_does_not_matter(self):
        tables = run()
        shuffled = {name: frame.sample(frac=1, random_state=2) for name, frame in tables.items()}
        columns = ["claim", "measure", "panel"]
        first, second = (judged(frames).sort_values(columns, ignore_index=True) for frames in (tables, shuffled))
        pd.testing.assert_frame_equal(first, second)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda t: {"scores": t["scores"][t["scores"].phase != "trained"]}, "expected trained"),
            (lambda t: {"scores": t["scores"][t["scores"].phase != "control"]}, "expected control.*regularise.modes"),
            (
                lambda t: {"slow_points": t["slow_points"][t["slow_points"].seed != 2]},
                "about the network gru decu trained 2",
            ),
            (
                lambda t: {"scores": pd.concat([t["scores"], t["scores"].assign(dataset="mnist")])},
                "digits, mnist; expected one",
            ),
            (
                lambda t: {"formation": t["formation"].assign(seed=9)},
                "formation and scores disagree about the network digits",
            ),
            (lambda t: {"formation": t["formation"].assign(learned=False)}, "formation and scores disagree"),
            (
                lambda t: {"correlation": t["correlation"][t["correlation"].predictor != "relaxed_speed"]},
                "no relaxed speed after 40 time steps",
            ),
        ],
    )
    def test_refuses_what_does_not_fit(self, spoil, message):
        tables = run()
        with pytest.raises(ValueError, match=message):
            judged(tables | spoil(tables))

    def test_refuses_a_budget_that_was_not_searched(self):
        with pytest.raises(ValueError, match=r"search budgets \[300, 3000\]; expected 1000 \(claims\.search_steps\)"):
            judged(run(), search_steps=1000)


class TestNumbers:
    def test_structure_and_values(self):
        tables = run(cells=("gru", "lstm"), learned=lambda cell, protocol, seed, phase: (cell, seed) != ("gru", 3))
        found = numbers(judged(tables), Evidence(tables, **SETTINGS))
        assert found["verdicts"]["C1"] == "1 of 2 supported, 1 not judged"  # three pairs of GRUs are too few
        assert found["judged"] == dict.fromkeys(CLAIMS, True) | {
            "C3b": False,
            "C4": False,
        }  # ranks of networks are all alike
        assert found["networks"] == {"trained": 16, "learned": 14, "left_out": 2}
        first = found["memory"][0]
        assert (first["cell"], first["curriculum"], first["networks"], first["left_out"]) == ("gru", "decu", 3, 1)
        assert (first["mean"], first["sd"]) == pytest.approx((0.3 + 0.01 - 0.015, 0.01))
        for name, steps in (("rho", 3000), ("relaxed_rho", 40)):
            rows = found[name]
            assert [(entry["cell"], entry["curriculum"], entry["points"]) for entry in rows] == [
                *(("gru", "decu", 12), ("gru", "vocu", 12), ("gru", "all", 24)),
                *(("lstm", "decu", 16), ("lstm", "vocu", 16), ("lstm", "all", 32)),
            ]
            assert all(entry["search_steps"] == steps and -1 < entry["value"] < -0.8 for entry in rows)
        assert found["readout_share"][0]["value"] == 1
        assert found["formation"]["p"][1] == {
            "cell": "lstm", "curriculum": "vocu", "value": 0.01, "low": None, "high": None, "networks": 4, "left_out": 0
        }  # fmt: skip

    def test_json_has_null_and_no_nan(self, tmp_path):
        tables = run(learned=lambda *network: False)
        found = numbers(judged(tables), Evidence(tables, **SETTINGS))
        save_json(tmp_path / "numbers.json", found)
        assert load_json(tmp_path / "numbers.json") == found
        assert found["judged"] == dict.fromkeys(CLAIMS, False)
        assert found["memory"][0]["mean"] is None
        assert found["rho"][0]["value"] is None
        assert "NaN" not in json.dumps(found)


class TestSummary:
    def test_text(self):
        tables = run(
            cells=("gru", "lstm"), protocols=("decu", "nacu", "vocu"), learned=lambda cell, p, *rest: p != "nacu"
        )
        table = judged(tables)
        lines = summary(table).splitlines()
        assert max(map(len, lines)) <= WIDTH
        heads = dict(re.findall(r"^(C\S+) +([^a-z]+)$", "\n".join(lines), re.MULTILINE))
        assert heads == {claim: told.upper() for claim, told in counts(table).items()}
        text = "\n".join(lines)
        assert re.search(r"gru decu - vocu +-0\.206 \[-0\.\d{3}, -0\.\d{3}\]  supported     n = 4\n", text)
        assert re.search(r"gru nacu +not computable +n = 0, 4 left out", text)

    def test_same_from_the_file(self, tmp_path):
        for tables in (run(), run(learned=lambda *network: False)):
            table = judged(tables)
            save_table(tmp_path / "claims.csv", table, "claims")
            assert summary(load_table(tmp_path / "claims.csv", "claims")) == summary(table)

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


def test_scripts_from_tables_to_verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the log of a script sets it
    tables = run()
    table = tables["scores"]
    long = [
        table.assign(delay=delay, accuracy=value, informedness=value)[[*POINT, "delay", "accuracy", "informedness"]]
        for delay, value in zip(DELAYS, (table.nominal_accuracy, table.memory_score, table.memory_score), strict=True)
    ]
    made = tables | {
        "extrapolation": pd.concat(long),
        "nominal": table.assign(accuracy=table.nominal_accuracy)[[*POINT, "accuracy"]],
        "spectrum": spectrum_of(table),
    }
    paths = {name: str(tmp_path / f"{name}.csv") for name in TABLES} | {"numbers": str(tmp_path / "numbers.json")}
    for name, frame in made.items():
        save_table(paths[name], filled(name, frame), name)

    def execute(stage, inputs, outputs):
        correlate = BOOTSTRAP | {"learned_level": 0.5}
        job = SimpleNamespace(
            input=Named({name: paths[name] for name in inputs}),
            output=Named({name: paths[name] for name in outputs}),
            params=Named(correlate=correlate, settings=SETTINGS, max_delay=20),
            log=[str(tmp_path / f"{stage}.log")],
        )
        runpy.run_path(str(SCRIPTS / f"{stage}.py"), init_globals={"snakemake": job})

    execute("correlate", ["extrapolation", "nominal", "slow_points", "spectrum", "relaxed"], ["scores", "correlation"])
    found = load_table(paths["correlation"], "correlation")
    pd.testing.assert_frame_equal(found, tables["correlation"], rtol=1e-6, atol=1e-7, check_dtype=False)
    line = "gru all, speed at 3000 search steps and memory_score: rho -0.9"
    assert line in (tmp_path / "correlate.log").read_text(encoding="utf-8")

    execute("claims", list(tables), ["claims", "numbers"])
    assert counts(load_table(paths["claims"], "claims")) == counts(judged(tables))
    assert load_json(paths["numbers"])["verdicts"] == counts(judged(tables))
    assert "C5   2 OF 2 SUPPORTED" in (tmp_path / "claims.log").read_text(encoding="utf-8")
