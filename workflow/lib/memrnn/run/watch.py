"""How far a run is: what is done, about how long the rest takes, and the last line that each unfinished job logged.

    python -m memrnn.run.watch results/digits [--every 10]

Called where Snakemake was; reads Snakemake's own log, the newest in .snakemake/log, and the jobs' logs.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

LOGS = Path(".snakemake/log")
CLEAR = "\033[2J\033[H"  # a terminal's screen


@dataclass
class Progress:
    """What Snakemake's log tells of a run; times are local, as there.

    Attributes:
        jobs: of each rule, planned.
        done: jobs of all rules, as Snakemake counts them.
        took: seconds of each finished job, by rule. On a cluster, waiting in the queue counts.
        running: message and start of each job that has begun and not ended, by its number.
        failed: messages of jobs that failed and were not begun again.
        most: jobs that ran at once.
        ended: whether Snakemake has.
    """

    jobs: dict[str, int] = field(default_factory=dict)
    done: int = 0
    took: dict[str, list[float]] = field(default_factory=dict)
    running: dict[int, tuple[str, datetime]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    most: int = 0
    ended: bool = False


def read(text: str) -> Progress:
    """Progress from the text of Snakemake's log, of which the last lines may be missing."""
    found, now, failing, counting = Progress(), datetime.min, False, False
    for line in text.splitlines():
        if line.startswith("["):
            now, failing = datetime.strptime(line, "[%a %b %d %H:%M:%S %Y]"), False
        elif line == "Job stats:":
            counting = True
        elif counting and (match := re.fullmatch(r"(\w+) +(\d+)", line)):
            if match[1] == "total":
                counting = False
            else:
                found.jobs[match[1]] = int(match[2])
        elif match := re.match(r"Job (\d+): (.*)", line):
            found.running[int(match[1])] = match[2], now
            found.failed.pop(int(match[1]), None)
            found.most = max(found.most, len(found.running))
        elif match := re.match(r"Finished jobid: (\d+) \(Rule: (\w+)\)", line):
            _, began = found.running.pop(int(match[1]), ("", now))
            found.took.setdefault(match[2], []).append((now - began).total_seconds())
        elif line.startswith("Error in rule "):
            failing = True
        elif failing and (match := re.match(r" +jobid: (\d+)", line)):
            message, _ = found.running.pop(int(match[1]), (f"job {match[1]}", now))
            found.failed[int(match[1])], failing = message, False
        elif match := re.match(r"(\d+) of \d+ steps", line):
            found.done = int(match[1])
        elif line.startswith("Complete log"):
            found.ended = True
    return found


def time_left(progress: Progress, now: datetime) -> float | None:
    """About how many seconds the rest takes; None before any job has finished.

    A job counts as long as the mean of its rule's finished jobs, or, where there are none, of all. As many run at once
    as ran at most so far.
    """
    finished = [seconds for each in progress.took.values() for seconds in each]
    if not finished:
        return None
    work = 0.0
    for rule, planned in progress.jobs.items():
        took = progress.took.get(rule, [])
        mean = sum(took) / len(took) if took else sum(finished) / len(finished)
        work += (planned - len(took)) * mean if rule != "all" else 0
    begun = sum((now - began).total_seconds() for _, began in progress.running.values())
    return max(work - begun, 0.0) / max(progress.most, 1)


def unfinished(folder: str | Path, since: float) -> dict[str, str]:
    """Last line of every job's log below folder/logs that is newer than `since` and than the benchmark of its job."""
    folder, found = Path(folder), {}
    for log in sorted((folder / "logs").rglob("*.log")):
        name = log.relative_to(folder / "logs").with_suffix("")
        benchmark = (folder / "benchmarks" / name).with_suffix(".tsv")
        written = log.stat().st_mtime
        if written >= since and not (benchmark.is_file() and benchmark.stat().st_mtime >= written):
            lines = log.read_text(errors="replace").split("\n")
            found[str(name)] = next((line for line in reversed(lines) if line.strip()), "")
    return found


def tell(progress: Progress, left: float | None, last: dict[str, str]) -> str:
    """The state of a run as text."""
    total = sum(progress.jobs.values())
    share = 100 * progress.done // total if total else 0
    if progress.ended:
        state = "Snakemake has ended"
    elif left is None:
        state = "time left not known yet"
    else:
        state = f"about {timedelta(seconds=round(left))} left"
    finished = Counter({rule: len(took) for rule, took in progress.took.items()})
    lines = [f"{progress.done} of {total} jobs ({share} %), {len(progress.running)} begun, {state}"]
    lines += [
        f"  {rule:20} {finished[rule]:5} of {planned}" for rule, planned in progress.jobs.items() if rule != "all"
    ]
    lines += [f"FAILED: {message}" for message in progress.failed.values()]
    lines += [f"  {name}: {line}" for name, line in last.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Tell the state of the newest run here, once or again and again until it ends; exit status 1 without a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the run's results")
    parser.add_argument("--every", type=float, help="seconds between looks; without, one look")
    options = parser.parse_args(arguments)
    while True:
        logs = sorted(LOGS.glob("*.snakemake.log"))
        logs = [log for log in logs if "\nJob stats:" in log.read_text(errors="replace")]  # not those of reports
        if not logs:
            print(f"{LOGS}: no log of a run; expected one of Snakemake's, so call this where it was called")
            return 1
        progress = read(logs[-1].read_text(errors="replace"))
        since = datetime.strptime(logs[-1].name[:17], "%Y-%m-%dT%H%M%S").timestamp()
        text = tell(progress, time_left(progress, datetime.now()), unfinished(options.folder, since))
        print((CLEAR if options.every and sys.stdout.isatty() else "") + text, flush=True)
        if progress.ended or not options.every:
            return 0
        time.sleep(options.every)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
