"""Whether a finished run is whole and as it was written.

    python -m memrnn.run.verify results/digits

A run ends with `manifest.csv`: path, size and SHA-256 of every file it made. Logs, benchmarks and reports are not in
it: they differ from run to run, and no result depends on them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
from PIL import Image

from memrnn.core.files import load_arrays, load_json, load_table, seal_of
from memrnn.core.tables import TABLES, Table, integer, parse, text

MANIFEST = "manifest.csv"
MANIFEST_TABLE = Table(
    "file of the run",
    ("path",),
    {
        "path": text("below the run's folder"),
        "bytes": integer("bytes", "size"),
        "sha256": text("SHA-256 of the content, in hexadecimal digits"),
    },
)
NOT_LISTED = ("logs", "benchmarks", "report.html", "snakemake_report.html", MANIFEST)  # first parts of paths
PROVENANCE = (
    *("config", "made_with", "config_hash", "commit", "clean", "versions", "machine", "threads", "devices"),
    *("started", "ended", "rules"),
)


@dataclass(frozen=True)
class Fault:
    """A file that is not as it should be.

    Attributes:
        path: below the run's folder.
        kind: missing, changed, extra or invalid.
        found: what is wrong, in words.
    """

    path: str
    kind: str
    found: str


def checksum(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(files: Iterable[str | Path], folder: str | Path) -> pd.DataFrame:
    """Path below `folder`, bytes and SHA-256 of files, by path.

    Raises:
        ValueError: a file is missing, or lies outside the folder.
    """
    rows = []
    for path in map(Path, files):
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected a result of this run. Make it again with that target.")
        rows.append((path.relative_to(folder).as_posix(), path.stat().st_size, checksum(path)))
    return pd.DataFrame(sorted(rows), columns=list(MANIFEST_TABLE.columns))


def check(folder: str | Path) -> tuple[int, list[Fault]]:
    """Compare a run's folder with its manifest, and every file with what its kind must hold.

    Returns:
        how many files are right, and what is wrong, by path.
    Raises:
        ValueError: there is no manifest, or it is not one.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder}: there is no {MANIFEST}, which a run writes at its end; expected the folder of a finished run"
        )
    listed = load_table(folder / MANIFEST, MANIFEST_TABLE, sealed=False)
    faults = []
    for row in listed.itertuples():
        faults += [Fault(row.path, kind, found) for kind, found in _compare(folder / row.path, row.bytes, row.sha256)]
    known = set(listed["path"])
    seals = {seal_of(name).as_posix() for name in [*map(Path, known), Path(MANIFEST)]}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        # What training saves on its way lies in folders of its own while it is under way. A name that begins with a dot
        # is that of a file whose writing was killed; nothing reads it.
        passed = name.parts[0] in NOT_LISTED or name.name.startswith(".")
        if path.is_file() and not passed and name.as_posix() not in known | seals:
            faults.append(Fault(name.as_posix(), "extra", "not in the manifest"))
    wrong = {fault.path for fault in faults if fault.kind != "extra"}
    return len(known) - len(wrong), sorted(faults, key=lambda fault: fault.path)


def _compare(path: Path, size: int, digest: str) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        yield "missing", "no such file"
        return
    found = path.stat().st_size
    if found != size:
        yield "changed", f"{found} bytes, {size} when it was written"
    elif checksum(path) != digest:
        yield "changed", "other contents than when it was written"
    elif path.suffix in (".csv", ".json") and not seal_of(path).is_file():
        yield "changed", f"comes without its checksum, {seal_of(path).name}"
    elif seal_of(path).is_file() and seal_of(path).read_bytes() != f"{digest}  {path.name}\n".encode():
        yield "changed", f"{seal_of(path).name} holds another checksum"
    else:
        yield from (("invalid", fault) for fault in invalid(path))


def invalid(path: Path) -> Iterator[str]:
    """What is wrong with a file, whatever the manifest says: its name tells what it must hold."""
    if path.suffix == ".csv" and path.parent.name == "tables":
        if path.stem not in TABLES:
            yield f"a table that nothing is known of; expected one of {', '.join(TABLES)}"
        else:
            yield from parse(path.read_bytes(), TABLES[path.stem])[1]
    try:
        if path.suffix == ".safetensors":
            load_arrays(path)
        elif path.suffix == ".json":
            found = load_json(path, sealed=False)
            missing = [key for key in PROVENANCE if path.stem == "provenance" and key not in found]
            if missing:
                yield f"lacks {', '.join(missing)}"
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".svg":
            ElementTree.parse(path)
    except (ValueError, OSError, SyntaxError, zlib.error) as error:  # ElementTree's ParseError is a SyntaxError
        yield f"{type(error).__name__}: {error}"


ADVICE = {
    "missing": "The next call of Snakemake with a missing file as its target makes it again.",
    "changed": "Delete what has changed and name it as Snakemake's target: it is made again, and all that rests on it.",
    "invalid": "What is invalid is just as it was written, so keep it: made again, it would be the same. It was "
    "written by another version of this program (provenance.json names the commit), or the program is at fault.",
    "extra": "An extra file is of another configuration, or was put there by hand: keep it elsewhere, or delete it.",
}


def main(arguments: Sequence[str]) -> int:
    """Print what is right and what is wrong of the run's folder, and what to do; exit status 0 if all is right."""
    parser = argparse.ArgumentParser(prog="python -m memrnn.run.verify", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, results/<run>")
    run = parser.parse_args(arguments).run
    try:
        right, faults = check(run)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for fault in faults:
        print(f"{fault.kind:8} {fault.path}: {fault.found}")
    if not faults:
        print(f"{run}: all {right} files are right")
        return 0
    print(f"{run}: {right} files are right, {len(faults)} faults")
    kinds = {fault.kind for fault in faults}
    for kind, advice in ADVICE.items():
        if kind in kinds:
            print(advice)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
