"""IDX files, the format of MNIST: a magic number, the shape, and the values, big-endian; often packed with gzip.

Layout: two zero bytes, the type (0x08, unsigned byte), the number of dimensions, each dimension as 32 bits, the values.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

GZIP_MAGIC = b"\x1f\x8b"


def read(path: str | Path, shape: tuple[int, ...], md5: str, below: int = 256) -> np.ndarray:
    """Read one IDX file of unsigned bytes, packed or not, that must be exactly what is expected.

    Nothing that the file says about itself is acted on: no more bytes are unpacked than an array of `shape` has, and
    one, so a header that promises terabytes, or a gzip bomb, is refused in the memory of a sound file.

    Args:
        path: the file; whether it is packed is told by its first bytes, not by its name.
        shape: of the array; the header must say the same.
        md5: of the unpacked file, header included, hexadecimal.
        below: every value must be below this.
    Returns:
        uint8 array of `shape`, read-only.
    Raises:
        ValueError: the file cannot be read or unpacked, is no IDX file of unsigned bytes, has another shape, too few
            or too many bytes, a value that is too large, or another checksum; the message names file, expected, found.
    """
    path, size = Path(path), math.prod(shape)
    try:
        with open(path, "rb") as file, _unpacked(file) as stream:
            magic = stream.read(4)
            _check_magic(path, magic, len(shape))
            header = stream.read(4 * len(shape))
            _check_shape(path, header, shape)
            body = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: cannot be read or unpacked ({type(error).__name__}: {error}); expected a whole IDX file, "
            "unpacked or packed with gzip. Fetch it again."
        ) from error
    if len(body) != size:
        found = f"{len(body)}, it is truncated" if len(body) < size else "more"
        raise ValueError(f"{path}: expected {size} bytes after the header, found {found}. Fetch it again.")
    values = np.frombuffer(body, dtype=np.uint8)
    if below < 256 and values.max(initial=0) >= below:
        position = int(np.argmax(values >= below))
        raise ValueError(
            f"{path}: expected values from 0 to {below - 1}, found {values[position]} at position {position}."
        )
    found_md5 = hashlib.md5(magic + header + body, usedforsecurity=False).hexdigest()
    if found_md5 != md5:
        raise ValueError(
            f"{path}: expected the MD5 {md5} (unpacked), found {found_md5}; the file was altered, or belongs to "
            "another set of images. Fetch it again."
        )
    return values.reshape(shape)


def _unpacked(file: io.BufferedReader) -> BinaryIO:
    if file.peek(2)[:2] == GZIP_MAGIC:
        return gzip.GzipFile(fileobj=file)
    return file


def _check_magic(path: Path, magic: bytes, dimensions: int) -> None:
    expected = bytes([0, 0, 8, dimensions])
    if magic != expected:
        raise ValueError(
            f"{path}: expected the magic number 0x{expected.hex()} of an IDX file of unsigned bytes with {dimensions} "
            f"dimension{'s' * (dimensions > 1)}, found {f'0x{magic.hex()}' if magic else 'an empty file'}."
        )


def _check_shape(path: Path, header: bytes, shape: tuple[int, ...]) -> None:
    if len(header) != 4 * len(shape):
        raise ValueError(f"{path}: expected {4 * len(shape)} bytes of shape in the header, found {len(header)}.")
    found = tuple(np.frombuffer(header, dtype=">u4").tolist())
    if found != shape:
        raise ValueError(f"{path}: expected the shape {_times(shape)}, found {_times(found)} in the header.")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
