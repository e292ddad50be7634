"""Image sets as every stage uses them: balanced training images, held-out images, and their file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from memrnn.core.files import load_arrays, save_arrays


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
        pixels = math.prod(self.shape)
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
            if not torch.equal(labels.unique(), torch.arange(len(self.classes), device=labels.device)) or bool(
                (labels.diff() < 0).any()
            ):
                raise ValueError(
                    f"{self.name}: {split} labels must ascend from 0 to {len(self.classes) - 1} without a gap; "
                    f"found the labels {labels.unique().tolist()}."
                )
        if len(set(self.counts("train").tolist())) != 1:
            raise ValueError(f"{self.name}: training classes differ in size: {self.counts('train').tolist()}.")
        if not self.std > 0:
            raise ValueError(f"{self.name}: all training pixels equal {self.mean:g}; the noise would have no width.")

    def to(self, device: torch.device) -> ImageSet:
        """The same images on another device."""
        fields = vars(self)
        return replace(self, **{name: each.to(device) for name, each in fields.items() if isinstance(each, Tensor)})

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

    def turns(self, split: str, generator: torch.Generator, number: int) -> Tensor:
        """Indices of `number` images of each class, in random order, no image used twice before all are used once.

        Returns:
            (classes * number,) int64, class after class.
        """
        turns = []
        for count, offset in zip(self.counts(split).tolist(), self.offsets(split).tolist(), strict=True):
            rounds = [torch.randperm(count, generator=generator) for _ in range(-(-number // count))]
            turns.append(offset + torch.cat(rounds)[:number])
        return torch.cat(turns)


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
