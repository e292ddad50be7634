"""How points form: histories written by hand, a permutation test that can be enumerated, and what must be refused."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from memrnn.analysis.formation import (
    NONE,
    SUMMARY_COLUMNS,
    confusion_test,
    expected_shares,
    form,
    quasi_independent,
    summarise,
)
from memrnn.analysis.scores import NETWORK, POINT
from memrnn.core.stats import mean_interval
from memrnn.core.tables import TABLES, columns_of

KEY = {"dataset": "digits", "cell": "gru", "curriculum": "vocu", "phase": "trained", "seed": 0}
STEPS = (0, 10, 20, 30, 40)
INTRODUCED = (0, 0, 10, 20)
# Read-outs of the four classes' points at each step. The point of class 2 is that of class 0, then its own, then lost,
# then its own for good. The point of class 3 is nobody's, then that of class 2, then its own.
READOUT = {
    0: (1, 0, 0, 0, 0),
    1: (1, 1, 1, 1, 1),
    2: (0, 0, 2, 1, 2),
    3: (NONE, NONE, 2, 3, 3),
}
PARENT = {0: (1, NONE, NONE, NONE, NONE), 1: (NONE,) * 5, 2: (0, 0, NONE, 1, NONE), 3: (NONE, NONE, 2, NONE, NONE)}


def history(readout=READOUT, parent=PARENT, introduced=INTRODUCED, steps=STEPS, **key):
    """Table of the back-tracking stage; the speed of class k at step s is 10^-(k + s / 10)."""
    return pd.DataFrame(
        [
            KEY
            | key
            | {"label": label, "step": step, "speed": 10.0 ** -(label + step / 10), "readout": readout[label][at]}
            | {"parent": parent[label][at], "introduced": introduced[label]}
            | {"parent_distance": np.nan if parent[label][at] == NONE else 0.01 * (1 + label)}
            for label in readout
            for at, step in enumerate(steps)
        ]
    )


def confusion(shares, **key):
    """Table of confusions from {label: shares of the classes before it}."""
    return pd.DataFrame(
        [
            KEY | key | {"label": label, "other": other, "step": 0, "confusion": share, "trials": 100}
            for label, row in shares.items()
            for other, share in enumerate(row)
        ],
        columns=columns_of("confusion"),
    )


SHARES = {2: (0.3, 0.7), 3: (0.2, 0.2, 0.6)}


def scores_of(*tables, learned=True):
    network = pd.concat([table[POINT] for table in tables]).drop_duplicates(ignore_index=True)
    return network.assign(nominal_accuracy=0.9, extrapolation_score=0.5, learned=learned)


def formed(table=None, shares=None, learned=True):
    table = history() if table is None else table
    return form(table, confusion(SHARES) if shares is None else shares, scores_of(table, learned=learned))


class TestForm:
    def test_by_hand(self):
        found = formed()
        assert list(found.columns) == columns_of("formation")
        assert found.introduced.tolist() == [0, 0, 10, 20]
        assert found.appears.tolist() == [10, 0, 40, 30]
        assert found.parent.tolist() == [1, NONE, 1, 2]
        assert (found.steps == 40).all()
        assert found.parent_distance.tolist() == pytest.approx([0.01, np.nan, 0.03, 0.04], nan_ok=True)
        # class 0 appears at 10: its parent 1 had 10^-1 at step 0 and 10^-2 at step 10
        assert found.parent_speed_before.tolist() == pytest.approx([1e-1, np.nan, 1e-4, 1e-4], nan_ok=True)
        assert found.parent_speed_after.tolist() == pytest.approx([1e-2, np.nan, 1e-5, 1e-5], nan_ok=True)
        assert found.parent_speed_change.tolist() == pytest.approx([-1, np.nan, -1, -1], nan_ok=True)
        # at step 10 only classes 0 and 1 have been in play: there is no other to compare with
        assert found.others_speed_change.tolist() == pytest.approx([np.nan, np.nan, -1, -1], nan_ok=True)
        assert found.candidates.tolist() == [0, 0, 2, 3]
        assert found.most_confused.tolist() == [NONE, NONE, 1, 2]
        assert found.confusion.tolist() == pytest.approx([np.nan, np.nan, 0.7, 0.6], nan_ok=True)
        assert found.parent_confusion.tolist() == pytest.approx([np.nan, np.nan, 0.7, 0.6], nan_ok=True)
        # Classes 0 and 1 were answered 1.4 times in all, 0.9 of them class 1: that is expected of class 2's 1 answer.
        # Class 2, the parent of class 3, is a candidate of no other class.
        expected = [np.nan, np.nan, 0.9 / 1.4, np.nan]
        assert found.parent_expected.tolist() == pytest.approx(expected, nan_ok=True)
        excess = [np.nan, np.nan, 0.7 - 0.9 / 1.4, np.nan]
        assert found.parent_excess.tolist() == pytest.approx(excess, nan_ok=True)
        assert found.learned.all()

    def test_the_other_points_change_by_themselves(self):
        table = history()
        # class 1, parent of class 2 at 30 -> 40, slows tenfold as by hand; classes 0 and 3 tenfold and thousandfold
        table.loc[(table.label == 3) & (table.step == 40), "speed"] *= 1e-2
        found = formed(table).set_index("label")
        assert found.parent_speed_change[2] == pytest.approx(-1)
        assert found.others_speed_change[2] == pytest.approx(-2)

    def test_a_point_that_is_lost_at_the_end_never_appears(self):
        readout = READOUT | {2: (0, 0, 2, 2, 0)}
        found = formed(history(readout, PARENT | {2: (0, 0, NONE, NONE, 0)})).set_index("label")
        assert np.isnan(found.appears[2])
        assert found.parent[2] == NONE
        may_be_empty = {name for name, column in TABLES["formation"].columns.items() if column.may_be_empty}
        assert found.loc[2, [*may_be_empty - {"confusion"}]].isna().all()
        assert found.confusion[2] == 0.7
        assert found.most_confused[2] == 1

    def test_a_point_out_of_nothing_appears_without_a_parent(self):
        found = formed(history(READOUT, PARENT | {2: (0, 0, NONE, NONE, NONE)})).set_index("label")
        assert (found.appears[2], found.parent[2]) == (40, NONE)
        assert np.isnan(found.parent_speed_before[2]) and np.isnan(found.parent_excess[2])

    def test_a_parent_introduced_later_is_no_candidate(self):
        found = formed(history(READOUT, PARENT | {2: (0, 0, NONE, 3, NONE)})).set_index("label")
        assert (found.appears[2], found.parent[2]) == (40, 3)
        assert np.isnan(found.parent_confusion[2])
        assert found.parent_speed_before[2] == pytest.approx(1e-6)

    def test_a_speed_of_zero_has_no_logarithm(self):
        table = history()
        table.loc[(table.label == 1) & (table.step == 40), "speed"] = 0.0
        found = formed(table).set_index("label")
        assert np.isnan(found.parent_speed_change[2])
        assert found.parent_speed_after[2] == 0

    def test_equal_confusions_name_the_first_class(self):
        found = formed(shares=confusion({2: (0.5, 0.5), 3: (0.2, 0.4, 0.4)})).set_index("label")
        assert found.most_confused[[2, 3]].tolist() == [0, 1]

    def test_a_single_candidate_is_no_choice(self):
        readout = {0: (0, 0, 0), 1: (0, 0, 1)}
        parent = {0: (NONE,) * 3, 1: (0, 0, NONE)}
        table = history(readout, parent, (0, 10), (0, 10, 20))
        found = formed(table, confusion({1: (1.0,)})).set_index("label")
        assert (found.candidates[1], found.parent[1], found.parent_confusion[1]) == (1, 0, 1.0)
        assert np.isnan(found.parent_excess[1])

    def test_without_growing_vocabulary_there_are_no_candidates(self):
        found = formed(history(introduced=(0,) * 4, curriculum="decu"), pd.DataFrame(columns=columns_of("confusion")))
        assert (found.candidates == 0).all()
        assert (found.most_confused == NONE).all()
        assert found.parent.tolist() == [1, NONE, 1, 2]

    def test_networks_do_not_mix_and_their_order_does_not_matter(self):
        tables = [history(), history(READOUT | {0: (0,) * 5}, PARENT | {0: (NONE,) * 5}, seed=3, cell="lstm")]
        shares = [confusion(SHARES), confusion({2: (1.0, 0.0), 3: (0.0, 0.0, 1.0)}, seed=3, cell="lstm")]
        both = form(pd.concat(tables), pd.concat(shares), scores_of(*tables))
        alone = [formed(table, share) for table, share in zip(tables, shares, strict=True)]
        pd.testing.assert_frame_equal(both, pd.concat(alone, ignore_index=True))
        shuffled = form(
            pd.concat(tables).sample(frac=1, random_state=1),
            pd.concat(shares).sample(frac=1, random_state=2),
            scores_of(*tables),
        )
        pd.testing.assert_frame_equal(both, shuffled)

    def test_nobody_followed(self):
        nothing = pd.DataFrame(columns=columns_of("backtrack")), pd.DataFrame(columns=columns_of("confusion"))
        found = form(*nothing, scores_of(history()))
        assert found.empty and list(found.columns) == columns_of("formation")
        test = confusion_test(found, nothing[1], resamples=10, seed=0)
        assert test.empty and list(test.columns) == columns_of("confusion_test")
        assert summarise(found, 0.1).empty

    def test_refuses_what_does_not_fit(self):
        table, shares = history(), confusion(SHARES)
        with pytest.raises(ValueError, match="lacks a class at a checkpoint; expected the classes"):
            formed(table.iloc[1:])
        with pytest.raises(ValueError, match=r"found shares of the classes \[0\], expected .*, \[0, 1\]"):
            formed(shares=shares[(shares.label == 3) | (shares.other == 0)])
        with pytest.raises(ValueError, match=r"found shares of the classes \[\], expected .*, \[0, 1\]"):
            formed(shares=shares[shares.label == 3])
        with pytest.raises(ValueError, match="disagree about the network digits gru vocu trained 0"):
            form(table, shares, scores_of(history(seed=1)))


# ------------------------------------------------------------------------------------------------- the permutation test


def made(parents, shares, seeds=(0,), learned=True, **key):
    """Tables of formation and confusion: {(seed, label): parent}, {(seed, label): shares}; classes 0, 1 come first."""
    rows, tables = [], []
    for seed in seeds:
        tables.append(confusion({label: row for (s, label), row in shares.items() if s == seed}, seed=seed, **key))
        of_seed = expected_shares(tables[-1])
        for label in range(2 + len({label for s, label in shares if s == seed})):
            row = shares.get((seed, label))
            parent = parents.get((seed, label), NONE)
            there = row is not None and 0 <= parent < len(row)
            expected = of_seed.loc[label] if there else None
            choice = there and expected.notna().sum() > 1
            rows.append(
                dict.fromkeys(columns_of("formation"), 0.0)
                | KEY
                | key
                | {"seed": seed, "label": label, "learned": learned, "parent": parent, "introduced": 10 * (label - 1)}
                | {"candidates": 0 if row is None else len(row)}
                | {"parent_excess": row[parent] - expected[parent] if choice else np.nan}
            )
    return pd.DataFrame(rows)[columns_of("formation")], pd.concat(tables, ignore_index=True)


def exact_p(parents, shares):
    """Share of all permutations, one per class for all networks, with at least the observed sum; and the sum's mean."""
    labels = sorted({label for _, label in parents})
    sizes = [min(label, labels[-1] - 1) for label in labels]  # the last class's last candidate is nobody else's
    beyond = {}
    for seed in {seed for seed, _ in shares}:
        rows = [np.pad(np.array(shares[seed, k]), (0, labels[-1] - k), constant_values=np.nan) for k in labels]
        beyond |= {(seed, k): row for k, row in zip(labels, np.array(rows) - likeliest(np.array(rows)), strict=True)}

    def total(orders):
        return sum(
            beyond[seed, label][orders[labels.index(label)][parent]] for (seed, label), parent in parents.items()
        )

    observed = total([range(size) for size in sizes])
    every = [total(orders) for orders in itertools.product(*(itertools.permutations(range(n)) for n in sizes))]
    return np.mean(np.array(every) >= observed - 1e-9), observed / len(parents)


def likeliest(shares):
    """Shares a[k] b[j] of greatest Poisson likelihood, climbed from the likelihood itself."""
    there, (rows, columns) = ~np.isnan(shares), shares.shape
    found = np.where(there, shares, 0.0)

    def loss(unknowns):
        logs = unknowns[:rows, None] + unknowns[None, rows:]
        expected = np.where(there, np.exp(logs), 0.0)
        off = expected - found
        return expected.sum() - (found * logs).sum(), np.concatenate([off.sum(axis=1), off.sum(axis=0)])

    best = optimize.minimize(loss, np.full(rows + columns, -1.0), jac=True, method="BFGS", options={"gtol": 1e-10})
    return np.where(there, np.exp(best.x[:rows, None] + best.x[None, rows:]), np.nan)


class TestQuasiIndependent:
    def triangle(self, classes, seed=0):
        rng = np.random.default_rng(seed)
        rows = [
            np.pad(rng.dirichlet(np.ones(k)), (0, classes - 1 - k), constant_values=np.nan) for k in range(2, classes)
        ]
        return np.array(rows)

    def test_has_the_greatest_likelihood_and_the_margins(self):
        shares = self.triangle(7)
        found = quasi_independent(shares)
        np.testing.assert_allclose(found, likeliest(shares), atol=1e-6)
        np.testing.assert_allclose(np.nansum(found, axis=0), np.nansum(shares, axis=0), atol=1e-8)
        np.testing.assert_allclose(np.nansum(found, axis=1), 1, atol=1e-8)

    def test_answers_that_do_not_depend_on_the_class_are_told_exactly(self):
        preference = np.array([5.0, 0.0, 1.0, 3.0, 0.2, 9.0])
        shares = np.where(np.isnan(self.triangle(7)), np.nan, preference)
        shares /= np.nansum(shares, axis=1, keepdims=True)
        np.testing.assert_allclose(quasi_independent(shares), shares, atol=1e-8)

    def test_an_answer_to_everything_and_an_empty_table(self):
        shares = np.array([[1.0, 0.0, np.nan], [1.0, 0.0, 0.0]])
        np.testing.assert_array_equal(quasi_independent(shares), shares)
        assert quasi_independent(np.empty((0, 0))).shape == (0, 0)


class TestConfusionTest:
    def test_one_network_enumerated(self):
        parents = {(0, 2): 1, (0, 3): 2, (0, 4): 0}
        shares = {(0, 2): (0.1, 0.9), (0, 3): (0.3, 0.2, 0.5), (0, 4): (0.3, 0.1, 0.2, 0.4)}
        p, excess = exact_p(parents, shares)
        assert 0.05 < p < 0.5
        found = confusion_test(*made(parents, shares), resamples=40_000, seed=1).iloc[0]
        assert found.excess == pytest.approx(excess, abs=1e-7)
        assert found.p == pytest.approx(p, abs=4 * np.sqrt(p / 40_000))
        assert (found.classes, found.classes_left_out, found.networks) == (3, 0, 1)

    def test_networks_share_a_permutation(self):
        parents = {(seed, label): 1 for seed in range(3) for label in (2, 3, 4)} | {(2, 3): 0, (1, 4): 2}
        rng = np.random.default_rng(3)
        shares = {key: tuple(rng.dirichlet(np.ones(key[1]))) for key in parents}
        shares[0, 2] = shares[1, 2] = shares[2, 2] = (0.2, 0.8)
        p, excess = exact_p(parents, shares)
        found = confusion_test(*made(parents, shares, range(3)), resamples=40_000, seed=2).iloc[0]
        assert (found.excess, found.networks, found.classes) == (pytest.approx(excess, abs=1e-7), 3, 9)
        assert found.p == pytest.approx(p, abs=4 * np.sqrt(p / 40_000))

    def test_what_networks_have_in_common_counts_once(self):
        """Ten networks that agree, in two classes of two candidates, are two coins: p = 1/4, not 1/4^10."""
        parents = {(seed, label): label - 2 for seed in range(10) for label in (2, 3)}
        shares = {(seed, label): (1.0, 0.0) if label == 2 else (0.0, 1.0, 0.0) for seed, label in parents}
        found = confusion_test(*made(parents, shares, range(10)), resamples=9999, seed=0)
        assert found.p.item() == pytest.approx(0.25, abs=0.02)
        assert found.excess.item() == pytest.approx(0.5)

    @pytest.mark.parametrize(("power", "shared"), [(0, False), (2, False), (1, True)])
    def test_preferred_answers_are_no_evidence(self, power, shared):
        """Parents drawn by what a network answers to anything: seldom called evidence, though far above the mean."""
        found = np.array([self.simulated(power, 0, shared, experiment) for experiment in range(40)])
        false = (found[:, 0] > 0) & (found[:, 1] < 0.025)
        assert false.mean() <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 40)
        if power:
            assert (found[:, 2] > 0).mean() > 0.5

    def test_what_a_class_itself_is_taken_for_is_evidence(self):
        found = np.array([self.simulated(1, 3, False, experiment) for experiment in range(20)])
        assert ((found[:, 0] > 0) & (found[:, 1] < 0.025)).mean() > 0.8

    def simulated(self, power, effect, shared, experiment):
        """Four networks: lower end of the interval of the excess, p, lower end of that of the excess above the mean."""
        rng = np.random.default_rng([experiment, power, effect, shared])
        preference, alike = rng.normal(0, 1.5, 10), rng.normal(size=(10, 10))
        parents, shares, above = {}, {}, []
        common = rng.gumbel(size=(10, 10))
        for seed in range(4):
            own = alike + rng.normal(0, 0.2 if shared else 0.5, (10, 10))
            for label in range(2, 10):
                chance = np.exp(preference[:label] + own[label, :label])
                shares[seed, label] = tuple(rng.multinomial(100, chance / chance.sum()) / 100)
                luck = common[label, :label] if shared else rng.gumbel(size=label)
                parents[seed, label] = int(np.argmax(power * preference[:label] + effect * own[label, :label] + luck))
            of_parents = [shares[seed, label][parents[seed, label]] - 1 / label for label in range(2, 10)]
            above.append(np.mean(of_parents))
        formation, confusions = made(parents, shares, range(4))
        excess = formation.groupby("seed").parent_excess.mean()
        p = confusion_test(formation, confusions, resamples=199, seed=experiment).p.item()
        return mean_interval(excess, 0.95)[1], p, mean_interval(above, 0.95)[1]

    def test_who_is_left_out_and_counted(self):
        shares = {(0, 2): (0.1, 0.9), (0, 3): (0.3, 0.2, 0.5), (0, 4): (0.3, 0.1, 0.2, 0.4), (1, 2): (0.5, 0.5)}
        # no parent; a parent that was introduced later; and in the second network nobody enters
        tables = made({(0, 2): 1, (0, 3): NONE, (0, 4): 4}, shares, (0, 1))
        found = confusion_test(*tables, resamples=99, seed=0).iloc[0]
        assert (found.classes, found.classes_left_out, found.networks) == (1, 3, 1)
        assert found.excess == pytest.approx(tables[0].parent_excess[2]) and found.excess > 0
        nobody = confusion_test(*made({}, shares, (0, 1)), resamples=99, seed=0).iloc[0]
        assert np.isnan(nobody.p) and np.isnan(nobody.excess)
        assert (nobody.classes, nobody.classes_left_out, nobody.networks) == (0, 4, 0)
        unlearned = confusion_test(*made({(0, 2): 1}, shares, (0, 1), learned=False), resamples=99, seed=0).iloc[0]
        assert np.isnan(unlearned.p) and unlearned.classes_left_out == 0

    def test_the_seed_decides_and_cells_do_not_meddle(self):
        parents = {(0, label): 1 for label in range(2, 7)}
        shares = {key: tuple(np.random.default_rng(key[1]).dirichlet(np.ones(key[1]))) for key in parents}
        one, other = made(parents, shares), made(parents, shares, cell="lstm")
        both = confusion_test(*map(pd.concat, zip(one, other, strict=True)), resamples=500, seed=4)
        assert both.cell.tolist() == ["gru", "lstm"]
        alone = confusion_test(*one, resamples=500, seed=4)
        pd.testing.assert_frame_equal(both.iloc[:1], alone)
        assert confusion_test(*one, resamples=500, seed=5).p.item() != alone.p.item()


# ------------------------------------------------------------------------------------------------ a network in numbers


def summary_of(table, shares=None, coincide=0.1):
    return summarise(formed(table, shares), coincide).iloc[0]


class TestSummarise:
    def test_by_hand(self):
        found = summary_of(history())
        # Classes 2 and 3 are the later ones; both split from a class introduced before them.
        assert found.split_share == 1
        # Introduced 0, 0, 10, 20 and appeared 10, 0, 40, 30: ranks 1.5, 1.5, 3, 4 and 2, 1, 4, 3.
        assert found.order_rho == pytest.approx(stats.spearmanr([1.5, 1.5, 3, 4], [2, 1, 4, 3]).statistic)
        assert found.parent_excess == pytest.approx(0.7 - 0.9 / 1.4)
        assert found.parent_speed_change == pytest.approx(-1)
        assert found.appears_share == pytest.approx(0.5)
        assert found.learned
        assert set(found.index) == {*NETWORK, "learned", *SUMMARY_COLUMNS}

    def test_points_that_lay_on_the_parents(self):
        assert summary_of(history(), coincide=0.1).coincide_share == 1
        assert summary_of(history(), coincide=0.035).coincide_share == 0.5
        assert summary_of(history(), coincide=0.03).coincide_share == 0

    def test_what_counts_against_a_split(self):
        never = history(READOUT | {2: (0,) * 5}, PARENT | {2: (0,) * 5})
        nothing = history(READOUT, PARENT | {2: (0, 0, NONE, NONE, NONE)})
        later = history(READOUT, PARENT | {2: (0, 0, NONE, 3, NONE)})
        for table in (never, nothing, later):
            assert summary_of(table).split_share == 0.5

    def test_a_class_that_never_appears_comes_last(self):
        never = history(READOUT | {1: (1, 1, 1, 1, 0)}, PARENT | {1: (NONE,) * 4 + (0,)})
        expected = stats.spearmanr([1.5, 1.5, 3, 4], [1, 4, 3, 2]).statistic  # appears 10, never, 40, 30
        assert summary_of(never).order_rho == pytest.approx(expected)

    def test_all_points_at_once_have_no_order(self):
        own = {label: (label,) * 5 for label in range(4)}
        table = history(own, dict.fromkeys(range(4), (NONE,) * 5))
        found = summary_of(table)
        assert np.isnan(found.order_rho)
        assert found.split_share == 0
        assert np.isnan(found.parent_speed_change)

    def test_another_protocol_is_asked_for_vocus_order(self):
        none = pd.DataFrame(columns=columns_of("confusion"))
        decu = history(introduced=(0,) * 4, curriculum="decu")
        assert np.isnan(summary_of(decu, none).order_rho)  # without VoCu there is no order
        assert np.isnan(summary_of(decu, none).split_share)
        vocu = history(READOUT | {0: (0,) * 5}, PARENT | {0: (NONE,) * 5})
        both = summarise(form(pd.concat([vocu, decu]), confusion(SHARES), scores_of(vocu, decu)), 0.1)
        both = both.set_index("curriculum")
        assert both.order_rho["decu"] == pytest.approx(summary_of(history()).order_rho)
        assert both.order_rho["vocu"] != pytest.approx(both.order_rho["decu"])
        elsewhere = decu.assign(cell="lstm")
        apart = summarise(form(pd.concat([vocu, elsewhere]), confusion(SHARES), scores_of(vocu, elsewhere)), 0.1)
        assert np.isnan(apart.set_index("cell").order_rho["lstm"])
