"""How slow points form: when each class's point became its own, and from whose point it split.

Everything here is read off the table of the back-tracking stage, whose module says what makes a point its class's own
and which class is its parent.

- A class's point appears at the first checkpoint from which on, through to the last, it is its own.
- It splits from the class that is its parent at the checkpoint just before. A class whose point is its own from the
  first checkpoint on, or never at the end, has no split and no parent.
- Candidates of a class are the classes introduced before it. Its excess confusion is the share of its images that were
  taken for its parent when it was introduced, minus what is expected of a network whose answers do not depend on the
  class it sees (`quasi_independent`). A network prefers some answers to any image it does not know; what is an answer
  to everything is likely to be a parent as well, and above the mean over candidates without any resemblance. The excess
  is above 0 if classes split from those that they, more than other new classes, are confused with. It is defined where
  the parent is a candidate of another new class too, and is not the only such candidate.

Needs no torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from memrnn.analysis.scores import NETWORK, POINT, only_trained
from memrnn.core.stats import rank_correlation
from memrnn.core.streams import stream
from memrnn.core.tables import columns_of

NONE = -1  # no class
EXACT = 1e-9  # sums of shares of trials that differ by less are equal
SWEEPS = 10_000  # of a fit to the margins of a table of shares, at most

HISTORY = ["speed", "readout", "parent", "introduced", "parent_distance"]  # what is read of the points followed back
CONFUSION = ("confusion", "parent_confusion", "parent_expected", "parent_excess")  # without candidates there is none
SUMMARY_COLUMNS = [
    *("split_share", "coincide_share", "order_rho", "parent_excess"),
    *("parent_speed_change", "others_speed_change", "appears_share"),
]


class Split(NamedTuple):
    """When the point of a class became its own, and at whose expense; NaN and NONE where there is no such thing."""

    appears: float
    parent: int
    parent_distance: float
    parent_speed_before: float
    parent_speed_after: float
    parent_speed_change: float
    others_speed_change: float


def form(backtrack: pd.DataFrame, confusion: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """How the point of every network and class formed.

    Args:
        backtrack: table of the back-tracking stage; a row per network, class and checkpoint.
        confusion: its table of confusions; a row per network, new class and class before it.
        scores: of the correlate stage; tells which networks have learned.
    Returns:
        the table `formation`. Of equals, the first class is the one most taken for.
    Raises:
        ValueError: a network lacks a class at a checkpoint, or is not among the scores.
    """
    if backtrack.empty:
        return pd.DataFrame(columns=columns_of("formation"))
    learned = only_trained(scores, "scores").groupby(NETWORK).learned.first()
    taken = dict(list(confusion.groupby(POINT)))
    of_network = dict(list(confusion.groupby(NETWORK)))
    rows = []
    for network, history in backtrack.groupby(NETWORK):
        if network not in learned.index:
            raise ValueError(
                f"tables backtrack and scores disagree about the network {' '.join(map(str, network))}: only the first "
                "has it. Run the extrapolate and correlate stages again."
            )
        wide = history.pivot(index="step", columns="label", values=HISTORY)
        if wide.drop(columns="parent_distance", level=0).isna().any(axis=None):
            raise ValueError(
                f"table backtrack: the network {' '.join(map(str, network))} lacks a class at a checkpoint; expected "
                f"the classes {wide.speed.columns.tolist()} at the steps {wide.index.tolist()}. Run backtrack again."
            )
        introduced = wide.introduced.iloc[0]
        expected = expected_shares(of_network[network]) if network in of_network else pd.DataFrame()
        for label in introduced.index:
            split = _split(wide, label)
            candidates = introduced.index[introduced < introduced[label]]
            shares = taken[(*network, label)].set_index("other").confusion if (*network, label) in taken else None
            rows.append(
                dict(zip(POINT, (*network, label), strict=True))
                | {"learned": learned[network], "introduced": introduced[label], "steps": wide.index[-1]}
                | split._asdict()
                | {"candidates": len(candidates)}
                | _confusion(candidates, shares, split.parent, expected.loc[label] if label in expected.index else None)
            )
    return pd.DataFrame(rows)[columns_of("formation")].sort_values(POINT, ignore_index=True)


def _split(wide: pd.DataFrame, label: int) -> Split:
    """`Split` of one class from a network's history, a column of each quantity per class."""
    own = wide.readout[label].to_numpy() == label
    first = len(own) - int(np.argmin(own[::-1])) if not own.all() else 0  # the first checkpoint of the last run of own
    if first == len(own):
        return Split(np.nan, NONE, *[np.nan] * 5)
    appears = float(wide.index[first])
    parent = int(wide.parent[label].iloc[first - 1]) if first else NONE
    if parent == NONE:
        return Split(appears, NONE, *[np.nan] * 5)
    speed = wide.speed.iloc[[first - 1, first]]
    with np.errstate(divide="ignore", invalid="ignore"):  # a speed of zero has no logarithm
        change = np.log10(speed.iloc[1] / speed.iloc[0])
    change = change.where(np.isfinite(change))
    in_play = wide.introduced.columns[(wide.introduced.iloc[0] < appears).to_numpy()]
    others = change[[other for other in in_play if other not in (label, parent)]]
    return Split(
        appears,
        parent,
        wide.parent_distance[label].iloc[first - 1],
        *speed[parent],
        change[parent],
        others.mean(),
    )


def quasi_independent(shares: np.ndarray) -> np.ndarray:
    """Shares expected of answers that are preferred alike whatever is seen: e[k, j] = a[k] b[j] on the cells there are.

    The fit of quasi-independence to an incomplete table (Goodman 1968), which has the sums of its rows and columns, by
    scaling rows and columns in turn. If a network answers each new class with the candidates in proportion to fixed
    preferences, its shares are of this form exactly.

    Args:
        shares: (new classes, answers), NaN where an answer is no candidate.
    Returns:
        alike.
    Source: L. A. Goodman 1968, Journal of the American Statistical Association 63, 1091.
    """
    there = ~np.isnan(shares)
    found = np.where(there, shares, 0.0)
    rows, columns = found.sum(axis=1, keepdims=True), found.sum(axis=0, keepdims=True)
    expected = there.astype(float)
    for _ in range(SWEEPS):
        sums = expected.sum(axis=1, keepdims=True)
        off = np.abs(sums - rows).max(initial=0)
        expected = expected * np.divide(rows, sums, out=np.zeros_like(rows), where=sums > 0)
        sums = expected.sum(axis=0, keepdims=True)
        expected = expected * np.divide(columns, sums, out=np.zeros_like(columns), where=sums > 0)
        if max(off, np.abs(sums - columns).max(initial=0)) < EXACT:
            break
    return np.where(there, expected, np.nan)


def by_class(confusion: pd.DataFrame) -> pd.DataFrame:
    """One network's confusions: a row per new class, a column per candidate, NaN where an answer is none."""
    return confusion.pivot(index="label", columns="other", values="confusion").sort_index().sort_index(axis=1)


def expected_shares(confusion: pd.DataFrame) -> pd.DataFrame:
    """`quasi_independent` of one network's `by_class`.

    NaN also for candidates of one new class alone, of which there is nothing to expect.
    """
    wide = by_class(confusion)
    expected = pd.DataFrame(quasi_independent(wide.to_numpy(float)), wide.index, wide.columns)
    expected[wide.columns[wide.notna().sum() < 2]] = np.nan
    return expected


def _confusion(
    candidates: pd.Index, shares: pd.Series | None, parent: int, expected: pd.Series | None
) -> dict[str, float]:
    """What one class was taken for when it was introduced."""
    if candidates.empty:
        return {"most_confused": NONE} | dict.fromkeys(CONFUSION, np.nan)
    found = [] if shares is None else sorted(shares.index)
    if found != candidates.tolist():
        raise ValueError(
            f"table confusion: found shares of the classes {found}, expected those introduced before, "
            f"{candidates.tolist()}. Run backtrack again."
        )
    shares = shares.sort_index()
    choice = expected.notna().sum() > 1
    return {
        "most_confused": shares.idxmax(),
        "confusion": shares.max(),
        "parent_confusion": shares.get(parent, np.nan),
        "parent_expected": expected.get(parent, np.nan) if choice else np.nan,
        "parent_excess": shares.get(parent, np.nan) - expected.get(parent, np.nan) if choice else np.nan,
    }


def confusion_test(formation: pd.DataFrame, confusion: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Do new classes split from the classes they are confused with? A permutation test, per cell and protocol.

    The statistic is the mean excess confusion with the parent over all new classes of all learned networks. Under the
    null hypothesis a class's parent has nothing to do with its confusions, but for what all new classes are taken for,
    so the differences of every new class's shares to what is expected of them may be permuted over its candidates. All
    networks share a class's permutation: which classes look alike, and which tend to be a parent, is much the same in
    all of them, so that networks are no independent evidence; permuting each by itself would call what they have in
    common evidence many times over.

    Share of 200 simulated runs of four networks (ten classes, one more at a time, 100 trials each; classes that look
    alike are alike in all networks; parents drawn by the network's preferences, to the power 0, 1 or 3, in each network
    or for all of them at once) in which p was below 0.025 although parents had nothing to do with confusions beyond
    preference: 0.00 to 0.04 in six settings. The 95 % interval over networks of the excess above the mean over
    candidates lay above 0 in up to 0.98 of them, that of this excess in up to 0.34, and this together with p in up to
    0.04. Where parents are drawn by what the class itself is taken for, this together with p holds in 0.55.

    Args:
        formation: what `form` returned.
        confusion: table of confusions.
        resamples: permutations drawn.
        seed: of the draws; each cell and protocol has its own stream.
    Returns:
        the table `confusion_test`. excess: the statistic; p: share of permutations, the observed one among them, with
        at least this excess; both are NaN where no class enters.
    """
    new = formation[(formation.candidates > 0) & formation.learned.eq(True)]
    grows = formation[formation.candidates > 0].groupby(NETWORK[:3]).size().index
    beyond = {
        network: by_class(of_network) - expected_shares(of_network)
        for network, of_network in confusion.groupby(NETWORK)
    }
    rows = []
    for group in grows:
        of_group = new[(new[NETWORK[:3]] == list(group)).all(axis=1)]
        enters = of_group[of_group.parent_excess.notna()]
        rng = np.random.default_rng(stream(seed, "formation", *map(str, group)))
        observed, permuted = 0.0, np.zeros(resamples)
        for _, of_class in enters.groupby("label"):  # in the order of labels, each with its own draws
            keys = of_class[POINT].itertuples(index=False, name=None)
            values = pd.DataFrame([beyond[tuple(network)].loc[label] for *network, label in keys]).dropna(axis=1)
            found = values.to_numpy()  # (networks, candidates)
            network, parent = np.arange(len(found)), values.columns.get_indexer(of_class.parent)
            order = rng.permuted(np.tile(np.arange(found.shape[1]), (resamples, 1)), axis=1)
            observed += found[network, parent].sum()
            permuted += found[network, order[:, parent]].sum(axis=1)
        count = len(enters)
        p = (1 + int((permuted >= observed - EXACT).sum())) / (1 + resamples) if count else np.nan
        networks = len(enters[NETWORK].drop_duplicates())
        excess = observed / count if count else np.nan
        rows.append([*group, excess, p, count, len(of_group) - count, networks, resamples])
    return pd.DataFrame(rows, columns=columns_of("confusion_test"))


def summarise(formation: pd.DataFrame, coincide_distance: float) -> pd.DataFrame:
    """What claim C4 asks of each network.

    Args:
        formation: what `form` returned.
        coincide_distance: points closer than this are one.
    Returns:
        one row per network: NETWORK, learned, and SUMMARY_COLUMNS, NaN where undefined.
        split_share: share of the later classes (introduced after the first stage) whose parent was introduced before
        them; a class that never appears, or has no parent, counts against it. coincide_share: the same, where the two
        points must have been one.
        order_rho: Spearman's rho, over all classes, of the order in which VoCu introduces them (the first stage's
        classes tie; other protocols are asked for the same order of labels) and the step at which their points appear;
        a class that never appears comes after all others. NaN without VoCu in that cell, or if all appear together.
        parent_excess: mean over the classes that have one. parent_speed_change, others_speed_change: means over splits.
        appears_share: median, over the classes that appear, of the share of training done.
    """
    order = formation[formation.curriculum == "vocu"].groupby(["dataset", "cell", "label"]).introduced.first()
    rows = []
    for network, classes in formation.groupby(NETWORK):
        place = order.reindex(pd.MultiIndex.from_product([network[:1], network[1:2], classes.label])).to_numpy(float)
        appears = classes.appears.to_numpy(float)
        later = classes[classes.introduced > 0]
        introduced = classes.set_index("label").introduced
        split = later.parent.map(introduced).fillna(np.inf) < later.introduced
        rho = np.nan
        if not np.isnan(place).any():
            rho = float(rank_correlation(place, np.where(np.isnan(appears), np.inf, appears)))
        rows.append(
            dict(zip(NETWORK, network, strict=True))
            | {
                "learned": classes.learned.iloc[0],
                "split_share": split.mean(),
                "coincide_share": (split & (later.parent_distance < coincide_distance)).mean(),
                "order_rho": rho,
                "parent_excess": classes.parent_excess.mean(),
                "parent_speed_change": classes.parent_speed_change.mean(),
                "others_speed_change": classes.others_speed_change.mean(),
                "appears_share": (classes.appears / classes.steps).median(),
            }
        )
    return pd.DataFrame(rows, columns=[*NETWORK, "learned", *SUMMARY_COLUMNS])
