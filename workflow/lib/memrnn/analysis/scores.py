"""Scores of every network and class: nominal accuracy, and how well and how long a memory is held beyond it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from memrnn.core import tables
from memrnn.core.tables import columns_of, describe_rows

NETWORK, POINT = list(tables.NETWORK), list(tables.POINT)
DECIMALS = 7  # of scores: finer than one trial in any run, coarser than the tables' nine digits


def scores(extrapolation: pd.DataFrame, nominal: pd.DataFrame, max_delay: int, learned_level: float) -> pd.DataFrame:
    """Per network and class: how well the training task is done, and how long and how well the memory is held beyond.

    Args:
        extrapolation: the table of the extrapolate stage; one row per network, class and delay.
        nominal: its table of the training task; one row per network and class.
        max_delay: longest delay of the nominal task in time steps, T_max.
        learned_level: a network has learned from this share of the way from chance, 1 / classes, to 1 on, in mean
            nominal accuracy over classes.
    Returns:
        the table `scores`, sorted, one row per network and class, to DECIMALS decimals. `learned` is judged on the rows
        of phase `trained` and holds for every phase of that network.
    Raises:
        ValueError: delays are missing, a network lacks a class or a delay, the tables are not about the same networks,
            or a network that was trained on (such as phase control) has no rows of phase `trained`.
    Source: ours; Haviv et al. 2019 publish neither the measurement nor a score.
    """
    accuracy, informedness = (
        extrapolation.pivot(index=POINT, columns="delay", values=name) for name in ("accuracy", "informedness")
    )
    longer = accuracy.columns > max_delay
    if max_delay not in accuracy.columns or not longer.any():
        raise ValueError(
            f"table extrapolation has the delays {accuracy.columns.tolist()}; expected {max_delay} (T_max, the trial's "
            "steps) among them and at least one above it. Add them to the delays of the configuration."
        )
    check_complete(accuracy, "extrapolation", "delay")
    classes = accuracy.iloc[:, 0].unstack("label")
    check_complete(classes, "extrapolation", "label")
    in_task = nominal.set_index(POINT).accuracy
    odd = in_task.index.symmetric_difference(accuracy.index)
    if len(odd):
        raise ValueError(
            f"tables nominal and extrapolation disagree about {describe_rows(odd.to_frame())}: only one of them has "
            "it. Run the extrapolate stage again."
        )
    chance = 1 / classes.shape[1]
    # Rounding makes equal shares of right answers equal numbers again, which sums in floating point need not be: ranks
    # and thresholds see the difference.
    table = pd.DataFrame(
        {
            "nominal_accuracy": in_task.reindex(accuracy.index).round(DECIMALS),
            "extrapolation_score": accuracy.loc[:, longer].mean(axis=1).round(DECIMALS),
            "accuracy_at_t_max": accuracy[max_delay],
            "memory_score": informedness.loc[:, longer].mean(axis=1).round(DECIMALS),
        }
    )
    for name, wide, level in (("lifetime", accuracy, chance), ("memory_lifetime", informedness, 0.0)):
        from_nominal = wide.loc[:, wide.columns >= max_delay]
        table[name], table[f"{name}_censored"] = lifetimes(
            from_nominal.to_numpy(), from_nominal.columns.to_numpy(), level
        )
    table = table.reset_index()

    origin = ["dataset", "cell", "curriculum", "seed"]
    trained = table[table.phase == "trained"].groupby(origin).nominal_accuracy.mean()
    enough = round(chance + learned_level * (1 - chance), DECIMALS)
    learned = (trained.round(DECIMALS) >= enough).rename("learned").reset_index()
    table = table.merge(learned, on=origin, how="left", validate="many_to_one")
    orphans = table[table.learned.isna()]
    if len(orphans):
        raise ValueError(
            f"table extrapolation has no rows of phase trained for {describe_rows(orphans[NETWORK])}; expected them, "
            "because whether a network has learned is judged before it is trained on. Run the extrapolate stage again."
        )
    return table.astype({"learned": bool})[columns_of("scores")].sort_values(POINT, ignore_index=True)


def lifetimes(accuracy: np.ndarray, delays: np.ndarray, chance: float) -> tuple[np.ndarray, np.ndarray]:
    """Delays at which accuracies, or informednesses, have fallen half-way from where they begin to chance.

    The lifetime is the first crossing of (accuracy at the first delay + chance) / 2, on straight lines in accuracy
    against the logarithm of the delay between measured delays. An accuracy that falls no further than above that within
    the measured delays outlasts them: its lifetime is the longest of them, and censored. A class that is no better than
    chance to begin with has no memory to lose: its lifetime is the first delay, the shortest there is, and only such a
    class has it.

    Args:
        accuracy: (points, delays), as shares.
        delays: (delays,) in time steps, ascending, the first the nominal one.
        chance: accuracy of a guess, as a share; 0 for informedness.
    Returns:
        lifetimes (points,) in time steps, to DECIMALS decimals, and whether they are censored (points,).
    Source: ours.
    """
    # Rounded like the scores: otherwise an accuracy that equals the level could miss it by a rounding error.
    accuracy = accuracy.round(DECIMALS)
    level = ((accuracy[:, 0] + chance) / 2).round(DECIMALS)
    fallen = accuracy[:, 1:] <= level[:, None]  # (points, delays - 1)
    hopeless = accuracy[:, 0] <= round(chance, DECIMALS)
    censored = ~fallen.any(axis=1) & ~hopeless
    after = fallen.argmax(axis=1) + 1  # (points,) index of the first delay past the crossing; 1 where there is none
    points = np.arange(len(accuracy))
    above, below = accuracy[points, after - 1], accuracy[points, after]
    share = np.divide(above - level, above - below, out=np.zeros(len(accuracy)), where=~censored & ~hopeless)
    logs = np.log(delays)
    crossing = np.exp(logs[after - 1] + share * (logs[after] - logs[after - 1]))
    found = np.where(hopeless, delays[0], np.where(censored, delays[-1], crossing))
    return found.round(DECIMALS), censored


def only_trained(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of phase `trained`.

    Raises:
        ValueError: there are none.
    """
    trained = frame[frame.phase == "trained"]
    if trained.empty:
        raise ValueError(
            f"table {name} has the phases {', '.join(sorted(frame.phase.unique()))}; expected trained among them. "
            "Run the stage that writes it again for the trained networks."
        )
    return trained


def check_complete(wide: pd.DataFrame, name: str, column: str) -> None:
    """Refuse a table, spread over the values of `column`, in which a row lacks one of them."""
    holes = wide.isna()
    if holes.to_numpy().any():
        row = holes.any(axis=1).argmax()
        where = describe_rows(wide.index[[row]].to_frame())
        lacking = wide.columns[holes.iloc[row]].tolist()
        raise ValueError(
            f"table {name} lacks {column} {lacking} for {where}; expected every network to have all of "
            f"{wide.columns.tolist()}. Run the stage that writes it again."
        )
