"""CIFAR-10's binary files: what is read, what becomes of it, and every refusal, of hostile files in little memory."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memrnn.data import cifar, dataset, downloads, sources
from memrnn.data.downloads import Batch, RecordCollection, Tarball

SHAPE, CLASSES = (2, 3, 3), ("cat", "dog", "owl")
RECORD = 1 + 2 * 3 * 3
ARCHIVE = "cifar-10-binary.tar.gz"


def records(labels: list[int], seed: int) -> tuple[bytes, np.ndarray]:
    """A batch written out by the format's definition, a byte at a time; and its images (n, height, width, channels)."""
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *SHAPE), dtype=np.uint8)
    content = bytearray()
    for label, image in zip(labels, images, strict=True):
        content.append(label)
        for channel in range(3):
            for row in range(2):
                for column in range(3):
                    content.append(image[row, column, channel])
    return bytes(content), images


LABELS = {"data_batch_1.bin": [2, 0, 1, 1], "data_batch_2.bin": [0, 2, 2, 1], "test_batch.bin": [1, 2, 0]}
MADE = {name: records(labels, seed) for seed, (name, labels) in enumerate(LABELS.items())}
FILES = {name: content for name, (content, _) in MADE.items()}
FIRST = "data_batch_1.bin"


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    return gzip.compress(tar_bytes(*members, form=form), mtime=0)


def as_published(files: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Members as the publisher's archive has them: in a folder, with a page and the names of the classes."""
    folder = "cifar-10-batches-bin"
    return [
        member(folder, type=tarfile.DIRTYPE),
        member(f"{folder}/readme.html", b"<html></html>"),
        *(member(f"{folder}/{name}", content) for name, content in reversed(files.items())),
        member(f"{folder}/batches.meta.txt", b"cat\ndog\nowl\n"),
    ]


SOUND = packed(*as_published(FILES))
LONG_NAME, _ = member("././@LongLink", b"a", type=tarfile.GNUTYPE_LONGNAME)
LONG_NAMES = gzip.compress((LONG_NAME.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 900)


def tarball(files: dict[str, bytes] = FILES, content: bytes = SOUND) -> Tarball:
    batches = tuple(Batch(name, len(LABELS[name]), hashlib.sha1(each).hexdigest()) for name, each in files.items())
    return Tarball(ARCHIVE, len(content), hashlib.md5(content).hexdigest(), batches)


COLLECTION = RecordCollection(
    "cifar10", (), SHAPE, CLASSES, tarball(), {"train": tuple(FILES)[:2], "test": tuple(FILES)[2:]}
)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with made files published in CIFAR-10's place."""
    monkeypatch.setitem(downloads.COLLECTIONS, "cifar10", COLLECTION)
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


def put(folder: Path, content: bytes = SOUND) -> Path:
    (folder / ARCHIVE).write_bytes(content)
    return folder / ARCHIVE


def put_unpacked(folder: Path, **changed: bytes) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(changed.get(name.removesuffix(".bin"), content))


def config(folder: Path | None) -> dict:
    return {"source": "cifar10", "folder": None, "data_dir": None if folder is None else str(folder)}


def read_tar(path: Path, archive: Tarball = COLLECTION.archive) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return cifar.read({ARCHIVE: path}, archive, SHAPE, len(CLASSES))


def build(folder: Path) -> dataset.ImageSet:
    return dataset.build(config(folder))


# ---------------------------------------------------------------- what is published


def test_the_published_collection():
    made = downloads.COLLECTIONS["cifar10"]
    assert made is downloads.CIFAR10 and made.shape == (32, 32, 3)
    assert (made.mirrors[0] + made.archive.name) == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert made.archive.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert [*made.parts["train"], *made.parts["test"]] == [batch.name for batch in made.archive.batches]
    assert len(made.parts["train"]) == 5 and len(made.classes) == 10 == len(set(made.classes))
    assert {batch.count for batch in made.archive.batches} == {10000}
    assert len({batch.sha1 for batch in made.archive.batches}) == 6
    assert all(len(batch.sha1) == 40 for batch in made.archive.batches)
    assert sources.pixels(config(None)) == 3072
    assert sources.class_names(config(None)) == list(made.classes)


# ---------------------------------------------------------------- what is read


def test_batches_are_read_from_the_archive_and_from_files_alike(data_dir):
    put(data_dir)
    put_unpacked(data_dir)
    for paths in ({ARCHIVE: data_dir / ARCHIVE}, {name: data_dir / name for name in FILES}):
        found = cifar.read(paths, COLLECTION.archive, SHAPE, len(CLASSES))
        assert list(found) == list(FILES)
        for name, (images, labels) in found.items():
            assert images.dtype == labels.dtype == np.uint8
            assert np.array_equal(images, MADE[name][1]) and labels.tolist() == LABELS[name]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_archive_is_read(data_dir, form):
    long = [member(f"{'folder/' * 40}{name}", content) for name, content in FILES.items()]
    if form == tarfile.USTAR_FORMAT:
        long = [member(name, content) for name, content in FILES.items()]
    found = read_tar(put(data_dir, packed(*long, form=form)))
    assert all(np.array_equal(found[name][0], MADE[name][1]) for name in FILES)


def test_a_record_written_by_hand(tmp_path):
    # 1 x 2 pixels: a label, then both reds, both greens, both blues
    content = bytes([1, 10, 11, 20, 21, 30, 31])
    (tmp_path / "b.bin").write_bytes(content)
    archive = Tarball("b.tar.gz", 0, "", (Batch("b.bin", 1, hashlib.sha1(content).hexdigest()),))
    images, labels = cifar.read({"b.bin": tmp_path / "b.bin"}, archive, (1, 2, 3), 2)["b.bin"]
    assert images.tolist() == [[[[10, 20, 30], [11, 21, 31]]]] and labels.tolist() == [1]


def test_the_collection_becomes_an_image_set(data_dir):
    put(data_dir)
    made = build(data_dir)
    assert (made.name, made.shape, made.classes) == ("cifar10", SHAPE, CLASSES)
    images = np.concatenate([MADE[name][1] for name in tuple(FILES)[:2]]).reshape(8, -1)
    # labels 2 0 1 1 0 2 2 1: two images of class 0, so the first two of every class
    assert made.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(made.train_images, torch.from_numpy(images[[1, 4, 2, 3, 0, 5]].astype(np.float32)) / 255)
    held_out = MADE["test_batch.bin"][1].reshape(3, -1)[[2, 0, 1]]  # labels 1 2 0
    assert made.test_labels.tolist() == [0, 1, 2]
    assert torch.equal(made.test_images, torch.from_numpy(held_out.astype(np.float32)) / 255)
    # of all training pixels, those that balancing cuts included
    assert made.mean == pytest.approx(images.mean() / 255) and made.std == pytest.approx(images.std() / 255)
    in_order = b"".join(
        b"".join(MADE[name][1].tobytes() for name in names) + bytes(label for name in names for label in LABELS[name])
        for names in COLLECTION.parts.values()
    )
    assert made.checksum == hashlib.sha256(in_order).hexdigest()


def test_archive_and_files_make_the_same_set(data_dir, tmp_path):
    put(data_dir)
    (tmp_path / "unpacked").mkdir()
    put_unpacked(tmp_path / "unpacked")
    one, other = vars(build(data_dir)), vars(build(tmp_path / "unpacked"))
    for name, value in one.items():
        assert torch.equal(value, other[name]) if torch.is_tensor(value) else value == other[name], name


@pytest.mark.parametrize("held", [1, 7, 100, 1 << 26])
def test_moments_are_those_of_all_pixels_however_many_are_held_at_a_time(monkeypatch, held):
    monkeypatch.setattr(dataset, "DEVIATIONS", held)
    images = np.random.default_rng(0).random((30, 7), dtype=np.float32)
    mean, std = dataset.moments(images)
    assert mean == pytest.approx(images.astype(np.float64).mean(), rel=1e-14)
    assert std == pytest.approx(images.astype(np.float64).std(), rel=1e-14)


# ---------------------------------------------------------------- files of the user's


def test_given_files_are_the_archive_or_else_what_it_held(data_dir):
    put_unpacked(data_dir)
    held = tuple(data_dir / name for name in FILES)
    assert downloads.given("cifar10", data_dir) == downloads.locate(config(data_dir)) == {ARCHIVE: [held]}
    assert sources.image_files(config(data_dir)) == [str(path) for path in held]
    expected = build(data_dir).checksum
    put(data_dir)
    assert downloads.given("cifar10", data_dir) == {ARCHIVE: [(data_dir / ARCHIVE,), held]}
    assert sources.image_files(config(data_dir)) == [str(path) for path in (data_dir / ARCHIVE, *held)]
    assert sources.image_files(config(None)) == []
    (data_dir / ARCHIVE).write_bytes(b"damaged")
    assert build(data_dir).checksum == expected


def test_missing_files_are_all_named(data_dir):
    expected = rf"expected the files of cifar10: {ARCHIVE} \(or unpacked, data_batch_1\.bin, data_batch_2\.bin, test_ba"
    with pytest.raises(ValueError, match=rf"given: lacks {ARCHIVE}; {expected}"):
        downloads.given("cifar10", data_dir)
    put_unpacked(data_dir)
    (data_dir / FIRST).unlink()
    (data_dir / "test_batch.bin").unlink()
    (data_dir / "test_batch.bin").mkdir()
    with pytest.raises(ValueError, match=rf"given: lacks data_batch_1\.bin, test_batch\.bin; {expected}"):
        build(data_dir)


# ---------------------------------------------------------------- refusals

CONTENT = FILES[FIRST]
OUT_OF_RANGE = CONTENT[: 2 * RECORD] + b"\x03" + CONTENT[2 * RECORD + 1 :]
ALTERED = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"expected 76 bytes, found 0, it is truncated"),
        (CONTENT[:-1], r"expected 76 bytes, found 75, it is truncated"),
        (CONTENT[:-RECORD], r"expected 76 bytes, found 57, it is truncated"),
        (CONTENT + b"\0", r"expected 76 bytes, found more"),
        (OUT_OF_RANGE, r"expected labels from 0 to 2, found 3 in record 2"),
        (
            ALTERED,
            rf"expected the SHA-1 {hashlib.sha1(CONTENT).hexdigest()}, found {hashlib.sha1(ALTERED).hexdigest()}",
        ),
    ],
    ids=["empty", "truncated", "a record less", "longer", "label", "altered"],
)
def test_a_wrong_batch_is_refused_with_expected_and_found(data_dir, content, message):
    put_unpacked(data_dir, data_batch_1=content)
    with pytest.raises(ValueError, match=rf"given/data_batch_1\.bin: {message}"):
        build(data_dir)
    (data_dir / FIRST).unlink()  # so that the archive is all there is
    put(data_dir, packed(*as_published(FILES | {FIRST: content})))
    size = rf"expected 76 bytes, found {len(content)}\. Fetch"
    with pytest.raises(ValueError, match=rf"{ARCHIVE}: data_batch_1\.bin: {size if 'bytes' in message else message}"):
        build(data_dir)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cannot be read or unpacked \(ReadError: empty file"),
        (b"<!DOCTYPE html><html>", r"cannot be read or unpacked \(BadGzipFile: Not a gzipped file"),
        (tar_bytes(*as_published(FILES)), r"cannot be read or unpacked \(BadGzipFile"),  # not packed
        (gzip.compress(b"no archive" * 200), r"cannot be read or unpacked \(ReadError: invalid header"),
        (SOUND[:100], r"cannot be read or unpacked \((EOFError|ReadError)"),
        (SOUND[:10] + b"\xff" * 40, r"cannot be read or unpacked \((error|ReadError): "),
        (packed(), r"lacks data_batch_1\.bin, data_batch_2\.bin, test_batch\.bin; expected data_batch_1"),
        (packed(*as_published({FIRST: CONTENT})), r"lacks data_batch_2\.bin, test_batch\.bin; expected"),
        (
            packed(
                *as_published(FILES | {FIRST: b""})[:-2], member(FIRST, type=tarfile.SYMTYPE, linkname="/etc/hosts")
            ),
            r"lacks data_batch_1\.bin; expected",
        ),
        (
            packed(*as_published(FILES)[:-2], member(FIRST, type=tarfile.LNKTYPE, linkname="test_batch.bin")),
            r"lacks data_batch_1\.bin; expected",
        ),
        (packed(*as_published(FILES)[:-2], member(FIRST, type=tarfile.DIRTYPE)), r"lacks data_batch_1\.bin; expected"),
        (LONG_NAMES, r"cannot be read or unpacked \(RecursionError"),
    ],
    ids=[
        *("empty", "page", "unpacked", "no tar", "truncated", "damaged", "nothing in it", "one of three"),
        *("symbolic link", "hard link", "folder", "chain of long names"),
    ],
)
def test_a_wrong_archive_is_refused_by_name(data_dir, content, message):
    put(data_dir, content)
    with pytest.raises(ValueError, match=rf"given/{ARCHIVE}: {message}"):
        build(data_dir)


def test_an_archive_cut_off_within_a_batch_is_refused(data_dir):
    whole = tar_bytes(*as_published(FILES))
    cut = whole.index(CONTENT) + 40
    put(data_dir, gzip.compress(whole[:cut]))
    with pytest.raises(ValueError, match=rf"{ARCHIVE}: .*(unexpected end of data|it is truncated)"):
        build(data_dir)


def test_names_that_lead_elsewhere_write_nothing(data_dir, tmp_path):
    sly = [f"../{FIRST}", str(tmp_path / "data_batch_2.bin"), "../../evil/test_batch.bin"]
    before = sorted(tmp_path.rglob("*"))
    path = put(data_dir, packed(*(member(name, content) for name, content in zip(sly, FILES.values(), strict=True))))
    found = read_tar(path)
    assert all(np.array_equal(found[name][0], MADE[name][1]) for name in FILES)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


def test_a_header_that_promises_terabytes_is_refused_in_little_memory(data_dir):
    info, _ = member(FIRST)
    info.size = 1 << 42
    path = put(data_dir, gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    check_refused_in_little_memory(path, rf"data_batch_1\.bin: expected 76 bytes, found {1 << 42}")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_gzip_bomb_is_refused_in_little_memory(data_dir, kind):
    """Of what is passed over; and of a long name and of further headers, which tarfile keeps while it reads."""
    info, _ = member("bomb", type=kind)
    info.size = 1 << 29
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(info.tobuf(tarfile.GNU_FORMAT))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(1 << 9)]
    path = put(data_dir, b"".join(parts) + packer.flush())
    assert path.stat().st_size < 1_000_000
    check_refused_in_little_memory(path, r"cannot be read or unpacked \(ValueError: more than \d+ bytes when unpacked")


def check_refused_in_little_memory(path: Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"{ARCHIVE}: {message}"):
            read_tar(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * cifar.OVERHEAD
    finally:
        tracemalloc.stop()


def bomb_beside(files: dict[str, bytes], first: bool) -> bytes:
    """An archive whose first or last member promises terabytes, of which there are 4 kB."""
    info, _ = member("bomb")
    info.size = 1 << 42
    parts = [tar_bytes(*(member(name, content) for name, content in files.items())).rstrip(b"\0")]
    parts[0] += bytes(-len(parts[0]) % tarfile.BLOCKSIZE)
    parts.insert(0 if first else 1, info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    return gzip.compress(b"".join(parts))


def test_a_member_that_promises_more_than_there_may_be_is_not_looked_for(data_dir):
    assert list(read_tar(put(data_dir, bomb_beside(FILES, first=False)))) == list(FILES)  # never met
    for first in (True, False):
        path = put(data_dir, bomb_beside({FIRST: CONTENT}, first))
        check_refused_in_little_memory(
            path, r"cannot be read or unpacked \(ValueError: more than \d+ bytes when unpack"
        )


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ValueError, match=rf"{path.name}: cannot be read or unpacked \((FileNot|IsADir)"):
            read_tar(path)
        with pytest.raises(ValueError, match=rf"{path.name}: cannot be read \((FileNot|IsADir)"):
            cifar.read(dict.fromkeys(FILES, path), COLLECTION.archive, SHAPE, len(CLASSES))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_a_damaged_archive_is_read_rightly_or_refused_by_name_and_nothing_else(tmp_path_factory, data, form):
    members = [member(name, content, mtime=0.5, uname="é") for name, content in FILES.items()]
    content = bytearray(tar_bytes(*members, form=form))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / ARCHIVE
    file.write_bytes(gzip.compress(bytes(content[: data.draw(st.integers(0, len(content)))]), 1))
    try:
        found = read_tar(file)
    except ValueError as error:
        assert str(error).startswith(f"{file}: ")
    else:
        assert all(np.array_equal(found[name][0], MADE[name][1]) for name in FILES)
