"""Seed streams, logging, and files that are either whole or absent."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import torch

# torch and pandas are imported where they are used: planning a run and drawing a figure need neither both nor always.


def stream(seed: int, *names: str) -> np.random.SeedSequence:
    """Seed sequence of one named purpose of one seed, independent of every other name and seed.

    Args:
        seed: the seed of a network (or of a resampling).
        names: purpose, e.g. ("train", "noise"); order matters.
    """
    return np.random.SeedSequence(entropy=seed, spawn_key=tuple(zlib.crc32(name.encode()) for name in names))


def generator(seed: int, *names: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator of a named stream (see `stream`); torch uses 32 bits of its seed on a CPU.

    A GPU's generators give other numbers than a CPU's for the same stream.
    """
    import torch

    return torch.Generator(device).manual_seed(int(stream(seed, *names).generate_state(1, np.uint64)[0]))


@contextlib.contextmanager
def write_atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it is synced to disk and renamed to `path`.

    The folder is synced as well, else a power cut could take the new name back. On an exception nothing appears at
    `path` and the temporary file is removed.

    Raises:
        OSError: the system does not let it be written, the disk being full, for example; the message names `path`.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path}: cannot be written: {error.strerror or error}. Nothing new was left under this name; where the "
            "disk is full or may not be written to, change that, and run again.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems sync no folders; they have then nothing to wait for.
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def seal_of(path: Path) -> Path:
    """Where the checksum of a table or JSON file lies."""
    return path.with_name(f"{path.name}.sha256")


def _seal(path: Path, written: Path) -> None:
    """Write the checksum of `written`, which is about to become `path`, beside it, as sha256sum would.

    It comes before the file that it is of: whoever sees the file sees its seal.
    """
    with write_atomic(seal_of(path)) as temporary:
        temporary.write_text(f"{hashlib.sha256(written.read_bytes()).hexdigest()}  {path.name}\n")


def _check_seal(path: Path, content: bytes, must: bool) -> None:
    seal = seal_of(path)
    if seal.is_file():
        expected = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode()
        fault = None if seal.read_bytes() == expected else f"has other contents than when {seal.name} was written"
    else:
        fault = f"comes without its checksum, {seal.name}" if must else None
    if fault:
        raise ValueError(f"{path}: {fault}; expected those of the stage that made it. Delete the file and run again.")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


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


def save_arrays(path: str | Path, arrays: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors and JSON-able metadata as one safetensors file, atomically, with a checksum over both."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: array.detach().cpu().contiguous() for name, array in arrays.items()}
    text = json.dumps(meta, sort_keys=True)
    # One entry: safetensors writes several in random order, and the same contents must give the same bytes.
    entry = json.dumps({"meta": text, "checksum": _checksum(whole, text)})
    with write_atomic(path) as temporary:
        try:
            save_file(whole, temporary, metadata={"memrnn": entry})
        except SafetensorError as error:  # what the system says is in the text alone
            raise OSError(errno.EIO, str(error)) from error


def _checksum(arrays: Mapping[str, torch.Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {tuple(arrays[name].shape)}".encode())
        digest.update(arrays[name].numpy())
    return digest.hexdigest()


def load_arrays(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_arrays` wrote.

    Returns:
        the tensors by name, and the metadata.
    Raises:
        ValueError: the file is missing, is not a whole safetensors file, was not written by this project, or has
            changed since.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected arrays written by an earlier stage. Run that stage again.")
    try:
        with safe_open(path, framework="pt") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            written = json.loads((file.metadata() or {})["memrnn"])
        if written["checksum"] != _checksum(arrays, written["meta"]):
            raise ValueError("contents that differ from those written")
        meta = json.loads(written["meta"])
        if not isinstance(meta, dict):
            raise TypeError(f"metadata that are no mapping but {type(meta).__name__}")
        return arrays, meta
    except (SafetensorError, LookupError, TypeError, ValueError, OSError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected a whole safetensors file written by this project, found "
            f"{type(error).__name__}: {error}. Delete the file and run again."
        ) from error


def save_table(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, atomically, with nine significant digits (a float32 survives them unchanged).

    Its SHA-256 is written beside it: without, a table cut between two rows would still be a table.
    """
    with write_atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.9g")
        _seal(Path(path), temporary)


def load_table(
    path: str | Path, columns: Sequence[str], may_be_empty: bool = False, sealed: bool = True
) -> pd.DataFrame:
    """Read a CSV table and check that it is as `save_table` wrote it, and has rows and all of `columns`.

    Args:
        may_be_empty: whether no rows will do; such a table comes with the columns asked for, whatever it has.
        sealed: whether its checksum must lie beside it; a published copy may come without. One that does is checked.
    Raises:
        ValueError: the file is missing, empty, not a table, has changed since it was written, or lacks a column; the
            message names file and columns.
    """
    import pandas as pd

    path = Path(path)
    try:
        content = path.read_bytes()
        frame = pd.read_csv(io.BytesIO(content))
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        raise ValueError(
            f"{path}: expected a CSV table with columns {', '.join(columns)}, found {type(error).__name__}: {error}. "
            "Delete the file and run again."
        ) from error
    nothing = frame.empty and may_be_empty
    missing = [] if nothing else [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"{path}: lacks the columns {', '.join(missing)}; found {', '.join(map(str, frame.columns))}. "
            "Delete the file and run again."
        )
    if frame.empty and not nothing:
        raise ValueError(f"{path}: the table has no rows. Delete the file and run again.")
    _check_seal(path, content, must=sealed)
    return frame.reindex(columns=list(columns)) if nothing else frame


KEYS = ("dataset", "cell", "curriculum", "phase", "seed")


def label_rows(rows: pd.DataFrame, meta: Mapping[str, Any]) -> pd.DataFrame:
    """Put dataset, cell, curriculum and phase, as `meta` has them, before the columns of a block's rows."""
    labels = {key: meta[key] for key in KEYS if key in meta and key not in rows}
    return rows.assign(**labels)[[*labels, *rows.columns]]


def fingerprint(*parts: Any) -> str:
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


def save_json(path: str | Path, value: Any) -> None:
    """Write a value as JSON, atomically; NaN and infinities are refused because JSON has neither.

    Its SHA-256 is written beside it.
    """
    with write_atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
        _seal(Path(path), temporary)


def load_json(path: str | Path, sealed: bool = True) -> Any:
    """Read a JSON file.

    Args:
        sealed: as for `load_table`.
    Raises:
        ValueError: the file is missing, is not JSON, or its checksum is missing or another.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        value = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected a JSON file, found {type(error).__name__}: {error}. Delete the file and run again."
        ) from error
    _check_seal(path, content, must=sealed)
    return value


def log_to(path: str | Path, name: str) -> logging.Logger:
    """Logger that writes to a rule's log file and to standard error, in a process that alone does this job.

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
    return logger


_claimed: dict[str, TextIO] = {}  # open until this process ends, which releases the locks


def _claim(path: str, logger: logging.Logger) -> None:
    """Lock a file for this process; at its end the file is removed, or left without a lock where it was killed."""
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
