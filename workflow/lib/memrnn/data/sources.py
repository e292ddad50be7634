"""What is known of an image source before an image is read: its classes and its files.

Planning a run needs this and must be quick, so nothing here imports torch, scikit-learn or Pillow. Reading the images
is the work of `memrnn.dataset`, whose registry `SOURCES` has the same keys as `CLASSES` here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memrnn.data.downloads import COLLECTIONS, given

SPLITS = ("train", "test")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


# (height, width, channels) of an image; a folder's is not known before its images are read.
SHAPES: dict[str, tuple[int, int, int] | None] = {
    "digits": (8, 8, 1),
    **{name: (*each.shape[:2], *(each.shape[2:] or (1,))) for name, each in COLLECTIONS.items()},
    "folder": None,
}
# Numbers per image, to guess a job's size by.
PIXELS: dict[str, int] = {name: math.prod(shape or (32, 32, 3)) for name, shape in SHAPES.items()}


def folder_tree(folder: str | Path) -> dict[str, dict[str, list[Path]]]:
    """Image files of a tree train/<class>/<image> and test/<class>/<image>, without opening any.

    An image is a file that ends in .png, .jpg or .jpeg in any case; hidden files and folders, and files that lie
    elsewhere in the tree, are passed over.

    Returns:
        files by split, then by class; classes and files are sorted by name.
    Raises:
        ValueError: no such folder, no train or no test in it, a class in one split only, fewer than two classes, a
            class without images, or a folder that may not be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected one with images in train/<class>/ and test/<class>/.")
    for split in SPLITS:
        if not (folder / split).is_dir():
            raise ValueError(f"{folder}: has no folder {split}; expected images in train/<class>/ and test/<class>/.")
    try:
        names = {split: _visible(folder / split, os.DirEntry.is_dir) for split in SPLITS}
        for split, other in (SPLITS, SPLITS[::-1]):
            single = [name for name in names[split] if name not in names[other]]
            if single:
                raise ValueError(
                    f"{folder}: classes in {split} only: {', '.join(single)}; every class needs images in train and in "
                    f"test. Add {folder / other / single[0]} or remove {folder / split / single[0]}."
                )
        if len(names["train"]) < 2:
            found = ", ".join(names["train"]) or "none"
            raise ValueError(f"{folder / 'train'}: classes found: {found}; expected the folders of two or more.")
        tree = {
            split: {
                name: [
                    folder / split / name / file
                    for file in _visible(folder / split / name, os.DirEntry.is_file)
                    if file.lower().endswith(IMAGE_SUFFIXES)
                ]
                for name in names[split]
            }
            for split in SPLITS
        }
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed: {error}.") from error
    for split in SPLITS:
        for name, files in tree[split].items():
            if not files:
                raise ValueError(
                    f"{folder / split / name}: the class has no images; expected files ending in "
                    f"{', '.join(IMAGE_SUFFIXES)}."
                )
    return tree


def folder_classes(folder: str | Path) -> list[str]:
    """Sorted class names of a tree of images; a class's number is its index here.

    Raises:
        ValueError: as `folder_tree`.
    """
    return list(folder_tree(folder)["train"])


def class_names(settings: Mapping[str, Any]) -> list[str]:
    """Class names of the configured image source, in the order of their numbers.

    Args:
        settings: the config's section `dataset`, {source, folder, data_dir}.
    Raises:
        ValueError: the source's files are not as they must be.
    """
    return CLASSES[settings["source"]](settings)


def image_files(settings: Mapping[str, Any]) -> list[str]:
    """The user's files that images are read from; none where a package holds them, or they come from the cache.

    Raises:
        ValueError: as `folder_tree` and `memrnn.downloads.given`.
    """
    if settings["source"] in COLLECTIONS and settings["data_dir"] is not None:
        return [str(path) for path in given(settings["source"], settings["data_dir"]).values()]
    if settings["folder"] is None:
        return []
    tree = folder_tree(settings["folder"])
    return [str(path) for classes in tree.values() for files in classes.values() for path in files]


def _visible(folder: Path, kind: Callable[[os.DirEntry], bool]) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and kind(entry))


CLASSES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "digits": lambda settings: [str(digit) for digit in range(10)],
    **dict.fromkeys(COLLECTIONS, lambda settings: list(COLLECTIONS[settings["source"]].classes)),
    "folder": lambda settings: folder_classes(settings["folder"]),
}
