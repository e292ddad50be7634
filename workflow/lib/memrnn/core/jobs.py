"""What a job of the workflow needs around its work: log, lock, signals, threads."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import json
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# Multiplications of one product per network below which oneDNN's calls cost more than its arithmetic saves; measured.
FEW_MULTIPLICATIONS = 800_000
PROBES = ((10, 100, 200), (32, 100, 200), (128, 784, 600), (200, 2560, 400))  # rows, inner dimension, columns


def prepare_process(threads: int) -> None:
    """Settle how this process computes: its threads, that sums stay float32, and that it keeps the memory it has.

    A training step frees and takes megabytes; the C library of Linux would hand them back to the system and fetch them
    anew at every step, which costs a quarter of the time. Elsewhere that part does nothing. No number depends on it.

    A GPU may sum products of bfloat16 in bfloat16, round the factors of float32 convolutions to fewer digits, and sum
    these in any order, unless that is ruled out.
    """
    import torch

    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 2**30)
        if not mallopt(M_MMAP_THRESHOLD, 2**30):
            mallopt(M_MMAP_THRESHOLD, 2**25)  # all that older versions allow


def float32_library(wanted: str, multiplications: float = math.inf) -> str:
    """Choose the library that multiplies float32 matrices on the processor, for this process.

    For float32 torch calls MKL, which stays at AVX2 on AMD's processors. oneDNN uses AVX-512 there and is up to twice
    as fast. torch hands float32 to oneDNN only with permission to round factors to bfloat16. oneDNN rounds where there
    are units for it (AMX, on Intel's processors) and nowhere else; so products that come out exact in float32 alone are
    tried first. The choice depends on the kind of processor alone: a machine gives the same numbers every time.

    Args:
        wanted: `mkl`, `onednn`, or `auto`: oneDNN where it is exact, the processor is AMD's with AVX-512, and products
            are large enough.
        multiplications: of one of the products that the process will spend its time on.
    Returns:
        the library chosen, `mkl` or `onednn`.
    Raises:
        ValueError: oneDNN is asked for, and it rounds here or is not there.
    """
    import torch

    matmul = torch.backends.mkldnn.matmul
    matmul.fp32_precision = "ieee"
    if wanted == "mkl" or (wanted == "auto" and (multiplications < FEW_MULTIPLICATIONS or not _amd_with_avx512())):
        return "mkl"
    matmul.fp32_precision = "bf16"
    if torch.backends.mkldnn.is_available() and all(_exact(*shape) for shape in PROBES):
        return "onednn"
    matmul.fp32_precision = "ieee"
    if wanted == "onednn":
        raise ValueError(
            "engine.float32_library: found onednn, but on this processor oneDNN is missing or rounds float32 factors "
            "to bfloat16; expected auto or mkl"
        )
    return "mkl"


def _amd_with_avx512() -> bool:
    import torch

    try:
        made_by_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return made_by_amd and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _exact(rows: int, inner: int, columns: int) -> bool:
    """Whether a product is exact that is so in float32 alone: bfloat16 has no 1 + 2^-20."""
    import torch

    left = torch.eye(rows, inner).repeat(2, 1, 1) * (1 + 2**-20)
    return bool((left @ torch.ones(2, inner, columns) == left.sum(-1, keepdim=True)).all())


def told_to_stop() -> Callable[[], int | None]:
    """From now on a signal TERM or INT is only noted, so that what is under way can be saved; a second one ends it all.

    Returns:
        a function that returns the number of the signal that came, or None.
    """
    came: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        came.append(number)
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    for each in signals:
        signal.signal(each, note)
    return lambda: came[0] if came else None


def fingerprint_of(*parts: Any) -> str:
    """SHA-256 of values, with every string that names a file counted by the file's content.

    Two runs with the same fingerprint compute the same numbers: settings, inputs and library modules all enter.
    """
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        # Every part states its length, so that no two different lists of parts give the same bytes.
        if isinstance(part, Mapping):
            digest.update(f"{{{len(part)}".encode())
            for key in sorted(part):
                add((key, part[key]))
        elif isinstance(part, str) and Path(part).is_file():
            digest.update(hashlib.sha256(Path(part).read_bytes()).digest())
        elif isinstance(part, Sequence) and not isinstance(part, str):
            digest.update(f"[{len(part)}".encode())
            for each in part:
                add(each)
        else:
            text = str(part)
            digest.update(f"{type(part).__name__}{len(text)}:{text}".encode())

    for part in parts:
        add(part)
    return digest.hexdigest()


def log_to(path: str | Path, name: str, settings: Mapping[str, Any] | None = None) -> logging.Logger:
    """Logger that writes to a rule's log file and to standard error, in a process that alone does this job.

    Its first line has the job's settings, if any, from which the run's record makes sure of what was done with them.

    An uncaught exception is written to the log file too, so that the log alone explains a failure.

    A workflow that was killed may leave a job behind that works on, perhaps with settings of before. A job that finds
    another process at the same job waits for its end, so that what is written last is of the settings of now. Where the
    file system has no locks, nothing is checked.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(f"memrnn.{name}")
    logger.setLevel(logging.INFO)
    logger.handlers.clear()
    for handler in (logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)):
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
        logger.addHandler(handler)

    def explain(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        logger.error("failed: %s", error, exc_info=(kind, error, trace))

    sys.excepthook = explain
    # Not on the log itself: Snakemake removes logs before it starts their jobs again.
    _claim(f"{path}.lock", logger)
    if settings is not None:
        logger.info("settings %s", json.dumps(dict(settings.items()), sort_keys=True, default=str))
    return logger


_claimed: dict[str, TextIO] = {}  # open until this process ends, which releases the locks


def _claim(path: str, logger: logging.Logger) -> None:
    """Lock a file for this process; at its end the file is removed, or left without a lock where it was killed."""
    import fcntl  # Windows has none, where the library works and the workflow does not

    while path not in _claimed:
        file = open(path, "a+")  # noqa: SIM115 (closed by the end of the process)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "another process"
            # To fail would be worse: Snakemake would then take what the other writes for the result of this job.
            logger.info("waiting for the end of %s, left behind by a run that was killed, which does this job", other)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # no locks here
            pass
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                _claimed[path] = file
                atexit.register(Path(path).unlink, missing_ok=True)
                with contextlib.suppress(OSError):  # it is for people; that a disk is full is told by what is needed
                    os.ftruncate(file.fileno(), 0)
                    os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return
        file.close()  # of a process that removed it just now
