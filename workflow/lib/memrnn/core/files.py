"""Files that are either whole or absent, with checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memrnn.core.tables import TABLES, Table, parse

if TYPE_CHECKING:
    import pandas as pd
    import torch


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
    windows = os.name == "nt"
    if windows and path.is_dir():  # cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
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


def save_table(path: str | Path, frame: pd.DataFrame, table: str | Table | None = None) -> None:
    """Write a table as CSV, atomically, with nine significant digits (a float32 survives them unchanged).

    Its SHA-256 is written beside it: without, a table cut between two rows would still be a table.

    Args:
        frame: the rows, with the table's columns in any order, and no others.
        table: what it must be; a name of `tables.TABLES`. None for what is outside the schema and is not checked.
    Raises:
        ValueError: it is not what the schema says; the message names the file and every fault. Nothing is written.
    """
    about, faults = (None if table is None else _schema(table)), []
    if about is not None:
        unknown = [str(name) for name in frame.columns if name not in about.columns]
        faults += [f"has the columns {', '.join(unknown)}, which memrnn.core.tables does not know"] if unknown else []
        frame = frame[[name for name in about.columns if name in frame]]
    with write_atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.9g")
        if about is not None:
            faults += parse(temporary.read_bytes(), about)[1]
            if faults:
                raise ValueError(f"{path}: cannot be written: {'; '.join(faults)}.")
        _seal(Path(path), temporary)


def load_table(path: str | Path, table: str | Table, sealed: bool = True) -> pd.DataFrame:
    """Read a CSV table, plain or as .csv.gz, and check that it is as `save_table` wrote it and as the schema says.

    Args:
        table: what it must be; a name of `tables.TABLES`.
        sealed: whether its checksum must lie beside it; a published copy may come without. One that does is checked.
    Returns:
        its rows; `tables.parse` says of which types.
    Raises:
        ValueError: the file is missing, is not a table, has changed since it was written, or is not what the schema
            says; the message names the file and every fault.
    """
    path = Path(path)
    about = _schema(table)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: expected a CSV table with columns {', '.join(about.columns)}, found {type(error).__name__}: "
            f"{error}. Run the stage that writes it."
        ) from error
    _check_seal(path, content, must=sealed)
    frame, faults = parse(content, about, "gzip" if path.suffix == ".gz" else None)
    if faults:
        raise ValueError(f"{path}: {'; '.join(faults)}. Delete the file and run again.")
    return frame


def _schema(table: str | Table) -> Table:
    return TABLES[table] if isinstance(table, str) else table


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
