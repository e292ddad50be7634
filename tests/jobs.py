"""Scripts of the workflow in processes of their own, as Snakemake runs them, but with libraries loaded once.

A process is forked from a server that has imported torch, does one job, and ends as a script's process would.
"""

import logging
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
WORKED = "seconds of the processor: "


class Named(dict):
    """As Snakemake hands on inputs, outputs and parameters: by name, or one after another."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Alarm(logging.Handler):
    """Sends a signal to this process when its log says something, or after some seconds of work.

    Seconds of the processor since its log went on after the settings, so that neither other work on the machine nor a
    pause changes where it falls. KILL cannot be timed by the system; PROF, which nobody handles, ends a process just as
    suddenly: not one more line of ours runs.
    """

    def __init__(self, number: int, moment: float | str):
        super().__init__()
        self.number, self.moment = number, moment

    def emit(self, entry: logging.LogRecord) -> None:
        if isinstance(self.moment, str):
            if self.moment in entry.getMessage():
                os.kill(os.getpid(), self.number)
            return
        if entry.getMessage().startswith("settings"):
            return
        logging.getLogger().removeHandler(self)
        if self.number != signal.SIGPROF:
            signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), self.number))
        signal.setitimer(signal.ITIMER_PROF, self.moment)


def _work(script: str, job: dict[str, Any], printed: str, alarm: tuple[int, float | str] | None) -> None:
    for stream in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(1), "w", buffering=1) for _ in range(2))
    if alarm is not None:
        logging.getLogger().addHandler(Alarm(*alarm))
    parts = {name: Named(part) if isinstance(part, dict) else part for name, part in job.items()}
    status = 0
    try:
        runpy.run_path(script, init_globals={"snakemake": SimpleNamespace(**parts)})
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    print(f"{WORKED}{time.process_time()}", flush=True)
    os._exit(status)


class Server:
    """Starts jobs."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["jobs", "preloaded"])

    @contextmanager
    def started(
        self, stage: str, job: dict[str, Any], printed: Path, alarm: tuple[int, float | str] | None = None
    ) -> Iterator[multiprocessing.Process]:
        """A job under way; it is killed at the end of the block if it has not ended."""
        arguments = (str(SCRIPTS / f"{stage}.py"), job, str(printed), alarm)
        process = self.context.Process(target=_work, args=arguments)
        process.start()
        try:
            yield process
        finally:
            process.kill()
            process.join()

    def run(self, stage: str, job: dict[str, Any], printed: Path, alarm: tuple[int, float | str] | None = None) -> int:
        """Status of a job that has ended: negative where a signal ended it."""
        with self.started(stage, job, printed, alarm) as process:
            process.join(300)
            assert process.exitcode is not None, f"{stage} has not ended in 300 s:\n{printed.read_text()}"
            return process.exitcode
