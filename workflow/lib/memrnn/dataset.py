"""Image sets: balanced training images, held-out images, and where they come from (section 2 of the science)."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from memrnn import idx
from memrnn.downloads import COLLECTIONS, locate
from memrnn.record import load_arrays, save_arrays
from memrnn.sources import class_names, folder_tree

DIGITS_HELD_OUT = 397
SPLIT_SEED = 0  # part of a data set's definition, so it is not a setting
GREY_MODES = {"1", "L", "LA", "I", "I;16"}  # of those that Pillow gives PNG and JPEG files


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of both splits, sorted by class.

    Attributes:
        name: what the tables call the data set.
        shape: (height, width, channels) of an image; its pixels lie flattened in this order.
        classes: class names; a label is an index into them.
        train_images: (n, pixels) float32 in [0, 1], the same number of images for every class.
        train_labels: (n,) int64, ascending.
        test_images: (m, pixels) float32 in [0, 1], held out; as many of each class as the source has.
        test_labels: (m,) int64, ascending.
        mean: of all the source's training pixels; the noise's mean and the held input.
        std: of all the source's training pixels; the noise's standard deviation.
        checksum: SHA-256 of the source, hexadecimal.
    Raises:
        ValueError: the parts disagree, a class is missing from a split, or the training pixels are all equal.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: float
    std: float
    checksum: str

    def __post_init__(self) -> None:
        pixels = int(np.prod(self.shape))
        for split in ("train", "test"):
            images, labels = self.split(split)
            if images.shape != (len(labels), pixels) or images.dtype != torch.float32 or labels.dtype != torch.int64:
                raise ValueError(
                    f"{self.name}: {split} images are {tuple(images.shape)} {images.dtype} with labels "
                    f"{tuple(labels.shape)} {labels.dtype}; expected ({len(labels)}, {pixels}) torch.float32 with "
                    f"({len(labels)},) torch.int64."
                )
            if not bool(((images >= 0) & (images <= 1)).all()):
                raise ValueError(f"{self.name}: {split} pixels outside 0 to 1, or not finite.")
            if not torch.equal(labels.unique(), torch.arange(len(self.classes))) or bool((labels.diff() < 0).any()):
                raise ValueError(
                    f"{self.name}: {split} labels must ascend from 0 to {len(self.classes) - 1} without a gap; "
                    f"found the labels {labels.unique().tolist()}."
                )
        if len(set(self.counts("train").tolist())) != 1:
            raise ValueError(f"{self.name}: training classes differ in size: {self.counts('train').tolist()}.")
        if not self.std > 0:
            raise ValueError(f"{self.name}: all training pixels equal {self.mean:g}; the noise would have no width.")

    @property
    def pixels(self) -> int:
        """Number of values in an image, height x width x channels."""
        return self.train_images.shape[1]

    def split(self, split: str) -> tuple[Tensor, Tensor]:
        """Images and labels of the split `train` or `test`: (n, pixels) and (n,)."""
        return {"train": (self.train_images, self.train_labels), "test": (self.test_images, self.test_labels)}[split]

    def counts(self, split: str) -> Tensor:
        """Number of images of each class in a split, (classes,) int64."""
        return torch.bincount(self.split(split)[1], minlength=len(self.classes))

    def offsets(self, split: str) -> Tensor:
        """Index of the first image of each class in a split, (classes,) int64."""
        counts = self.counts(split)
        return counts.cumsum(0) - counts


def build(settings: Mapping[str, Any]) -> ImageSet:
    """Read the configured image source.

    Args:
        settings: the config's section `dataset`, {source, folder, data_dir}.
    Raises:
        ValueError: the source is unknown, or its files are not as they must be.
    """
    if settings["source"] not in SOURCES:
        raise ValueError(f"dataset.source: found {settings['source']!r}; allowed: {', '.join(SOURCES)}.")
    return SOURCES[settings["source"]](settings)


def save(path: str | Path, image_set: ImageSet) -> None:
    """Write an image set as one file: its arrays, and shape, classes, mean, std and checksum as metadata."""
    fields = vars(image_set)
    arrays = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
    save_arrays(path, arrays, {name: value for name, value in fields.items() if name not in arrays})


def load(path: str | Path) -> ImageSet:
    """Read what `save` wrote.

    Raises:
        ValueError: the file is missing or damaged, or holds something else than an image set.
    """
    arrays, meta = load_arrays(path)
    try:
        return ImageSet(**arrays, **meta | {"shape": tuple(meta["shape"]), "classes": tuple(meta["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected an image set, found other contents ({error}). Build it again.") from error


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
        mean=float(train[0].mean(dtype=np.float64)),
        std=float(train[0].std(dtype=np.float64)),
        checksum=checksum,
    )


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
    """A published set of images in IDX files, as `memrnn.downloads.COLLECTIONS` has it; pixels 0 to 255 become 0 to 1.

    A collection that is published whole is split, stratified by class and always in the same way. The checksum covers
    pixels and labels in the files' order, so it does not depend on how the files are packed.

    Raises:
        ValueError: as `memrnn.downloads.locate` and `memrnn.idx.read`.
    """
    name = settings["source"]
    source, paths, digest = COLLECTIONS[name], locate(settings), hashlib.sha256()
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for key, part in source.parts.items():
        images = idx.read(paths[part.images.name], (part.count, *source.shape), part.images.contents_md5)
        labels = idx.read(paths[part.labels.name], (part.count,), part.labels.contents_md5, below=len(source.classes))
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


def folder(settings: Mapping[str, Any]) -> ImageSet:
    """The user's own images, a tree train/<class>/<image> and test/<class>/<image> of PNG and JPEG files.

    Images are grey (one channel) where every file of the tree is, else RGB (three). Transparency is ignored; pixels are
    taken as stored, whatever orientation the file's metadata ask for. The set is named after the folder.

    Raises:
        ValueError: as `memrnn.sources.folder_tree`, or a file cannot be read as an image, or the images' sizes differ.
    """
    root = Path(settings["folder"])
    tree = folder_tree(root)
    digest = hashlib.sha256()
    images: dict[str, list[np.ndarray]] = {split: [] for split in tree}
    labels: dict[str, list[int]] = {split: [] for split in tree}
    first: tuple[Path, tuple[int, int]] | None = None
    for split, by_class in tree.items():
        for label, files in enumerate(by_class.values()):
            for file in files:
                image, content = read_image(file, first)
                first = first or (file, image.shape[:2])
                images[split].append(image)
                labels[split].append(label)
                # name and length go in too, so that no two trees share one stream of bytes
                digest.update(os.fsencode(file.relative_to(root)) + b"\0" + len(content).to_bytes(8) + content)
    channels = max(image.shape[2] for split in images.values() for image in split)
    arrays = {
        split: (
            # a grey image among coloured ones is repeated over the three channels
            np.stack([np.broadcast_to(image, (*image.shape[:2], channels)).reshape(-1) for image in images[split]]),
            np.array(labels[split]),
        )
        for split in tree
    }
    name, shape = root.resolve().name, (*first[1], channels)
    return assemble(name, shape, list(tree["train"]), arrays["train"], arrays["test"], digest.hexdigest())


def read_image(file: Path, like: tuple[Path, tuple[int, int]] | None = None) -> tuple[np.ndarray, bytes]:
    """Read one PNG or JPEG file.

    Args:
        file: the image file.
        like: a file and the (height, width) that this one must have too; None for any size.
    Returns:
        pixels, (height, width, 1) for grey modes, else (height, width, 3), float32 in [0, 1]; and the file's bytes.
    Raises:
        ValueError: the file cannot be decoded, is so large that Pillow suspects a decompression bomb, or has another
            size.
    """
    try:
        with warnings.catch_warnings(), open(file, "rb") as stream:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            content = stream.read()
            stream.seek(0)
            with Image.open(stream, formats=("PNG", "JPEG")) as image:
                # the size stands in the header: a wrong one is told before anything is unpacked
                wrong = like is not None and image.size[::-1] != like[1]
                size = image.size
                pixels = None if wrong else _pixels(image)
    except Exception as error:  # a damaged file makes Pillow raise many kinds, SyntaxError and struct.error among them
        raise ValueError(f"{file}: cannot be read as a PNG or JPEG image ({type(error).__name__}: {error}).") from error
    if wrong:
        raise ValueError(
            f"{file}: is {size[0]} x {size[1]} pixels (width x height); expected {like[1][1]} x {like[1][0]}, the size "
            f"of {like[0]}. All images of a tree must have one size."
        )
    return pixels, content


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode not in GREY_MODES:
        return np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    if image.mode.startswith("I"):  # 16 bits; Pillow clips them where it is asked for 8
        return np.asarray(image, dtype=np.float32)[..., None] / 65535
    return np.asarray(image.convert("L"), dtype=np.float32)[..., None] / 255


SOURCES: dict[str, Callable[[Mapping[str, Any]], ImageSet]] = {
    "digits": digits,
    **dict.fromkeys(COLLECTIONS, collection),
    "folder": folder,
}
