"""Do the engine's faster settings change the science? Networks trained under each, against the exact setting.

    python benchmarks/equivalence.py [--cores 2] [--settings bf16 shared] [--only run | compare]

`run` runs the workflow once per setting, on config/equivalence.yaml, up to the tables that are compared; what is there
already is kept, so an interrupted run goes on when it is started again. `compare` reads the tables of the runs
(results/equivalence_<setting>/tables) and writes equivalence.csv, .md, .png and .svg to results/equivalence.

Measures. The unit is the network, and each network gives one number:

- nominal accuracy: mean over classes of the accuracy at delay T_max, phase trained (a share);
- extrapolation score: mean over classes, phase trained (a share);
- regularisation effect: extrapolation score of phase centroid minus that of phase control (a share);
- log10 speed: mean over classes of log10 of the slow points' speed (distance per step) at claims.search_steps, phase
  trained.

Differences, setting minus exact, are paired by seed, because networks of one seed have the same initial weights and
draw the same trials (their noise differs where frames are shared). A panel is a cell and a protocol; its difference has
Student's t interval over its n_p seeds. The pooled difference is the plain mean of the P panels' mean differences. With
v_p = s_p^2 / n_p, s_p the standard deviation of a panel's differences, its standard error is sqrt(sum of v_p) / P, and
its interval is Student's t with Satterthwaite's degrees of freedom, (sum of v_p)^2 / sum of (v_p^2 / (n_p - 1)),
because the panels differ a lot in spread; were they equal, four panels of eight seeds would have 28.

This takes the differences of one seed in different panels for independent. The columns seeds_low and seeds_high do not:
they bound the 95 % t interval, over seeds, of the seed's mean over the panels. No verdict rests on them.

For scale: exact_mean and exact_sd are mean and standard deviation of the exact networks, which differ in their seed
alone; sd_ratio is the setting's standard deviation over the exact one's. Pooled, they are the mean of the panels' means
and the root of the mean of the panels' variances. Networks that have not learned (nominal accuracy below
correlate.learned_level) stay in and are counted: not_learned under the setting, not_learned_exact under exact.

Rule, fixed before any result was seen. The margins are 0.02 for the nominal accuracy, 0.05 for the extrapolation score,
0.05 for the regularisation effect, 0.1 for the log10 speed. In a measure, a setting is

- `equivalent` if the pooled 90 % interval lies within the margin on both sides (two one-sided tests at 5 %); where the
  pooled 95 % interval excludes 0 all the same, a note says that the difference is small but real;
- `different` if equivalence is not shown and the pooled 95 % interval excludes 0;
- `not shown` otherwise: neither a difference nor its absence is shown.

Single panels are listed and not judged. Nothing is corrected for the number of settings and measures.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy import stats
from snakemake.utils import update_config

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from settings import SETTINGS as EVERY_SETTING

from memrnn.core.files import load_table, save_table, write_atomic
from memrnn.core.stats import mean_interval
from memrnn.figures import render, style
from memrnn.run import config as configuration

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
EXACT = "exact"
# Which library multiplies changes last bits alone, and so do other things.
SETTINGS = {name: chosen for name, chosen in EVERY_SETTING.items() if not name.endswith("_onednn")}
NAMES = {"bf16": "bfloat16", "shared": "shared frames", "bf16_shared": "bfloat16, shared frames"}
TABLES = ("scores", "slow_points")


class Measure(NamedTuple):
    """What is compared: its name for people, the margin of equivalence, and the unit of both."""

    label: str
    margin: float
    unit: str


MEASURES = {
    "nominal_accuracy": Measure("nominal accuracy", 0.02, "share of trials"),
    "extrapolation_score": Measure("extrapolation score", 0.05, "share of trials"),
    "regularisation_effect": Measure("regularisation effect", 0.05, "share of trials"),
    "log10_speed": Measure("log10 speed", 0.1, "powers of ten"),
}
RULE = __doc__[__doc__.index("Rule, fixed") :].strip()
NETWORK = ["cell", "curriculum", "seed"]
POOLED = "all"
CONFIDENCE, TWO_ONE_SIDED = 0.95, 0.90
EQUIVALENT, DIFFERENT, NOT_SHOWN = "equivalent", "different", "not shown"
SMALL_BUT_REAL = "small but real: the 95 % interval excludes 0"
COLUMNS = [
    *("setting", "measure", "cell", "curriculum", "pairs"),
    *("difference", "low", "high", "low_90", "high_90", "freedom", "seeds_low", "seeds_high"),
    *("exact_mean", "exact_sd", "sd_ratio", "not_learned", "not_learned_exact", "margin", "verdict", "note"),
]


# ------------------------------------------------------------------------------------------------------------- running


def override(run: str, setting: str) -> dict[str, Any]:
    """What one setting's run adds to the configuration of all of them.

    Args:
        run: name of the comparison, the key `run` of its configuration file.
        setting: key of SETTINGS.
    """
    return {"run": f"{run}_{setting}", "engine": dict(SETTINGS[setting])}


def merged(configfile: Path, setting: str) -> dict[str, Any]:
    """Whole configuration of one setting's run, merged as Snakemake merges it.

    Raises:
        ValueError: a file cannot be read as sections of keys, or the configuration cannot be run.
    """
    whole: dict[str, Any] = {}
    for path in (ROOT / "config" / "config.yaml", configfile):
        update_config(whole, read_config(path))
    update_config(whole, override(whole["run"], setting))
    configuration.validate(whole, SCHEMA)
    return whole


def read_config(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: expected a configuration file, found {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected sections of keys, found {found!r}; see config/equivalence.yaml")
    return found


def run_workflow(setting: str, configfile: Path, folder: Path, cores: str) -> None:
    """Make the tables of one setting's run; what is whole and up to date already stays.

    Args:
        setting: key of SETTINGS.
        configfile: on top of config/config.yaml.
        folder: of the comparison; the setting's own part of the configuration is written there.
        cores: as for Snakemake, a number or `all`.
    Raises:
        ValueError: Snakemake failed.
    """
    own = folder / f"{setting}.yaml"
    part = override(folder.name, setting)
    with write_atomic(own) as temporary:
        temporary.write_text(yaml.safe_dump(part))
    targets = [f"results/{part['run']}/tables/{name}.csv" for name in TABLES]
    command = [
        *(sys.executable, "-m", "snakemake", *targets, "--cores", cores),
        *("--workflow-profile", "profiles/default", "--configfile", str(configfile), str(own)),
    ]
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        raise ValueError(
            f"setting {setting}: Snakemake ended with {status}; expected 0. Its messages above and "
            f"results/{part['run']}/logs say why. What is done stays done: start again with the same command."
        )


# ----------------------------------------------------------------------------------------------------------- comparing


def network_measures(scores: pd.DataFrame, slow_points: pd.DataFrame, search_steps: int, name: str) -> pd.DataFrame:
    """The four numbers of every trained network of a run.

    Args:
        scores, slow_points: tables of the run.
        search_steps: budget of the speeds, in steps of Adam.
        name: what to call the run in messages.
    Returns:
        indexed by cell, curriculum and seed, sorted; columns MEASURES (see the module's text for units) and learned.
    Raises:
        ValueError: the tables lack a phase, a class or the budget, hold a speed that has no logarithm, or are
            not about the same networks.
    """
    again = "Run this script without --only compare."
    lacking = {"trained", "control", "centroid"} - set(scores.phase)
    if lacking:
        raise ValueError(
            f"table scores of {name} has the phases {_listed(scores.phase.unique())}; expected {_listed(lacking)} too. "
            "Have all protocols in regularise.protocols, control and centroid in regularise.modes, and run again."
        )
    points = slow_points[(slow_points.phase == "trained") & (slow_points.search_steps == search_steps)]
    if points.empty:
        raise ValueError(
            f"table slow_points of {name} has no trained networks at {search_steps} search steps; found the budgets "
            f"{_listed(slow_points.search_steps.unique())}. {again}"
        )
    still = points[~(points.speed > 0) | ~np.isfinite(points.speed)]
    if len(still):
        row = still.iloc[0]
        raise ValueError(
            f"table slow_points of {name}: speed {row.speed:g} of {row.cell} {row.curriculum} seed {row.seed} class "
            f"{row.label}; expected a positive number, of which a logarithm can be taken. Look at this network."
        )
    mean = _class_means(scores, [*NETWORK, "phase"], ["nominal_accuracy", "extrapolation_score"], f"scores of {name}")
    score = mean.extrapolation_score.unstack("phase")
    trained = mean.xs("trained", level="phase")
    points = points.assign(log10_speed=np.log10(points.speed))
    table = pd.DataFrame(
        {
            "nominal_accuracy": trained.nominal_accuracy,
            "extrapolation_score": trained.extrapolation_score,
            "regularisation_effect": score.centroid - score.control,
            "log10_speed": _class_means(points, NETWORK, ["log10_speed"], f"slow_points of {name}").log10_speed,
            "learned": scores[scores.phase == "trained"].groupby(NETWORK).learned.first(),
        }
    )
    holes = table.isna()
    if holes.to_numpy().any():
        cell, curriculum, seed = holes.any(axis=1).idxmax()
        measures = _listed(holes.columns[holes.loc[(cell, curriculum, seed)]])
        raise ValueError(
            f"tables of {name} give no {measures} for {cell} {curriculum} seed {seed}; expected every network in phase "
            f"trained, control and centroid of scores, and in slow_points. {again}"
        )
    return table.astype({"learned": bool}).sort_index()[[*MEASURES, "learned"]]


def _class_means(frame: pd.DataFrame, network: list[str], columns: list[str], name: str) -> pd.DataFrame:
    """Means over classes; refuses a table in which some network has fewer classes than others."""
    groups = frame.groupby(network)
    classes = groups.label.nunique()
    if classes.nunique() > 1:
        raise ValueError(
            f"table {name} has {classes.min()} classes for {' '.join(map(str, classes.idxmin()))}; expected "
            f"{classes.max()}, as for others. Delete the table and run this script again."
        )
    return groups[columns].mean()


def require_networks(found: pd.MultiIndex, expected: pd.MultiIndex, name: str, source: str) -> None:
    """Refuse a run that does not have the networks it is to be compared with, one by one.

    Args:
        found, expected: cell, curriculum and seed of the networks.
        name: what to call the run in the message.
        source: whose networks are expected.
    """
    for networks, fault in ((expected.difference(found), "lacks"), (found.difference(expected), "has beyond them")):
        if len(networks):
            panels = pd.DataFrame(list(networks), columns=NETWORK).groupby(NETWORK[:2]).seed
            rows = "; ".join(f"{cell} {curriculum} seeds {_listed(seeds)}" for (cell, curriculum), seeds in panels)
            raise ValueError(
                f"{name} {fault} the networks {rows}; expected the networks of {source}, because networks are paired "
                "by seed. Run this script without --only compare, with the same configuration for all settings."
            )


def load(folder: Path, config: Mapping[str, Any]) -> pd.DataFrame:
    """Measures of the networks of a finished run, checked against its configuration.

    Args:
        folder: results/<run>.
        config: whole configuration of the run.
    Returns:
        as `network_measures`.
    Raises:
        ValueError: a table is missing or bad, or not of the networks that are configured.
    """
    if not (folder / "tables").is_dir():
        raise ValueError(
            f"{folder}: no tables; expected a run of this script. Run it without --only compare, or name with "
            "--settings those that have been run."
        )
    scores = load_table(folder / "tables" / "scores.csv", "scores")
    points = load_table(folder / "tables" / "slow_points.csv", "slow_points")
    networks = network_measures(scores, points, config["claims"]["search_steps"], config["run"])
    configured = itertools.product(config["cells"], config["protocols"], config["seeds"])
    expected = pd.MultiIndex.from_tuples(list(configured), names=NETWORK)
    require_networks(networks.index, expected, config["run"], "its configuration")
    return networks


def pool(differences: Iterable[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of the panels' mean differences.

    Args:
        differences: of each panel, one per pair of networks; at least two pairs each.
    Returns:
        mean, its standard error, and Satterthwaite's degrees of freedom (all pairs' where nothing varies).
    """
    panels = [np.asarray(values, dtype=float) for values in differences]
    variances = np.array([values.var(ddof=1) / len(values) for values in panels])
    freedom = np.array([len(values) - 1 for values in panels])
    mean = float(np.mean([values.mean() for values in panels]))
    total = variances.sum()
    pooled_freedom = total**2 / (variances**2 / freedom).sum() if total > 0 else freedom.sum()
    return mean, float(np.sqrt(total)) / len(panels), float(pooled_freedom)


def judge(wide: tuple[float, float], narrow: tuple[float, float], margin: float) -> tuple[str, str]:
    """Verdict by the rule of the module's text, and a note.

    Args:
        wide, narrow: the pooled 95 % and 90 % intervals.
        margin: of equivalence, in the same unit.
    """
    real = wide[0] > 0 or wide[1] < 0
    if -margin < narrow[0] and narrow[1] < margin:
        return EQUIVALENT, SMALL_BUT_REAL if real else ""
    return (DIFFERENT if real else NOT_SHOWN), ""


def compare(exact: pd.DataFrame, other: pd.DataFrame, setting: str) -> pd.DataFrame:
    """One setting against the exact one.

    Args:
        exact, other: what `network_measures` returned.
        setting: name of `other`.
    Returns:
        COLUMNS; for every measure one row per panel and the pooled one, whose cell and curriculum are `all`. Only
        that one has a verdict.
    Raises:
        ValueError: the two do not have the same networks, or a panel has fewer than two.
    """
    require_networks(other.index, exact.index, setting, EXACT)
    counts = exact.groupby(NETWORK[:2]).size()
    if counts.min() < 2:
        raise ValueError(
            f"{EXACT} has {counts.min()} network of {' '.join(counts.idxmin())}; expected two or more, because an "
            "interval needs a spread. Add seeds to the configuration."
        )
    other = other.loc[exact.index]
    rows: list[dict[str, Any]] = []
    for measure, (_, margin, _) in MEASURES.items():
        difference = other[measure] - exact[measure]
        panels = []
        for panel in _panels(exact.index):
            theirs, ours, gaps = (values.loc[panel] for values in (other[measure], exact[measure], difference))
            mean, low, high = mean_interval(gaps, CONFIDENCE)
            _, low_90, high_90 = mean_interval(gaps, TWO_ONE_SIDED)
            panels.append(
                dict(zip(NETWORK, panel, strict=False))
                | {"pairs": len(gaps), "difference": mean, "low": low, "high": high, "low_90": low_90}
                | {"high_90": high_90, "freedom": len(gaps) - 1, "exact_mean": ours.mean()}
                | {"exact_sd": ours.std(), "other_sd": theirs.std()}
                | {"not_learned": (~other.learned.loc[panel]).sum()}
                | {"not_learned_exact": (~exact.learned.loc[panel]).sum()}
            )
        rows += [{"measure": measure, "margin": margin} | row for row in (*panels, _pooled(panels, difference, margin))]
    table = pd.DataFrame(rows).assign(setting=setting)
    table["sd_ratio"] = (table.other_sd / table.exact_sd).where(table.exact_sd > 0)
    return table[COLUMNS]


def _pooled(panels: Sequence[Mapping[str, Any]], difference: pd.Series, margin: float) -> dict[str, Any]:
    """Row of all panels together, from their rows and the differences of all networks."""
    mean, error, freedom = pool([difference.loc[panel["cell"], panel["curriculum"]] for panel in panels])
    half, half_90 = (stats.t.ppf((1 + share) / 2, freedom) * error for share in (CONFIDENCE, TWO_ONE_SIDED))
    interval, interval_90 = (mean - half, mean + half), (mean - half_90, mean + half_90)
    verdict, note = judge(interval, interval_90, margin)
    _, seeds_low, seeds_high = mean_interval(difference.groupby("seed").mean(), CONFIDENCE)

    def of(column: str) -> np.ndarray:
        return np.array([panel[column] for panel in panels])

    return (
        {"cell": POOLED, "curriculum": POOLED, "pairs": of("pairs").sum(), "difference": mean, "freedom": freedom}
        | dict(zip(("low", "high", "low_90", "high_90"), (*interval, *interval_90), strict=True))
        | {"seeds_low": seeds_low, "seeds_high": seeds_high, "exact_mean": of("exact_mean").mean()}
        | {column: np.sqrt((of(column) ** 2).mean()) for column in ("exact_sd", "other_sd")}
        | {column: of(column).sum() for column in ("not_learned", "not_learned_exact")}
        | {"verdict": verdict, "note": note}
    )


def _panels(networks: pd.MultiIndex) -> list[tuple[str, str]]:
    """Cell and protocol of every panel, in the figures' order."""
    cells = style.ordered(networks.unique("cell"), style.CELLS)
    protocols = style.ordered(networks.unique("curriculum"), style.PROTOCOLS)
    there = set(networks.droplevel("seed"))
    return [panel for panel in itertools.product(cells, protocols) if panel in there]


# ------------------------------------------------------------------------------------------------------------- showing


def markdown(table: pd.DataFrame) -> str:
    """The comparison for people: the rule, the pooled rows with their verdicts, and the panels.

    Args:
        table: rows of `compare`, of any number of settings.
    """
    pooled, single = table[table.cell == POOLED], table[table.cell != POOLED]
    widest = int(pooled.pairs.max())
    lines = [
        "# The engine's settings against the exact one",
        "",
        f"Differences are setting minus exact, over {widest} pairs of networks in {len(_of_one(single))} panels. "
        "exact: mean and standard deviation between networks that differ in their seed alone. sd ratio: the setting's "
        "standard deviation over that. not learned: networks that have not learned, under the setting and under exact.",
        "",
        *_rows(
            [
                *("setting", "measure", "difference", "95 % interval", "90 % interval", "margin", "verdict"),
                *("exact: mean", "sd", "sd ratio", "not learned"),
            ],
            [
                [
                    NAMES.get(row.setting, row.setting),
                    MEASURES[row.measure].label,
                    *(_signed(row.difference), _between(row.low, row.high), _between(row.low_90, row.high_90)),
                    f"±{row.margin:g}",
                    f"{row.verdict} ({row.note})" if row.note else row.verdict,
                    *_scale(row),
                ]
                for row in pooled.itertuples()
            ],
        ),
        "",
        RULE,
        "",
        "![Differences to the exact setting with their intervals](equivalence.png)",
        "",
        "## Panel by panel",
        "",
        *_rows(
            [
                *("setting", "measure", "panel", "pairs", "difference", "95 % interval"),
                *("exact: mean", "sd", "sd ratio", "not learned"),
            ],
            [
                [
                    *(NAMES.get(row.setting, row.setting), MEASURES[row.measure].label),
                    *(_panel_name(row.cell, row.curriculum), str(row.pairs)),
                    *(_signed(row.difference), _between(row.low, row.high)),
                    *_scale(row),
                ]
                for row in single.itertuples()
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _of_one(single: pd.DataFrame) -> pd.DataFrame:
    """Rows of one setting and measure, of those of single panels."""
    first = single.iloc[0]
    return single[(single.setting == first.setting) & (single.measure == first.measure)]


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, its columns aligned for reading as they are."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in (heads, *rows)]
    return [padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]]


def _signed(value: float) -> str:
    # Zero has no sign, and neither has what rounds to it.
    return f"{value:+.4f}" if f"{abs(value):.4f}" != "0.0000" else "0.0000"


def _between(low: float, high: float) -> str:
    return f"{_signed(low)} to {_signed(high)}"


def _scale(row: Any) -> list[str]:
    ratio = "" if pd.isna(row.sd_ratio) else f"{row.sd_ratio:.2f}"
    return [f"{row.exact_mean:.3f}", f"{row.exact_sd:.3f}", ratio, f"{row.not_learned} ({row.not_learned_exact})"]


def _panel_name(cell: str, curriculum: str) -> str:
    if cell == POOLED:
        return "pooled"
    return style.panel_name(cell, curriculum)


def draw(table: pd.DataFrame, chosen: Mapping[str, Any]) -> Drawing:
    """Differences with intervals: a field per measure, in it a row per panel and the pooled one, a mark per setting.

    Args:
        table: rows of `compare`, of any number of settings.
        chosen: context and palette (names of seaborn's).
    """
    import seaborn
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = list(_of_one(table)[["cell", "curriculum"]].itertuples(index=False, name=None))
    settings = style.ordered(table.setting, NAMES)
    looks = style.looks(settings, NAMES, chosen["palette"])
    base = seaborn.axes_style("ticks") | seaborn.plotting_context(chosen["context"])
    with rc_context(base | {"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": "medium"}):
        figure = Figure(figsize=(style.WIDTH, 1.4 + 0.72 * len(panels)), layout="constrained")
        fields = figure.subplots(2, 2, sharey=True)
        for axes, (measure, (label, margin, unit)) in zip(fields.flat, MEASURES.items(), strict=True):
            axes.axvspan(-margin, margin, color=style.QUIET, alpha=0.15, linewidth=0, label="margin of equivalence")
            axes.axvline(0, color=style.QUIET, linewidth=0.9)
            axes.axhline(len(panels) - 1.5, color=style.QUIET, linewidth=0.6, linestyle=":")
            rows = table[table.measure == measure].set_index(["setting", "cell", "curriculum"])
            for at, setting in enumerate(settings):
                of_setting = rows.loc[setting].loc[panels]
                height = np.arange(len(panels)) + 0.24 * (at - (len(settings) - 1) / 2)
                look = looks[setting]
                axes.hlines(height, of_setting.low, of_setting.high, color=look.colour, linewidth=1.1)
                last = of_setting.iloc[-1]  # pooled: the rule looks at the 90 % interval too
                axes.hlines(height[-1], last.low_90, last.high_90, color=look.colour, linewidth=2.8)
                axes.plot(
                    of_setting.difference, height, linestyle="", marker=look.marker, markersize=4, color=look.colour,
                    markeredgecolor="white", markeredgewidth=0.5, label=look.label,
                )  # fmt: skip
            axes.set(title=label, xlabel=f"difference to exact ({unit})", ylim=(len(panels) - 0.5, -0.5))
            axes.set_yticks(range(len(panels)), [_panel_name(*panel) for panel in panels])
        fields.flat[-1].plot([], [], color=style.QUIET, linewidth=1.1, label="95 % interval")
        fields.flat[-1].plot([], [], color=style.QUIET, linewidth=2.8, label="90 % interval")
        style.legend(figure)
        figure.draw_without_rendering()
    return figure


# ----------------------------------------------------------------------------------------------------------- the whole


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(values)))


def cores(text: str) -> str:
    """Argument of --cores: a whole number above zero, or `all`."""
    if text != "all" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number above 0, or all")
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for; a fault in a configuration, a run or a table ends it with a message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=cores, default="all", help="processor cores for each workflow (default: all)")
    parser.add_argument(
        "--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="exact is always among them"
    )
    parser.add_argument("--only", choices=("run", "compare"), help="one of the two parts (default: both)")
    parser.add_argument("--configfile", type=Path, default=ROOT / "config" / "equivalence.yaml")
    options = parser.parse_args(arguments)
    settings = [setting for setting in SETTINGS if setting == EXACT or setting in options.settings]
    if len(settings) < 2:
        parser.error(f"--settings: found {EXACT} alone; expected at least one more to compare with it")
    try:
        configfile = options.configfile.resolve()
        configs = {setting: merged(configfile, setting) for setting in settings}
        folder = ROOT / "results" / configs[EXACT]["run"].removesuffix(f"_{EXACT}")
        if options.only != "compare":
            for setting in settings:
                run_workflow(setting, configfile, folder, options.cores)
        if options.only != "run":
            report(folder, configs)
    except ValueError as error:
        sys.exit(str(error))


def report(folder: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare finished runs, write the comparison to `folder` and print it.

    Args:
        folder: of the comparison; the runs lie beside it.
        configs: whole configuration of each setting's run, the exact one's among them.
    """
    networks = {setting: load(folder.parent / config["run"], config) for setting, config in configs.items()}
    others = [setting for setting in networks if setting != EXACT]
    table = pd.concat([compare(networks[EXACT], networks[setting], setting) for setting in others], ignore_index=True)
    text = markdown(table)
    chosen = configs[EXACT]["figures"]
    save_table(folder / "equivalence.csv", table)
    with write_atomic(folder / "equivalence.md") as temporary:
        temporary.write_text(text)
    png, svg = folder / "equivalence.png", folder / "equivalence.svg"
    render.save(draw(table, chosen), png, svg, chosen["dpi"])
    print(text)
    print(f"written to {folder}: equivalence.csv, .md, .png, .svg")


if __name__ == "__main__":
    main()
