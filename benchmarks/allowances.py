"""What jobs may take beside what they took: the time and memory that rules ask for, and the benchmarks of a run.

    python benchmarks/allowances.py results/digits [--configfile config/mnist10k.yaml ...]

The folder holds the `benchmarks/` of a finished run, or a published `provenance.json`, which has the longest time and
the most memory of a stage's jobs; the configuration files are those of the run. Prints a table of stages.
With --jobs, no run is looked at: prints what every job of a whole run asks for, as CSV.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from memrnn.core.files import load_json

ROOT = Path(__file__).parents[1]
MB = 2**20 / 1e6  # per MiB
ALLOWANCES = ["runtime", "mem_mb", "gpu"]


def asked(configfiles: Sequence[Path] = (), attempts: Sequence[int] = (1,)) -> pd.DataFrame:
    """What every job of a whole run asks for.

    Args:
        configfiles: on top of the default configuration.
        attempts: numbers of the attempts to tell; a job that fails is tried again.
    Returns:
        A row per job and attempt: rule, job (its benchmark, below the folder of benchmarks; empty for none), attempt,
        group (empty for none), local, threads, runtime (min), mem_mb and gpu (missing where nothing is said).
    """
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        flow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[path.resolve() for path in configfiles]),
            snakefile=ROOT / "Snakefile",
            workdir=ROOT,
        )
        flow.dag(DAGSettings(forceall=True)).execute_workflow(executor="dryrun")
        return pd.DataFrame(_rows(flow._workflow.dag.jobs, attempts))


def _rows(jobs: Iterable[Any], attempts: Sequence[int]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        if job.is_norun:  # a target that is but a list of files
            continue
        for attempt in attempts:
            job.attempt = attempt
            yield {
                "rule": job.rule.name,
                "job": "/".join(Path(job.benchmark).parts[3:]) if job.benchmark else "",
                "attempt": attempt,
                "group": job.group or "",
                "local": job.rule.name in job.rule.workflow._localrules,
                "threads": job.threads,
                **{name: job.resources.get(name) for name in ALLOWANCES},
            }


def taken(folder: Path) -> pd.DataFrame:
    """What the jobs of a run took, by Snakemake's benchmarks.

    Returns:
        A row per job: job (as in `asked`), minutes, mb (missing where a job was too short to be looked at).
    Raises:
        ValueError: there are no benchmarks in the folder.
    """
    parts = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.tsv"))}
    if not parts:
        raise ValueError(f"{folder} holds no benchmarks")
    frame = pd.concat([pd.read_csv(path, sep="\t", na_values="-").assign(job=job) for job, path in parts.items()])
    # Snakemake looks now and then: where it saw no work, it saw no more than the start of a process.
    seen = frame["max_rss"].where(frame["cpu_time"].notna())
    return pd.DataFrame({"job": frame["job"], "minutes": frame["s"] / 60, "mb": seen * MB})


def compare(asked: pd.DataFrame, taken: pd.DataFrame) -> pd.DataFrame:
    """By rule, the most that was asked for and taken, and the least ratio of both among its jobs.

    Returns:
        Columns stage, jobs, may_minutes, minutes, time_margin, may_mb, mb, memory_margin; the longest first.
    Raises:
        ValueError: a job that ran is not one of the run that `asked` tells of.
    """
    unknown = set(taken["job"]) - set(asked["job"])
    if unknown:
        raise ValueError(f"jobs of another run, or of other configuration files: {', '.join(sorted(unknown)[:3])}")
    both = taken.merge(asked, on="job")
    both["time_margin"], both["memory_margin"] = both["runtime"] / both["minutes"], both["mem_mb"] / both["mb"]
    grouped = both.groupby(both["job"].map(stage))
    table = grouped.agg(
        jobs=("job", "size"), may_minutes=("runtime", "max"), minutes=("minutes", "max"),
        time_margin=("time_margin", "min"), may_mb=("mem_mb", "max"), mb=("mb", "max"),
        memory_margin=("memory_margin", "min"),
    )  # fmt: skip
    return table.rename_axis("stage").sort_values("minutes", ascending=False).reset_index()


def stage(job: str) -> str:
    """Stage of a job, the first part of its benchmark's name."""
    return Path(job).parts[0].removesuffix(".tsv") if job else ""


def compare_published(asked: pd.DataFrame, provenance: Path) -> pd.DataFrame:
    """`compare` for a published run, whose provenance has the longest time and the most memory of a rule's jobs."""
    rules = load_json(provenance, sealed=False)["rules"]
    rows = [
        {
            "job": stage,
            "minutes": took["longest_seconds"] / 60,
            "mb": took["max_rss_mib"] * MB if took["cpu_seconds"] else math.nan,
        }
        for stage, took in rules.items()
    ]
    most = asked.assign(job=asked["job"].map(stage)).groupby("job")[["runtime", "mem_mb"]].max().reset_index()
    return compare(most, pd.DataFrame(rows)).assign(jobs=lambda table: [rules[name]["jobs"] for name in table["stage"]])


def markdown(table: pd.DataFrame) -> str:
    """The table as text, with a dash for memory that nobody saw."""
    lines = [
        "| stage | jobs | may take, min | took, min (longest) | margin | may take, MB | took, MB (most) | margin |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        memory = "- | -" if math.isnan(row.mb) else f"{row.mb:.0f} | {row.memory_margin:.1f}"
        lines.append(
            f"| `{row.stage}` | {row.jobs} | {row.may_minutes:.0f} | {row.minutes:.2f} | {row.time_margin:.1f} "
            f"| {row.may_mb:.0f} | {memory} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of the run: its results, or a published provenance")
    parser.add_argument("--configfile", type=Path, nargs="+", default=[], help="of the run, beside config/config.yaml")
    parser.add_argument("--jobs", action="store_true", help="what every job asks for, in its first two attempts")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # the plan itself, which `quiet` leaves
    if options.jobs:
        asked(options.configfile, (1, 2)).to_csv(sys.stdout, index=False)
    elif (options.folder / "benchmarks").is_dir():
        print(markdown(compare(asked(options.configfile), taken(options.folder / "benchmarks"))))
    else:
        print(markdown(compare_published(asked(options.configfile), options.folder / "provenance.json")))


if __name__ == "__main__":
    main()
