"""CIFAR-10's binary files: records of a label and an image, one after another, in six files of a tar archive.

Layout of a record: the label, one byte; then the image's channels R, G, B one after another, each row by row, a byte
per pixel. There is no header. Source: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html, "binary version".
"""

from __future__ import annotations

import gzip
import hashlib
import math
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from memrnn.data.downloads import Batch, Tarball

OVERHEAD = 1 << 20  # bytes of a tar archive that may be something else than batches: headers, a page of explanation


def read(
    paths: Mapping[str, Path], archive: Tarball, shape: tuple[int, int, int], classes: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read batches that must be exactly what is expected, from the tar archive or from the files that it held.

    Nothing is written, so no name in an archive can lead anywhere; members other than the batches are passed over. No
    more is unpacked than the batches have, and `OVERHEAD`, so a gzip bomb is refused in the memory of a sound file.

    Args:
        paths: of the archive by its name, or of each batch by its own.
        archive: what to read.
        shape: (height, width, channels) of an image.
        classes: every label must be below this.
    Returns:
        of each batch by its name: images, (images, height, width, channels), and labels, (images,), both uint8.
    Raises:
        ValueError: a file cannot be read or unpacked, a batch is missing, has too few or too many bytes, another
            checksum, or a label of no class; the message names file, expected, found.
    """
    record = 1 + math.prod(shape)
    found = _members(paths[archive.name], archive.batches, record) if archive.name in paths else {}
    decoded = {}
    for batch in archive.batches:
        where, content = found.pop(batch.name, None) or _file(paths[batch.name], batch, record)
        decoded[batch.name] = _decoded(where, content, batch, shape, classes)
    return decoded


def _members(path: Path, batches: Sequence[Batch], record: int) -> dict[str, tuple[str, bytes]]:
    sizes = {batch.name: batch.count * record for batch in batches}
    found: dict[str, tuple[str, bytes]] = {}  # where from, and the content
    wrong: str | None = None
    try:
        with open(path, "rb") as file, gzip.GzipFile(fileobj=file) as stream:
            bounded = _Bounded(stream, sum(sizes.values()) + OVERHEAD)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                for member in tar:
                    name = PurePosixPath(member.name).name
                    if name not in sizes or name in found or not member.isreg():
                        bounded.expect(member.size - tarfile.RECORDSIZE)  # of which so much may have been read ahead
                        continue
                    if member.size != sizes[name]:
                        wrong = f"{path}: {name}: expected {sizes[name]} bytes, found {member.size}. Fetch it again."
                        break
                    found[name] = (f"{path}: {name}", tar.extractfile(member).read(sizes[name]))
                    if len(found) == len(sizes):
                        break
    # a damaged header makes tarfile raise ValueError and its kin, too, and a long chain of headers RecursionError
    except (OSError, EOFError, ValueError, OverflowError, RecursionError, zlib.error, tarfile.TarError) as error:
        raise ValueError(
            f"{path}: cannot be read or unpacked ({type(error).__name__}: {error}); expected a tar archive packed with "
            f"gzip that has {', '.join(sizes)}. Fetch it again."
        ) from error
    if wrong:
        raise ValueError(wrong)
    missing = [name for name in sizes if name not in found]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; expected {', '.join(sizes)}. Fetch it again.")
    return found


def _file(path: Path, batch: Batch, record: int) -> tuple[str, bytes]:
    try:
        with open(path, "rb") as file:
            return str(path), file.read(batch.count * record + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__}: {error}).") from error


def _decoded(
    where: str, content: bytes, batch: Batch, shape: tuple[int, int, int], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    height, width, channels = shape
    size = batch.count * (1 + math.prod(shape))
    if len(content) != size:
        amount = f"{len(content)}, it is truncated" if len(content) < size else "more"
        raise ValueError(f"{where}: expected {size} bytes, found {amount}. Fetch it again.")
    records = np.frombuffer(content, dtype=np.uint8).reshape(batch.count, -1)
    labels = records[:, 0].copy()
    if labels.max() >= classes:
        position = int(np.argmax(labels >= classes))
        raise ValueError(
            f"{where}: expected labels from 0 to {classes - 1}, found {labels[position]} in record {position}."
        )
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if sha1 != batch.sha1:
        raise ValueError(
            f"{where}: expected the SHA-1 {batch.sha1}, found {sha1}; the file was altered, or belongs to another set "
            "of images. Fetch it again."
        )
    planes = records[:, 1:].reshape(batch.count, channels, height, width)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


class _Bounded:
    """A stream to read from that refuses to give more than some bytes, whatever it has."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size, self.left = stream, size, size

    def read(self, size: int) -> bytes:
        chunk = self.stream.read(min(size, self.left + 1))
        self.expect(len(chunk))
        self.left -= len(chunk)
        return chunk

    def expect(self, size: int) -> None:
        """Refuse a size that is more than what is left, without a look for it: tarfile would look beyond the end."""
        if size > self.left:
            raise ValueError(f"more than {self.size} bytes when unpacked")
