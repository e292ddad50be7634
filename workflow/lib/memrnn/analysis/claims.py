"""The paper's claims, judged by rules that were fixed before the results were looked at.

That of C4 replaces an earlier one, which held by construction; it was fixed before its own outcome was looked at.

Every claim is split into panels (a cell, a protocol, a pair of protocols, a mode of regularisation). A panel holds if
its whole 95 % interval lies on the claim's side. A claim is

- `supported` if every panel that can be judged holds, and each of its measures has one that can,
- `not supported` if none of them holds, or if none can be judged (its statement then says so, and what is printed
  calls it not judged),
- `mixed` otherwise.

Networks that have not learned (mean accuracy at the nominal delay below correlate.learned_accuracy) are left out of
every panel and counted. A panel with one network, or one pair of networks, shows its value without an interval, one
with none stays empty; neither is judged.

- C1, for every cell and pair of protocols: the interval of the difference in accuracy at the nominal delay lies within
  ±claims.nominal_margin, and the interval of the difference in extrapolation score excludes 0. The spread between
  networks (standard deviation of the extrapolation score) is listed beside them and does not enter.
- C2, for every cell and protocol: the interval of the share of classes whose slow point is read out as its class, and
  that of the share of classes whose point is further than claims.distinct_distance from every other class's, lie above
  claims.majority. Points of the search budget claims.search_steps. How slow they are, against the centroids where the
  search starts, is listed beside them (median over networks of each network's median over classes) and does not enter.
- C3, for every cell and protocol and for every cell with its protocols pooled: the interval of Spearman's rho of speed
  (same budget) and extrapolation score lies below 0. Where one protocol alone has networks that learned, pooling adds
  none, and the pooled panel is not judged.
- C4, for every cell, from the points followed back through training (`backtrack` and `formation` say when a point is
  its class's own, and which class is its parent). One part of the claim can be refuted by such points, and is judged:
  under VoCu, a class splits from the class that it is confused with. Its measure is the excess confusion with the
  parent: by how much more often a class was taken for its parent, when it was introduced, than is expected of a network
  that answers every new class alike (`formation.quasi_independent`), so that a class which everything is taken for
  gains nothing. It holds if the interval over networks lies above 0 and, because the same classes look alike in all
  networks, which are therefore no independent evidence for it, the one-sided permutation test over classes
  has p below (1 - correlate.confidence) / 2, as much as an interval leaves at one end.
  The rest is described and judges nothing, as it comes about by construction. Only outputs in play are read, so no
  class can have a point of its own before it is introduced, and a state that does not answer null is an older class's:
  that later classes split from one introduced before them (a share), and that points appear in the order of
  introduction (Spearman's rho within a network), is to be expected of points that appear at random. Subtracting what
  construction gives would leave nothing to a network whose points appear at once when classes are introduced, which is
  what the paper describes. Under DeCu, which has no introductions, there is no
  such help, so the difference of that rho between VoCu and DeCu (paired by seed) is no fair comparison either. Why
  protocols differ is therefore not tested.
  Networks in which a number is undefined (all points appear together; no class has both a parent and an expected
  confusion with it) are left out of that panel and counted. Also described: the share of later classes whose point
  moreover lay on the parent's (closer than claims.distinct_distance); p; how much the speed of the parent's point
  changes at a split, and that of other classes' points meanwhile; the share of training after which points appear.
- C5, for every cell, protocol and mode (centroid, slow_points): the interval of the difference in extrapolation score
  against the control lies above 0.

Intervals. A network counts once: its mean over classes. Means and differences have Student's t interval over networks,
exact for normal values at any number of networks, where the percentiles of a bootstrap over 4 networks hold the true
mean in 81 % of cases instead of 95 %. Differences are paired: in C5 because the modes start from one network, in C1
because the networks of one seed start from the same weights under every protocol, so that they may not be taken for
independent; pairing is right whether they are or not, at the price of some width and of the seeds that learned under
one protocol only. Standard deviations have the chi-squared interval, rho the bootstrap of `correlate`, over seeds.

Values that are all equal are no certainty. A share of classes moves in steps of one class, and its interval is never
narrower than if one network had differed by one step. Of other measures, equal values give no interval and are not
judged.

Nothing is corrected for the number of panels: `supported` asks all of them to hold, which only makes it harder.

Needs no torch: `python -m memrnn.analysis.claims results/<run>` prints a finished run's verdicts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memrnn.analysis.correlate import about_speed
from memrnn.analysis.formation import SUMMARY_COLUMNS, summarise
from memrnn.analysis.scores import only_trained
from memrnn.core.files import load_table
from memrnn.core.stats import mean_interval, median, spread_interval
from memrnn.core.tables import columns_of

STATEMENTS = {
    "C1": "Networks trained by different protocols solve the nominal task about equally well, and differ substantially "
    "when they must hold the memory for longer.",
    "C2": "Most memories have a slow point of their own: the point that the search finds is read out as its class, and "
    "lies apart from every other class's.",
    "C3": "The speed of the slow points predicts extrapolation, in every protocol and architecture.",
    "C4": "Under VoCu, the point of a new class splits off from that of the class it is confused with. (Of the paper's "
    "claim, that following the points back shows how they form and why protocols differ, this alone is judged.)",
    "C5": "A regulariser that lowers the speed at those points improves the robustness of the memory.",
}
NOTHING_JUDGED = " (Nothing could be judged: too few networks to compare.)"
DESCRIBED = {  # what is listed beside claim C4's panels
    "split_share": "share of later classes that split from one introduced before",
    "coincide_share": "the same share where the point lay on its parent's",
    "order_rho": "rho of order of introduction and step of appearance",
    "order_difference": "the same rho, difference between protocols",
    "p": "p of the confusion with the parent, by permutation",
    "parent_speed_change": "log10 change of the parent's speed at a split",
    "others_speed_change": "log10 change of the other points' speed meanwhile",
    "appears_share": "share of training after which points appear",
}
ESTIMATE_COLUMNS = ["cell", "curriculum", "value", "low", "high", "networks", "left_out"]
DESCRIPTIVE = "(descriptive)"  # the side of what is listed and not judged
WIDTH = 120  # columns of the printed summary


def judge(
    scores: pd.DataFrame,
    correlation: pd.DataFrame,
    slow_points: pd.DataFrame,
    formation: pd.DataFrame,
    test: pd.DataFrame,
    *,
    search_steps: int,
    nominal_margin: float,
    distinct_distance: float,
    majority: float,
    confidence: float,
) -> pd.DataFrame:
    """Verdicts on the claims by the rules of the module's text.

    Args:
        scores, correlation: tables of the correlate stage.
        slow_points: table of the slow-point stage.
        formation, test: tables of the formation stage, `formation` and `confusion_test`; without rows where no network
            was followed back through training.
        search_steps: budget of the search at which C2 and C3 are judged.
        nominal_margin: largest difference in nominal accuracy that counts as equal.
        distinct_distance: points closer than this are one (Euclidean, in hidden-state units).
        majority: share of classes that must be exceeded.
        confidence: coverage of the intervals, as a share.
    Returns:
        the table `claims`, one row per panel. `holds` is a nullable boolean, empty where a panel is not judged;
        `networks` (pairs of networks where two are compared) entered, `left_out` did not.
    Raises:
        ValueError: a phase or the search budget is missing, there are several datasets, or the tables are not about
            the same networks.
    """
    _check(scores, correlation, slow_points, search_steps)
    _check_formation(scores, formation)
    means = network_means(scores)
    nominal = protocol_differences(means, "nominal_accuracy", confidence)
    longer = protocol_differences(means, "extrapolation_score", confidence)
    trained = means[means.phase == "trained"]
    spread = by_protocol(trained, "extrapolation_score", partial(spread_interval, confidence=confidence))
    shares = point_shares(slow_points, means, search_steps, distinct_distance)
    share_interval = class_share_interval(slow_points, confidence)
    read_out = by_protocol(shares, "readout", share_interval)
    distinct = by_protocol(shares, "distinct", share_interval)
    speed, start_speed = (by_protocol(shares, column, median) for column in ("speed", "start_speed"))
    rho = about_speed(correlation)
    rho = rho[(rho.predictor == "speed") & (rho.search_steps == search_steps)].rename(columns={"rho": "value"})
    protocols = rho[(rho.curriculum != "all") & (rho.networks > 0)].groupby("cell").size()
    alone = (rho.curriculum == "all") & ~rho.cell.map(protocols).gt(1)  # the same networks as one protocol's panel
    gain = regularisation_gains(means, confidence)
    formed = formation_estimates(formation, test, distinct_distance, confidence)
    excess = formed["parent_excess"]
    p = excess.cell.map(formed["p"].set_index("cell").value)
    chance = (1 - confidence) / 2

    margin, most = f"within ±{nominal_margin:g}", f"low > {majority:g}"
    equal = (nominal.low >= -nominal_margin) & (nominal.high <= nominal_margin)
    differ = (longer.low > 0) | (longer.high < 0)
    panels = [
        _panels("C1", nominal, "nominal accuracy, difference", margin, equal),
        _panels("C1", longer, "extrapolation score, difference", "excludes 0", differ),
        _panels("C1", spread, "extrapolation score, standard deviation between networks", DESCRIPTIVE, None),
        _panels("C2", read_out, "share of classes read out at their slow point", most, read_out.low > majority),
        _panels("C2", distinct, "share of classes with a distinct slow point", most, distinct.low > majority),
        _panels("C2", speed, "speed of the slow points, median", DESCRIPTIVE, None),
        _panels("C2", start_speed, "speed at the centroids, median", DESCRIPTIVE, None),
        _panels("C3", rho, "Spearman's rho of log speed and extrapolation score", "high < 0", rho.high < 0, ~alone),
        _panels(
            "C4",
            excess,
            "confusion with the parent, above the expected",
            f"low > 0, p < {chance:.3g}",
            (excess.low > 0) & (p < chance),
        ),
        *(_panels("C4", formed[name], measure, DESCRIPTIVE, None) for name, measure in DESCRIBED.items()),
        _panels("C5", gain, "extrapolation score, difference to control", "low > 0", gain.low > 0),
    ]
    table = pd.concat(panels, ignore_index=True)
    absent = [
        {"claim": claim, "measure": "not computable: the run has no such networks", "networks": 0, "left_out": 0}
        for claim in STATEMENTS
        if claim not in set(table.claim)
    ]
    table = pd.concat([table, pd.DataFrame(absent)], ignore_index=True) if absent else table
    table["statement"] = table.claim.map(STATEMENTS)
    for _, rows in table.groupby("claim"):
        judged = rows.holds.dropna()
        of_measures = rows[rows.side != DESCRIPTIVE].groupby("measure").holds
        table.loc[rows.index, "verdict"] = verdict(judged, all(holds.notna().any() for _, holds in of_measures))
        if judged.empty:
            table.loc[rows.index, "statement"] += NOTHING_JUDGED
    # A stable sort keeps the panels of a claim in the order above.
    return table.sort_values("claim", kind="stable", ignore_index=True)[columns_of("claims")]


def verdict(holds: Sequence[bool], complete: bool = True) -> str:
    """Verdict on a claim from its judged panels: supported (all hold), not supported (none, or no panel), or mixed.

    Args:
        holds: of every panel that could be judged.
        complete: whether every measure of the claim has such a panel; what has not been looked at is not supported.
    """
    if not any(holds):
        return "not supported"
    return "supported" if all(holds) and complete else "mixed"


def network_means(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per cell, curriculum, phase and seed: the means over classes of the two scores, and `learned`."""
    return scores.groupby(["cell", "curriculum", "phase", "seed"], as_index=False).agg(
        nominal_accuracy=("nominal_accuracy", "mean"),
        extrapolation_score=("extrapolation_score", "mean"),
        learned=("learned", "first"),
    )


def class_share_interval(
    slow_points: pd.DataFrame, confidence: float
) -> Callable[[Sequence[float]], tuple[float, float, float]]:
    """`mean_interval` of shares of the table's classes."""
    step = 1 / slow_points.label.nunique()
    return partial(mean_interval, confidence=confidence, bounds=(0.0, 1.0), step=step)


def by_protocol(
    networks: pd.DataFrame, column: str, estimate: Callable[[pd.Series], tuple[float, float, float]]
) -> pd.DataFrame:
    """One estimate per cell and protocol, from its learned networks.

    Args:
        networks: one row per network with cell, curriculum, learned and `column`.
        column: what to estimate from.
        estimate: values of the learned networks -> value, low, high.
    Returns:
        ESTIMATE_COLUMNS.
    """
    rows = []
    for (cell, curriculum), group in networks.groupby(["cell", "curriculum"]):
        learned = group.loc[group.learned, column]
        rows.append([cell, curriculum, *estimate(learned), len(learned), len(group) - len(learned)])
    return pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)


def protocol_differences(means: pd.DataFrame, measure: str, confidence: float) -> pd.DataFrame:
    """Differences between protocols, paired by seed, over the seeds that learned under both.

    Args:
        means: from `network_means`.
        measure: its column to compare.
        confidence: of the interval.
    Returns:
        ESTIMATE_COLUMNS with curriculum `first - second` and networks and left_out counting pairs; every pair of
        protocols of a cell, in alphabetical order.
    """
    rows = []
    trained = means[means.phase == "trained"]
    for cell, of_cell in trained.groupby("cell"):
        wide = of_cell.pivot(index="seed", columns="curriculum", values=measure)
        wide = wide.where(of_cell.pivot(index="seed", columns="curriculum", values="learned").eq(True))
        for first, second in itertools.combinations(sorted(wide.columns), 2):
            difference = (wide[first] - wide[second]).dropna()
            interval = mean_interval(difference, confidence)
            left_out = len(wide) - len(difference)
            rows.append([cell, f"{first} - {second}", *interval, len(difference), left_out])
    return pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)


def point_shares(
    slow_points: pd.DataFrame, means: pd.DataFrame, search_steps: int, distinct_distance: float
) -> pd.DataFrame:
    """Of each network, phase `trained`: shares of classes whose slow point keeps its read-out, or is apart; its speeds.

    Args:
        slow_points: table of the slow-point stage.
        means: from `network_means`; tells which networks have learned.
        search_steps: budget of the search.
        distinct_distance: a point is distinct if the nearest other class's point is further away than this.
    Returns:
        one row per network: cell, curriculum, phase, seed, readout, distinct (shares), speed, start_speed (medians over
        classes, of the points and of the centroids, per time step), and the columns of `means`.
    """
    points = slow_points[(slow_points.phase == "trained") & (slow_points.search_steps == search_steps)]
    points = points.assign(readout=points.readout == points.label, distinct=points.nearest_distance > distinct_distance)
    network = ["cell", "curriculum", "phase", "seed"]
    shares = points.groupby(network, as_index=False).agg(
        readout=("readout", "mean"),
        distinct=("distinct", "mean"),
        speed=("speed", "median"),
        start_speed=("start_speed", "median"),
    )
    return shares.merge(means, on=network, validate="one_to_one")


def regularisation_gains(means: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Differences in extrapolation score between a mode of regularisation and control, paired by network.

    Returns:
        ESTIMATE_COLUMNS counting pairs, mode, score and control (means of the two over the same networks); every mode
        that the run has.
    """
    rows = []
    treated = means[means.phase != "trained"]
    for (cell, curriculum), group in treated.groupby(["cell", "curriculum"]):
        wide = group.pivot(index="seed", columns="phase", values="extrapolation_score")
        learned = group.groupby("seed").learned.first()
        pairs = wide[learned]
        for mode in wide.columns.drop("control"):
            difference = (pairs[mode] - pairs["control"]).dropna()
            interval = mean_interval(difference, confidence)
            left_out = len(wide) - len(difference)
            levels = pairs.loc[difference.index, [mode, "control"]].mean()
            rows.append([cell, curriculum, *interval, len(difference), left_out, mode, *levels])
    return pd.DataFrame(rows, columns=[*ESTIMATE_COLUMNS, "mode", "score", "control"])


def formation_estimates(
    formation: pd.DataFrame, test: pd.DataFrame, coincide_distance: float, confidence: float
) -> dict[str, pd.DataFrame]:
    """What claim C4 rests on, over the learned networks of every cell and protocol.

    Args:
        formation, test: tables of the formation stage.
        coincide_distance: points closer than this are one.
        confidence: of the intervals.
    Returns:
        ESTIMATE_COLUMNS of every measure of `formation.summarise`; networks in which it is undefined are left out and
        counted. split_share, coincide_share, order_rho, parent_excess and p are of VoCu alone, the others of every
        protocol; order_difference has curriculum `vocu - decu` and counts pairs of one seed; p has no interval.
    """
    networks = summarise(formation, coincide_distance)
    bounds = {
        "split_share": (0.0, 1.0), "coincide_share": (0.0, 1.0), "order_rho": (-1.0, 1.0), "parent_excess": (-1.0, 1.0),
        "appears_share": (0.0, 1.0),
    }  # fmt: skip

    def estimates(measure: str) -> pd.DataFrame:
        defined = networks.assign(learned=networks.learned.eq(True) & networks[measure].notna())
        interval = partial(mean_interval, confidence=confidence, bounds=bounds.get(measure, (-np.inf, np.inf)))
        return by_protocol(defined, measure, interval)

    found = {measure: estimates(measure) for measure in SUMMARY_COLUMNS}
    for measure in ("split_share", "coincide_share", "order_rho", "parent_excess"):
        found[measure] = found[measure][found[measure].curriculum == "vocu"]
    rows = []
    for cell, of_cell in networks.groupby("cell"):
        rho = of_cell[of_cell.learned].pivot(index="seed", columns="curriculum", values="order_rho")
        if {"vocu", "decu"} <= set(of_cell.curriculum):
            rho = rho.reindex(columns=["vocu", "decu"])  # no network of a protocol may have learned
            difference = (rho.vocu - rho.decu).dropna()
            pairs = of_cell[of_cell.curriculum == "vocu"].seed.nunique()
            interval = mean_interval(difference, confidence, (-2.0, 2.0))
            rows.append([cell, "vocu - decu", *interval, len(difference), pairs - len(difference)])
    found["order_difference"] = pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)
    p = test[test.curriculum == "vocu"].assign(value=test.p, low=np.nan, high=np.nan)
    every = networks[networks.curriculum == "vocu"].groupby("cell").size()
    found["p"] = p.assign(left_out=p.cell.map(every).sub(p.networks))[ESTIMATE_COLUMNS]
    return found


def numbers(
    claims: pd.DataFrame,
    scores: pd.DataFrame,
    correlation: pd.DataFrame,
    slow_points: pd.DataFrame,
    formation: pd.DataFrame,
    test: pd.DataFrame,
    *,
    settings: Mapping[str, Any],
    correlate: Mapping[str, Any],
    max_delay: int,
) -> dict[str, Any]:
    """The run's headline numbers, for captions.

    Args:
        claims: what `judge` returned.
        scores, correlation, slow_points, formation, test: the tables it was given.
        settings, correlate: the configuration's sections `claims` and `correlate`.
        max_delay: longest delay of the nominal task, T_max.
    Returns:
        JSON-able; what cannot be computed is None.
        verdicts: claim -> verdict. judged: claim -> whether any panel could be. networks: {trained, learned, left_out}.
        nominal: [{cell, curriculum, mean, low, high, networks, left_out, all_mean}] over learned networks, all_mean
        over all of them; extrapolation: the same, and sd between learned networks.
        rho: [{cell, curriculum, search_steps, rho, low, high, networks, points, left_out, within_rho, ...}] at the
        budget of the claims; budget_rho: the same for curriculum all at every budget, 0 being the centroid.
        regularise: [{cell, curriculum, mode, difference, low, high, networks, left_out, score, control}].
        readout_share, distinct_share: [{cell, curriculum, value, low, high, networks, left_out}].
        formation: {measure: the same} for every measure of `formation_estimates`.
        settings: {max_delay} and both sections.
    """
    confidence = correlate["confidence"]
    share_interval = partial(mean_interval, confidence=confidence, bounds=(0.0, 1.0))
    means = network_means(scores)
    trained = means[means.phase == "trained"]
    shares = point_shares(slow_points, means, settings["search_steps"], settings["distinct_distance"])

    def levels(column: str) -> pd.DataFrame:
        learned = by_protocol(trained, column, share_interval).rename(columns={"value": "mean"})
        every = trained.groupby(["cell", "curriculum"], as_index=False)[column].mean()
        return learned.merge(every.rename(columns={column: "all_mean"}))

    spreads = by_protocol(trained, "extrapolation_score", partial(spread_interval, confidence=confidence))
    extrapolation = levels("extrapolation_score").assign(sd=spreads.value)
    rho = about_speed(correlation).drop(columns=["dataset", "target", "resamples"])
    judged = (rho.predictor == "speed") & (rho.search_steps == settings["search_steps"])
    return {
        "verdicts": dict(zip(claims.claim, claims.verdict, strict=True)),
        "judged": claims.holds.notna().groupby(claims.claim).any().to_dict(),
        "networks": {
            "trained": len(trained),
            "learned": int(trained.learned.sum()),
            "left_out": int((~trained.learned).sum()),
        },
        "nominal": _records(levels("nominal_accuracy")),
        "extrapolation": _records(extrapolation),
        "rho": _records(rho[judged]),
        "budget_rho": _records(rho[rho.curriculum == "all"]),
        "regularise": _records(regularisation_gains(means, confidence).rename(columns={"value": "difference"})),
        "readout_share": _records(by_protocol(shares, "readout", class_share_interval(slow_points, confidence))),
        "distinct_share": _records(by_protocol(shares, "distinct", class_share_interval(slow_points, confidence))),
        "formation": {
            measure: _records(rows)
            for measure, rows in formation_estimates(formation, test, settings["distinct_distance"], confidence).items()
        },
        "settings": {"max_delay": max_delay, **settings, **correlate},
    }


def summary(claims: pd.DataFrame) -> str:
    """The claims table as text for a terminal, at most WIDTH columns wide.

    A claim none of whose panels could be judged is NOT JUDGED there, though the table's verdict is `not supported`.

    Args:
        claims: what `judge` returned, or the same read back from its file.
    """
    lines = ["Claims: value [interval] of every panel; n = networks, or pairs of networks where two are compared", ""]
    panel_width = claims.panel.dropna().str.len().max() if claims.panel.notna().any() else 0
    for claim, rows in claims.groupby("claim"):
        first = rows.iloc[0]
        verdict_text = first.verdict if rows.holds.notna().any() else "not judged"
        indent = f"{claim}  {verdict_text.upper():<13}  "
        lines += textwrap.wrap(indent + first.statement, WIDTH, subsequent_indent=" " * len(indent))
        for measure, panels in rows.groupby("measure", sort=False):
            side = panels.side.iloc[0]
            lines.append(f"    {measure}" + ("" if pd.isna(side) else f"; side: {side}"))
            for row in panels[panels.panel.notna()].itertuples():
                between = "" if pd.isna(row.low) else f" [{row.low:6.3f}, {row.high:6.3f}]"
                form = "6.2g" if between == "" and side == DESCRIPTIVE else "6.3f"  # speeds span decades
                numbers_text = f"{row.value:{form}}{between}"
                held = "" if pd.isna(row.holds) else "holds" if row.holds else "fails"
                text = "not computable" if pd.isna(row.value) else numbers_text
                left_out = f", {row.left_out} left out" if row.left_out else ""
                lines.append(f"      {row.panel:<{panel_width}}  {text:<23}  {held:<5}  n = {row.networks}{left_out}")
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a finished run's verdicts and where its other results lie."""
    parser = argparse.ArgumentParser(prog="python -m memrnn.analysis.claims", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, results/<run>")
    run = parser.parse_args(arguments).run
    path = run / "tables" / "claims.csv"
    try:
        claims = load_table(path, "claims", sealed=False)
    except ValueError as error:
        sys.exit(str(error))
    missing = sorted(set(STATEMENTS) - set(claims.claim))
    if missing:
        sys.exit(f"{path}: expected every claim, found none of {', '.join(missing)}. Delete the file and run again.")
    print(summary(claims))
    for name in ("figures", "tables", "report.html"):
        if (run / name).exists():
            print(f"{name.removesuffix('.html'):<8} {run / name}")


def _panels(
    claim: str,
    frame: pd.DataFrame,
    measure: str,
    side: str,
    holds: pd.Series | None,
    counts: pd.Series | None = None,
) -> pd.DataFrame:
    """Rows of the claims table from a frame of estimates; not judged where `holds` is None or there is no interval, or
    where `counts` is false."""
    names = [column for column in ("cell", "curriculum", "mode") if column in frame]
    judged = pd.Series(pd.NA, index=frame.index, dtype="boolean")
    if holds is not None:
        judged = holds.astype("boolean").mask(frame.low.isna() | (False if counts is None else ~counts))
    panel = [" ".join(map(str, values)) for values in frame[names].to_numpy()]
    columns = ["value", "low", "high", "networks", "left_out"]
    return frame[columns].assign(claim=claim, measure=measure, side=side, holds=judged, panel=panel)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries; NaN becomes None."""
    return json.loads(frame.to_json(orient="records", double_precision=15))


def _check(scores: pd.DataFrame, correlation: pd.DataFrame, slow_points: pd.DataFrame, search_steps: int) -> None:
    """Refuse tables that `judge` could not use, or that do not belong together."""
    if scores.dataset.nunique() > 1:
        raise ValueError(
            f"table scores has the datasets {', '.join(sorted(scores.dataset.unique()))}; expected one, because a "
            "run has one. Judge them one at a time."
        )
    network = ["cell", "curriculum", "phase", "seed"]
    odd = pd.MultiIndex.from_frame(only_trained(scores, "scores")[network]).symmetric_difference(
        pd.MultiIndex.from_frame(only_trained(slow_points, "slow_points")[network])
    )
    if len(odd):
        raise ValueError(
            f"tables scores and slow_points disagree about the network {' '.join(map(str, odd[0]))}: only one of them "
            "has it. Run the slow-point and extrapolate stages again."
        )
    for name, steps in (
        ("slow_points", slow_points.search_steps),
        ("correlation", correlation.search_steps[correlation.predictor == "speed"]),
    ):
        if search_steps not in steps.unique():
            raise ValueError(
                f"table {name} has the search budgets {sorted(steps.unique().tolist())}; expected {search_steps} "
                "(claims.search_steps) among them. Choose one of slow_points.search_steps."
            )
    for (cell, curriculum), group in scores[scores.phase != "trained"].groupby(["cell", "curriculum"]):
        if "control" not in set(group.phase):
            raise ValueError(
                f"table scores has the phases {', '.join(sorted(group.phase.unique()))} for {cell} {curriculum}; "
                "expected control among them, which the others are compared with. Add control to regularise.modes."
            )


def _check_formation(scores: pd.DataFrame, formation: pd.DataFrame) -> None:
    """Refuse a formation table of networks that the scores do not have."""
    columns = ["dataset", "cell", "curriculum", "phase", "seed", "learned"]
    known = set(scores[columns].itertuples(index=False, name=None))
    odd = set(formation[columns].itertuples(index=False, name=None)) - known
    if odd:
        raise ValueError(
            f"tables formation and scores disagree about the network {' '.join(map(str, min(odd)[:-1]))}. "
            "Run the formation stage again."
        )


if __name__ == "__main__":
    main()
