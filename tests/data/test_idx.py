"""IDX files: what is read, and every refusal, of hostile files in little memory."""

import gzip
import hashlib
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memrnn.data import idx

IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10
LABELS = np.array([2, 0, 1, 2], dtype=np.uint8)


def idx_bytes(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes, written out by the format's definition."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


SOUND = idx_bytes(IMAGES)


def read_images(path: Path, md5_of: bytes = SOUND) -> np.ndarray:
    return idx.read(path, (4, 2, 3), md5(md5_of))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "images-idx3-ubyte"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["unpacked", "packed"])
@pytest.mark.parametrize("values", [IMAGES, LABELS], ids=["images", "labels"])
def test_a_sound_file_is_read_packed_or_not_whatever_its_name(tmp_path, pack, values):
    content = idx_bytes(values)
    for name in ("values", "values.gz"):
        (tmp_path / name).write_bytes(pack(content))
        found = idx.read(tmp_path / name, values.shape, md5(content))
        assert found.dtype == np.uint8 and np.array_equal(found, values)


def test_a_header_written_by_hand_is_read(file):
    file.write_bytes(b"\x00\x00\x08\x02\x00\x00\x00\x01\x00\x00\x00\x03\x07\x00\xff")
    assert idx.read(file, (1, 3), md5(file.read_bytes())).tolist() == [[7, 0, 255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"expected the magic number 0x00000803 .* 3 dimensions, found an empty file"),
        (b"\x00\x00", r"expected the magic number 0x00000803 .*, found 0x0000\."),
        (idx_bytes(LABELS), r"expected the magic number 0x00000803 .*, found 0x00000801"),
        (b"\x00\x00\x0d\x03" + SOUND[4:], r"unsigned bytes with 3 dimensions, found 0x00000d03"),
        (b"<!DOCTYPE html><html>", r"found 0x3c21444f"),
        (SOUND[:9], r"expected 12 bytes of shape in the header, found 5"),
        (idx_bytes(IMAGES[:3]), r"expected the shape 4 x 2 x 3, found 3 x 2 x 3 in the header"),
        (idx_bytes(IMAGES.transpose(0, 2, 1)), r"expected the shape 4 x 2 x 3, found 4 x 3 x 2"),
        (SOUND[:4] + b"\xff" * 4 + SOUND[8:], r"expected the shape 4 x 2 x 3, found 4294967295 x 2 x 3"),
        (SOUND[:4] + b"\x7f\xff\xff\xff" * 3, r"found 2147483647 x 2147483647 x 2147483647"),
        (SOUND[:-1], r"expected 24 bytes after the header, found 23, it is truncated"),
        (SOUND[:16], r"expected 24 bytes after the header, found 0, it is truncated"),
        (SOUND + b"\x00", r"expected 24 bytes after the header, found more"),
        (SOUND[:-1] + b"\x00", rf"expected the MD5 {md5(SOUND)} \(unpacked\), found {md5(SOUND[:-1] + bytes(1))}"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["unpacked", "packed"])
def test_a_wrong_file_is_refused_with_expected_and_found(file, pack, content, message):
    file.write_bytes(pack(content))
    with pytest.raises(ValueError, match=f"images-idx3-ubyte: .*{message}"):
        read_images(file)


def test_a_label_out_of_range_is_refused_with_its_position(file):
    content = idx_bytes(np.array([2, 0, 3, 9], dtype=np.uint8))
    file.write_bytes(content)
    assert idx.read(file, (4,), md5(content), below=10).tolist() == [2, 0, 3, 9]
    with pytest.raises(ValueError, match=r"ubyte: expected values from 0 to 2, found 3 at position 2"):
        idx.read(file, (4,), md5(content), below=3)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (gzip.compress(SOUND)[:-9], "EOFError"),
        (gzip.compress(SOUND)[:12], "EOFError"),
        (gzip.compress(SOUND)[:-8] + b"\x00\x00\x00\x00" + gzip.compress(SOUND)[-4:], "BadGzipFile.*CRC"),
        (gzip.compress(SOUND)[:10] + b"\xff" * 20, "error: .*invalid block type"),
        (b"\x1f\x8b", "EOFError"),
    ],
    ids=["truncated", "truncated early", "checksum", "damaged", "magic alone"],
)
def test_a_damaged_gzip_file_is_refused_by_name(file, packed, message):
    file.write_bytes(packed)
    with pytest.raises(ValueError, match=rf"ubyte: cannot be read or unpacked \({message}"):
        read_images(file)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ValueError, match=rf"{path.name}: cannot be read or unpacked \((FileNot|IsADir)"):
            read_images(path)


def test_a_gzip_bomb_is_refused_in_little_memory(file):
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(SOUND) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    assert len(packed) < 100_000
    file.write_bytes(packed)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected 24 bytes after the header, found more"):
            read_images(file)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_a_damaged_file_is_read_rightly_or_refused_by_name_and_nothing_else(tmp_path_factory, data, packed):
    content = bytearray(gzip.compress(SOUND, mtime=0) if packed else SOUND)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged-idx3-ubyte"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_images(file)
    except ValueError as error:
        assert str(error).startswith(f"{file}: ")
    else:
        assert np.array_equal(found, IMAGES)
