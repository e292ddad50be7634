"""How long Snakemake plans a sweep of many networks: all of it to do, and nothing to do.

    python benchmarks/planning.py [--seeds 2500] [--block-sizes 10]

A sweep of GRUs and LSTMs under VoCu and DeCu, all else as in the default. For the plans with nothing to do, all files
of the run are made, empty, with the records that Snakemake keeps of a job, in a folder that is thrown away. Writes
results/bench/planning.csv: a row per block size and plan, with seconds by the clock and of the processor, the peak of
memory, the numbers of jobs and of files, and the bytes of Snakemake's records.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from memrnn.core.files import save_json, save_table

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config", "envs", "workflow")
CELLS, PROTOCOLS = 2, ("vocu", "decu")
NOTHING = "Nothing to be done"
# The plans of the table, in their order: flags of snakemake, and what it must say.
PLANS = {"all to do": (["--quiet", "rules", "reason"], "train_block"), "nothing to do": ([], NOTHING)}
PLANS["nothing to do, by time alone"] = (["--rerun-triggers", "mtime"], NOTHING)


def clone_for(folder: Path, seeds: int, block_size: int) -> Path:
    """The workflow in a folder of its own, with sweep.yaml, the configuration of the sweep."""
    folder.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    sweep = {"run": "sweep", "protocols": list(PROTOCOLS), "seeds": list(range(seeds)), "block_size": block_size}
    (folder / "sweep.yaml").write_text(json.dumps(sweep))
    return folder


def plan(clone: Path, *flags: str) -> tuple[dict[str, float], str]:
    """What a dry run takes (seconds, cpu_seconds, peak_mib) and what it prints."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", "sweep.yaml", *flags]
    with open(clone / "printed.txt", "w+") as printed:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=clone, stdout=printed, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        printed.seek(0)
        told = printed.read()
    if status:
        raise RuntimeError(f"{' '.join(command)} failed:\n{told[-2000:]}")
    peak = used.ru_maxrss / 1024  # Linux counts KiB
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": peak}, told


def place(clone: Path) -> dict[str, int]:
    """Make every file of the run, empty, with Snakemake's records of its job; returns numbers of jobs and files."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

    logging.disable(logging.INFO)
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        flow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[clone / "sweep.yaml"]),
            snakefile=clone / "Snakefile",
            workdir=clone,
        )
        flow.dag(DAGSettings()).execute_workflow(executor="dryrun")
        workflow, began = flow._workflow, time.time()

        async def finish() -> None:
            for level, jobs in enumerate(workflow.dag.toposorted()):
                for job in jobs:
                    for name in job.output:
                        path = clone / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        if path.suffix == ".json":
                            save_json(path, {})  # some are read when a run is planned
                        else:
                            path.touch()
                        os.utime(path, (began + level / 1000,) * 2)  # nothing is older than what it is made of
                    await workflow.persistence.finished(job)

        workflow.async_run(finish())
        jobs = list(workflow.dag.jobs)
        return {"jobs": len(jobs), "files": sum(len(job.output) for job in jobs)}


def measure(seeds: int, block_size: int) -> list[dict[str, object]]:
    """Rows of the table for one block size."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clone, counts, written = clone_for(Path(folder) / "clone", seeds, block_size), {}, 0
        for name, (flags, expected) in PLANS.items():
            if expected == NOTHING and not counts:
                command = [sys.executable, __file__, "--place", clone]
                counts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                written = sum(path.stat().st_size for path in (clone / ".snakemake").rglob("*") if path.is_file())
            took, told = plan(clone, *flags)
            if expected not in told:
                raise RuntimeError(f"{name}: expected a plan that says {expected!r}, found:\n{told[-2000:]}")
            rows.append({"plan": name, **took})
    networks = CELLS * len(PROTOCOLS) * seeds
    return [{"networks": networks, "block_size": block_size, **row, **counts, "record_bytes": written} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2500, help="of each cell and protocol, of which there are four")
    parser.add_argument("--block-sizes", type=int, nargs="+", default=[10])
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.place:
        print(json.dumps(place(options.place)))
        return
    table = pd.DataFrame([row for size in options.block_sizes for row in measure(options.seeds, size)])
    save_table(options.out / "planning.csv", table)
    print(table.to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    main()
