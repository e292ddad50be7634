"""Where image sets come from: the sources' readers, and the balanced split made of what they read.

Only the dataset stage imports this module: the others take finished sets from `images` and stand on no reader.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from memrnn.data import cifar, idx
from memrnn.data.downloads import COLLECTIONS, Archive, locate
from memrnn.data.images import ImageSet
from memrnn.data.sources import SOURCES, class_names, folder_tree

DIGITS_HELD_OUT = 397
DEVIATIONS = 1 << 26  # pixels whose deviations from the mean are held at a time, 0.5 GB
SPLIT_SEED = 0  # part of a data set's definition, so it is not a setting
GREY_MODES = {"1", "L", "LA", "I", "I;16"}  # of those that Pillow gives PNG and JPEG files
ORIENTATION = 0x0112  # EXIF's number for it
# How an image is turned that its camera marked so, by EXIF's orientation; 1 is upright.
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE"), start=2))
TURNS |= dict(enumerate(("ROTATE_270", "TRANSVERSE", "ROTATE_90"), start=6))
POINTERS = (b"version https://git-lfs", b"/annex/objects/")  # what stands in a file that was not fetched

T = TypeVar("T")
log = logging.getLogger("memrnn.dataset")


def build(settings: Mapping[str, Any]) -> ImageSet:
    """Read the configured image source.

    Args:
        settings: the config's section `dataset`, {source, folder, data_dir}.
    Raises:
        ValueError: the source is unknown, or its files are not as they must be.
    """
    if settings["source"] not in SOURCES:
        raise ValueError(f"dataset.source: found {settings['source']!r}; allowed: {', '.join(SOURCES)}.")
    module, _, reader = SOURCES[settings["source"]].reader.partition(":")
    return getattr(import_module(module), reader)(settings)


def assemble(
    name: str,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    checksum: str,
) -> ImageSet:
    """Sort the images of a source by class, cut the training classes to one size, and measure the pixels.

    Of a training class the first images in the source's order stay, as many as the smallest class has: all of that
    class, its last one included (the published code never draws the last). The held-out images are not cut. Mean and
    standard deviation are of all training images, before the cut: so the published values for MNIST are.

    Args:
        name, shape, classes, checksum: as in `ImageSet`.
        train, test: images (n, pixels) in [0, 1] and labels (n,), in the source's order.
    """
    mean, std = moments(train[0])
    size = np.bincount(train[1], minlength=len(classes)).min()
    kept = np.concatenate([np.flatnonzero(train[1] == label)[:size] for label in range(len(classes))])
    order = np.argsort(test[1], kind="stable")
    pixels = train[0][kept]
    return ImageSet(
        name=name,
        shape=shape,
        classes=tuple(classes),
        train_images=torch.from_numpy(pixels.astype(np.float32, copy=False)),
        train_labels=torch.from_numpy(train[1][kept].astype(np.int64)),
        test_images=torch.from_numpy(test[0][order].astype(np.float32, copy=False)),
        test_labels=torch.from_numpy(test[1][order].astype(np.int64)),
        mean=mean,
        std=std,
        checksum=checksum,
    )


def moments(images: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all pixels of images (n, pixels), summed in float64 and in little memory."""
    mean = images.mean(dtype=np.float64)
    rows = max(1, DEVIATIONS // images.shape[1])
    parts = (np.subtract(images[k : k + rows], mean, dtype=np.float64) for k in range(0, len(images), rows))
    return float(mean), math.sqrt(sum(np.square(part, out=part).sum() for part in parts) / images.size)


def digits(settings: Mapping[str, Any]) -> ImageSet:
    """scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels, 397 held out by a fixed stratified split.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    # imported here because only this source needs it, and it takes a second
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    checksum = hashlib.sha256(images.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    train_images, test_images, train_labels, test_labels = train_test_split(
        images / 16, labels, test_size=DIGITS_HELD_OUT, random_state=SPLIT_SEED, stratify=labels
    )
    train, test = (train_images, train_labels), (test_images, test_labels)
    return assemble("digits", (8, 8, 1), class_names(settings), train, test, checksum)


def collection(settings: Mapping[str, Any]) -> ImageSet:
    """A published set of grey images in IDX files, of `downloads.COLLECTIONS`; pixels 0 to 255 become 0 to 1.

    A collection that is published whole is split, stratified by class and always in the same way. The checksum covers
    pixels and labels in the files' order, so it does not depend on how the files are packed.

    Raises:
        ValueError: as `memrnn.data.downloads.locate` and `memrnn.data.idx.read`.
    """
    name = settings["source"]
    source, ways, digest = COLLECTIONS[name], locate(settings), hashlib.sha256()
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read(archive: Archive, *shape: int, below: int = 256) -> np.ndarray:
        return first_sound(lambda way: idx.read(way[0], shape, archive.contents_md5, below), ways[archive.name])

    for key, part in source.parts.items():
        images = read(part.images, part.count, *source.shape)
        labels = read(part.labels, part.count, below=len(source.classes))
        digest.update(images.data)
        digest.update(labels.data)
        parts[key] = (images.reshape(part.count, -1), labels)
    if "whole" in parts:
        from sklearn.model_selection import train_test_split  # takes a second, and published splits do not need it

        images, labels = parts.pop("whole")
        train_images, test_images, train_labels, test_labels = train_test_split(
            images, labels, test_size=source.held_out, random_state=SPLIT_SEED, stratify=labels
        )
        parts = {"train": (train_images, train_labels), "test": (test_images, test_labels)}
    train, test = ((images / np.float32(255), labels) for images, labels in (parts["train"], parts["test"]))
    return assemble(name, (*source.shape, 1), source.classes, train, test, digest.hexdigest())


def first_sound(read: Callable[[tuple[Path, ...]], T], ways: Sequence[tuple[Path, ...]]) -> T:
    """What `read` makes of the first of several files with the same content that it does not refuse.

    Raises:
        ValueError: as `read`, of the last.
    """
    for way in ways[:-1]:
        try:
            return read(way)
        except ValueError as error:
            log.warning("%s Another file with the same content is there and is tried.", error)
    return read(ways[-1])


def records(settings: Mapping[str, Any]) -> ImageSet:
    """A published set of images in records, of `memrnn.data.downloads.COLLECTIONS`; pixels 0 to 255 become 0 to 1.

    The checksum covers pixels and labels in the order of the parts, so it does not depend on how the files are packed.

    Raises:
        ValueError: as `memrnn.data.downloads.locate` and `memrnn.data.cifar.read`.
    """
    name = settings["source"]
    source, digest = COLLECTIONS[name], hashlib.sha256()
    ways = locate(settings)[source.archive.name]

    def read_from(way: tuple[Path, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return cifar.read({path.name: path for path in way}, source.archive, source.shape, len(source.classes))

    read = first_sound(read_from, ways)
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for key, batches in source.parts.items():
        images, labels = (np.concatenate(each) for each in zip(*(read.pop(batch) for batch in batches), strict=True))
        digest.update(images.data)
        digest.update(labels.data)
        parts[key] = (images.reshape(len(images), -1) / np.float32(255), labels)
    return assemble(name, source.shape, source.classes, parts["train"], parts["test"], digest.hexdigest())


def folder(settings: Mapping[str, Any]) -> ImageSet:
    """The user's own images, a tree train/<class>/<image> and test/<class>/<image> of PNG and JPEG files.

    Images are grey (one channel) where every file of the tree is, else RGB (three). They are taken as a viewer shows
    them: turned as their camera noted, and on white where they are transparent. The set is named after the folder.

    Raises:
        ValueError: as `sources.folder_tree`, or a file cannot be read as an image, the images' sizes differ, or
            two images are equal.
    """
    root = Path(os.path.expanduser(settings["folder"]))
    tree = folder_tree(root)
    for sentence in tree.left_out:
        log.warning("%s: %s", root, sentence)
    digest = hashlib.sha256()
    images: dict[str, list[np.ndarray]] = {split: [] for split in tree.files}
    labels: dict[str, list[int]] = {split: [] for split in tree.files}
    first: tuple[Path, tuple[int, int]] | None = None
    seen: dict[bytes, Path] = {}
    equal: list[tuple[Path, Path]] = []
    for split, by_class in tree.files.items():
        for label, files in enumerate(by_class.values()):
            for file in files:
                image, content = read_image(file, first)
                first = first or (file, image.shape[:2])
                images[split].append(image)
                labels[split].append(label)
                # name and length go in too, so that no two trees share one stream of bytes
                digest.update(os.fsencode(file.relative_to(root)) + b"\0" + len(content).to_bytes(8) + content)
                other = seen.setdefault(hashlib.sha256(image.tobytes()).digest(), file)
                if other != file:
                    log.warning("%s: has the same pixels as %s", file, other)
                    equal.append((other, file))
    if equal:
        raise ValueError(
            f"{equal[0][1]}: has the same pixels as {equal[0][0]}, the first of {len(equal)} such images, all named "
            "in the log; expected images that differ, in a class, between classes, and between train and test. Remove "
            "the others."
        )
    channels = max(image.shape[2] for split in images.values() for image in split)
    arrays = {
        split: (
            # a grey image among coloured ones is repeated over the three channels
            np.stack([np.broadcast_to(image, (*image.shape[:2], channels)).reshape(-1) for image in images[split]]),
            np.array(labels[split]),
        )
        for split in images
    }
    name, shape = root.resolve().name, (*first[1], channels)
    return assemble(name, shape, list(tree.files["train"]), arrays["train"], arrays["test"], digest.hexdigest())


def read_image(file: Path, like: tuple[Path, tuple[int, int]] | None = None) -> tuple[np.ndarray, bytes]:
    """Read one PNG or JPEG file.

    Args:
        file: the image file.
        like: a file and the (height, width) that this one must have too; None for any size.
    Returns:
        pixels, (height, width, 1) for grey modes, else (height, width, 3), float32 in [0, 1]; and the file's bytes.
    Raises:
        ValueError: the file cannot be decoded, is so large that Pillow suspects a decompression bomb, is animated, has
            colours or transparency beside 16 bits, of which Pillow reads 8, or has another size.
    """
    try:
        with warnings.catch_warnings(), open(file, "rb") as stream:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            content = stream.read()
            if content.startswith(POINTERS):
                raise ValueError("a pointer of Git LFS or git-annex; fetch the image itself")
            stream.seek(0)
            with Image.open(stream, formats=("PNG", "JPEG")) as image:
                size, pixels = image.size, None
                # the size stands in the header: a wrong one is told before anything is unpacked
                if like is None or like[1] in (size, size[::-1]):
                    pixels = _pixels(image, content)
                    size = pixels.shape[1::-1]
                wrong = like is not None and size[::-1] != like[1]
    except Exception as error:  # a damaged file makes Pillow raise many kinds, SyntaxError and struct.error among them
        raise ValueError(f"{file}: cannot be read as a PNG or JPEG image ({type(error).__name__}: {error}).") from error
    if wrong:
        raise ValueError(
            f"{file}: is {size[0]} x {size[1]} pixels (width x height); expected {like[1][1]} x {like[1][0]}, the size "
            f"of {like[0]}. All images of a tree must have one size."
        )
    return pixels, content


def _pixels(image: Image.Image, content: bytes) -> np.ndarray:
    grey, transparent = image.mode in GREY_MODES, image.has_transparency_data
    orientation = image.getexif().get(ORIENTATION)
    if image.format == "PNG":
        # bytes 24 and 25 of a PNG file are its bits per value and its kind of colour, 0 for grey
        if content[24] == 16 and (content[25] != 0 or transparent):
            raise ValueError("16 bits with colours or transparency; expected 8 bits, or 16 bits of grey alone")
        if getattr(image, "is_animated", False):
            raise ValueError("an animation; expected one image")
    if transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if orientation in TURNS:
        image = image.transpose(Image.Transpose[TURNS[orientation]])
    if image.mode.startswith("I"):  # 16 bits; Pillow clips them where it is asked for 8
        return np.asarray(image, dtype=np.float32)[..., None] / 65535
    pixels = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / 255
    return pixels[..., None] if grey else pixels
