"""Published image files: what they are, where they lie, and how they come here whole.

Planning a run needs the registry, so nothing here imports NumPy, and pooch only where a file is fetched.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CACHE_VARIABLE = "MEMRNN_CACHE"  # environment variable that names another cache folder
RETRIES = 2  # of one mirror, after 1 and 2 seconds
TIMEOUT = 30  # seconds without a byte

log = logging.getLogger("memrnn.dataset.downloads")  # below the logger of rule dataset, so that its log file has it too


@dataclass(frozen=True)
class Archive:
    """One IDX file, packed with gzip.

    Attributes:
        name: of the packed file, on every mirror; it ends in .gz.
        size: of the packed file, bytes.
        md5: of the packed file, as published.
        contents_md5: of the unpacked file; it holds whatever tool packed the file.
    """

    name: str
    size: int
    md5: str
    contents_md5: str

    @property
    def unpacked(self) -> tuple[str, ...]:
        """Names of the files that it holds."""
        return (self.name.removesuffix(".gz"),)

    @property
    def ways(self) -> list[tuple[str, ...]]:
        """Names under which it is found: packed, unpacked, and both with a dot, as other tools write them."""
        names = [self.name, *self.unpacked]
        return [(name,) for name in [*names, *(name.replace("-idx", ".idx") for name in names)]]


@dataclass(frozen=True)
class Batch:
    """One file of CIFAR-10's records; it has no header.

    Attributes:
        name: of the file, wherever it lies in the tar archive.
        count: of its records.
        sha1: of the file, hexadecimal.
    """

    name: str
    count: int
    sha1: str


@dataclass(frozen=True)
class Tarball:
    """A tar archive of batches, packed with gzip.

    Attributes:
        name, size, md5: as of an `Archive`.
        batches: what it holds.
    """

    name: str
    size: int
    md5: str
    batches: tuple[Batch, ...]

    @property
    def unpacked(self) -> tuple[str, ...]:
        """Names of the files that it holds."""
        return tuple(batch.name for batch in self.batches)

    @property
    def ways(self) -> list[tuple[str, ...]]:
        """Names of the files in which its content is found: the archive, or what it held."""
        return [(self.name,), self.unpacked]


@dataclass(frozen=True)
class Part:
    """Images that are published together, and their labels."""

    images: Archive
    labels: Archive
    count: int  # images, and labels


@dataclass(frozen=True)
class Collection:
    """A published set of grey images in IDX files.

    Attributes:
        folder: of the cache; collections of the same files share it.
        mirrors: addresses that a file's name is appended to, tried in this order.
        shape: (height, width) of an image.
        classes: names in the order of the labels.
        parts: `train` and `test` as published; or `whole`, of which `held_out` images become the held-out split.
        held_out: number of images held out of `whole`.
        inside: folder in which other tools put the files, in the folder that they are given.
    """

    folder: str
    mirrors: tuple[str, ...]
    shape: tuple[int, int]
    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    held_out: int = 0
    inside: str = "."

    @property
    def archives(self) -> list[Archive]:
        """All files of the collection."""
        return [archive for part in self.parts.values() for archive in (part.images, part.labels)]


@dataclass(frozen=True)
class RecordCollection:
    """A published set of images in records of a label and an image, as CIFAR-10 is.

    Attributes:
        folder, mirrors, classes, inside: as of a `Collection`.
        shape: (height, width, channels) of an image.
        archive: with all of it.
        parts: names of the batches of `train` and `test`.
    """

    folder: str
    mirrors: tuple[str, ...]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    archive: Tarball
    parts: Mapping[str, tuple[str, ...]]
    inside: str = "."

    @property
    def archives(self) -> list[Tarball]:
        """All files of the collection."""
        return [self.archive]


def given(name: str, data_dir: str | Path) -> dict[str, list[tuple[Path, ...]]]:
    """Files of a collection in a folder of the user's, packed or unpacked.

    Returns:
        by the archive's name, every way in which its content is there: one file, or those that a tar archive held. A
        damaged file may lie beside a sound one, so all ways are told.
    Raises:
        ValueError: no such folder, or files are missing; the message names them all.
    """
    data_dir, collection = Path(os.path.expanduser(data_dir)), COLLECTIONS[name]
    if not os.path.isdir(data_dir):  # False, where Path.is_dir raises an OSError
        raise ValueError(f"{data_dir}: no such folder; expected one with {_listed(name)}.")
    places = list(dict.fromkeys([data_dir, data_dir / collection.inside]))
    found, missing = {}, []
    for archive in collection.archives:
        ways = [tuple(place / each for each in names) for place in places for names in archive.ways]
        found[archive.name] = [way for way in ways if all(map(os.path.isfile, way))]
        if not found[archive.name]:
            lacking = [each for each in archive.unpacked if not any(os.path.isfile(place / each) for place in places)]
            # where an archive was unpacked and some of it lost, the archive is not what is looked for
            missing += lacking if 0 < len(lacking) < len(archive.unpacked) else [archive.name]
    if missing:
        raise ValueError(f"{data_dir}: lacks {', '.join(missing)}; expected {_listed(name)}.")
    return found


def fetch(name: str) -> dict[str, Path]:
    """Files of a collection in the cache, downloaded where they are not there yet.

    A file enters the cache only when its size and MD5 are right. The cache is the user's cache folder, or what the
    environment variable MEMRNN_CACHE names.

    Returns:
        path by the archive's name.
    Raises:
        ValueError: no mirror gave a file; the message has each mirror's reason, and what to do.
    """
    return {archive.name: _fetch(name, archive) for archive in COLLECTIONS[name].archives}


def locate(settings: Mapping[str, Any]) -> dict[str, list[tuple[Path, ...]]]:
    """Files of the configured collection, as of `given`: those in `data_dir`, or else those in the cache.

    Args:
        settings: the config's section `dataset`, {source, data_dir}.
    Raises:
        ValueError: as `given` and `fetch`.
    """
    if settings["data_dir"] is not None:
        return given(settings["source"], settings["data_dir"])
    return {archive: [(path,)] for archive, path in fetch(settings["source"]).items()}


def _listed(name: str) -> str:
    archives = COLLECTIONS[name].archives
    names = ", ".join(archive.name for archive in archives)
    tar = [unpacked for archive in archives if isinstance(archive, Tarball) for unpacked in archive.unpacked]
    return f"the files of {name}: {names} (or unpacked, {', '.join(tar) or 'without .gz'})"


def _fetch(name: str, archive: Archive | Tarball) -> Path:
    import pooch

    collection, key, reasons = COLLECTIONS[name], f"{COLLECTIONS[name].folder}/{archive.name}", []
    http = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=1 << 16,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},  # else what a server packs on the way is unpacked on arrival
    )
    for mirror in collection.mirrors:
        url = mirror + archive.name
        files = pooch.create(
            path=pooch.os_cache("memrnn"),
            env=CACHE_VARIABLE,
            base_url=mirror,
            registry={key: f"md5:{archive.md5}"},
            urls={key: url},
            retry_if_failed=RETRIES,
        )
        try:
            return Path(files.fetch(key, downloader=functools.partial(_download, http, archive)))
        # of the network (requests' errors are OSErrors), of the file system, of size and checksum
        except (OSError, ValueError) as error:
            log.warning("%s: %s: %s", url, type(error).__name__, error)
            reasons.append(f"  {url}: {type(error).__name__}: {error}")
    raise ValueError(
        "\n".join(
            [
                f"{archive.name}: not in the cache, {files.abspath}, and no mirror of {name} gave it:",
                *reasons,
                f"Without a network, set dataset.data_dir to a folder with {_listed(name)}.",
            ]
        )
    )


def _download(http: Any, archive: Archive | Tarball, url: str, path: str, pooch: Any) -> None:
    """pooch's downloader of one archive, which takes no more bytes than the archive has."""
    with open(path, "wb") as stream:
        counted = _Counted(stream, archive.size)
        http(url, counted, pooch)
    if counted.taken < archive.size:
        raise ValueError(f"truncated: {counted.taken} bytes; expected {archive.size}.")


class _Counted:
    """A stream to write to that refuses to grow beyond a size, whatever the server sends."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size, self.taken = stream, size, 0

    def write(self, chunk: bytes) -> int:
        self.taken += len(chunk)
        if self.taken > self.size:
            raise ValueError(f"too long: {self.taken} bytes or more; expected {self.size}.")
        return self.stream.write(chunk)

    def flush(self) -> None:
        self.stream.flush()


def _archive(stem: str, size: int, md5: str, contents_md5: str) -> Archive:
    return Archive(f"{stem}-ubyte.gz", size, md5, contents_md5)


# Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST database of handwritten digits, 1998.
MNIST = Collection(
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    shape=(28, 28),
    classes=tuple("0123456789"),
    parts={
        "train": Part(
            _archive(
                "train-images-idx3", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"
            ),
            _archive(
                "train-labels-idx1", 28881, "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"
            ),
            count=60000,
        ),
        "test": Part(
            _archive(
                "t10k-images-idx3", 1648877, "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"
            ),
            _archive("t10k-labels-idx1", 4542, "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
            count=10000,
        ),
    },
    inside="MNIST/raw",
)

# H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking, arXiv 1708.07747, 2017.
FASHION_MNIST = Collection(
    folder="fashion_mnist",
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    shape=(28, 28),
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    parts={
        "train": Part(
            _archive(
                "train-images-idx3", 26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"
            ),
            _archive(
                "train-labels-idx1", 29515, "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"
            ),
            count=60000,
        ),
        "test": Part(
            _archive(
                "t10k-images-idx3", 4422102, "bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"
            ),
            _archive("t10k-labels-idx1", 5148, "bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
            count=10000,
        ),
    },
    inside="FashionMNIST/raw",
)

# MNIST's test images alone, 1.6 MB, for a quick look at the paper's data: 8,000 to train on, 2,000 held out.
MNIST10K = Collection(
    folder=MNIST.folder,
    mirrors=MNIST.mirrors,
    shape=MNIST.shape,
    classes=MNIST.classes,
    parts={"whole": MNIST.parts["test"]},
    held_out=2000,
    inside=MNIST.inside,
)

# A. Krizhevsky, Learning multiple layers of features from tiny images, 2009; the "binary version". The archive's MD5 is
# the publisher's; the batches' SHA-1 are those of MXNet's reader, gluon.data.vision.CIFAR10.
CIFAR10 = RecordCollection(
    folder="cifar10",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    shape=(32, 32, 3),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    archive=Tarball(
        "cifar-10-binary.tar.gz",
        170052171,
        "c32a1d4ab5d03f1284b67883e8d87530",
        (
            Batch("data_batch_1.bin", 10000, "aadd24acce27caa71bf4b10992e9e7b2d74c2540"),
            Batch("data_batch_2.bin", 10000, "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795"),
            Batch("data_batch_3.bin", 10000, "1dd00a74ab1d17a6e7d73e185b69dbf31242f295"),
            Batch("data_batch_4.bin", 10000, "aab85764eb3584312d3c7f65fd2fd016e36a258e"),
            Batch("data_batch_5.bin", 10000, "26e2849e66a845b7f1e4614ae70f4889ae604628"),
            Batch("test_batch.bin", 10000, "67eb016db431130d61cd03c7ad570b013799c88c"),
        ),
    ),
    parts={"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)},
    inside="cifar-10-batches-bin",
)

COLLECTIONS: dict[str, Collection | RecordCollection] = {
    "mnist": MNIST,
    "fashion_mnist": FASHION_MNIST,
    "mnist10k": MNIST10K,
    "cifar10": CIFAR10,
}
