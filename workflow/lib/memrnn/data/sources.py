"""The image sources there are, and what is known of one before an image is read: its classes, its shape, its files.

Planning a run needs this and must be quick, so nothing here imports torch or scikit-learn. What reads a source's images
is imported when they are read.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from memrnn.data.downloads import COLLECTIONS, RecordCollection, given

SPLITS = ("train", "test")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
NOTES = (".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".html", ".pdf", ".db", ".ini")  # are not counted
KNOWN = IMAGE_SUFFIXES + NOTES
# Names that neither a line of a log nor a table could hold; those that are no UTF-8 come as surrogates.
UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Source(NamedTuple):
    """Where images come from.

    Attributes:
        reader: `module:function` that makes the image set of the configuration's section `dataset`.
        shape: (height, width, channels) of an image; None where it is not known before the images are read.
        classes: names of the classes, in the order of their numbers; None where the user's folder says.
    """

    reader: str
    shape: tuple[int, int, int] | None
    classes: tuple[str, ...] | None


# A new source is a reader in a file of its own, and an entry here.
SOURCES: dict[str, Source] = {
    "digits": Source("memrnn.data.dataset:digits", (8, 8, 1), tuple("0123456789")),
    **{
        name: Source(
            "memrnn.data.dataset:records" if isinstance(each, RecordCollection) else "memrnn.data.dataset:collection",
            (*each.shape[:2], *(each.shape[2:] or (1,))),
            tuple(each.classes),
        )
        for name, each in COLLECTIONS.items()
    },
    "folder": Source("memrnn.data.dataset:folder", None, None),
}
MOST_IMAGES = 70_000  # of the known sets


@dataclass(frozen=True)
class Tree:
    """A folder of the user's images.

    Attributes:
        files: image files by split, then by class; classes and files are sorted by name, so 10 comes before 2.
        left_out: sentences on what lies in the folder and is not used; none where all of it is.
    """

    files: dict[str, dict[str, list[Path]]]
    left_out: list[str]


def folder_tree(folder: str | Path) -> Tree:
    """Image files of a tree train/<class>/<image> and test/<class>/<image>, without opening any.

    An image is a file that ends in .png, .jpg or .jpeg in any case. What else lies there is counted, but for hidden
    files and notes. Where half or more of a class would not be used, or of the training images, because classes are
    cut to the smallest one's size, the tree is refused.

    Raises:
        ValueError: no such folder, no train or no test in it, a class in one split only, fewer than two classes, a
            class without images, half or more that would not be used, or a folder that may not be listed.
    """
    folder = Path(os.path.expanduser(folder))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected one with images in train/<class>/ and test/<class>/.")
    for split in SPLITS:
        if not (folder / split).is_dir():
            raise ValueError(f"{folder}: has no folder {split}; expected images in train/<class>/ and test/<class>/.")
    try:
        names = {split: _listed(folder / split)[0] for split in SPLITS}
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
        files: dict[str, dict[str, list[Path]]] = {split: {} for split in SPLITS}
        unused = [name for name in _listed(folder)[0] if name not in SPLITS]
        left_out = [f"not used: the folder {name}/, which is neither train nor test" for name in unused]
        for split in SPLITS:
            loose = [name for name in _listed(folder / split)[1] if _suffix(name) not in NOTES]
            others = Counter({"files in no class": len(loose)} if loose else {})
            for name in names[split]:
                files[split][name], more = _class_files(folder / split / name)
                others += more
            if others:
                left_out.append(f"not used: in {split}/, {_counted(others)}")
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed: {error}.") from error
    sizes = {name: len(each) for name, each in files["train"].items()}
    least, total = min(sizes, key=sizes.__getitem__), sum(sizes.values())
    cut = total - len(sizes) * sizes[least]
    if 2 * cut >= total:
        raise ValueError(
            f"{folder / 'train'}: classes are cut to the smallest one's size, {sizes[least]} of {least}, and {cut} of "
            f"{total} images would not be used; expected fewer than half. Add images to {folder / 'train' / least}, or "
            "take some from the other classes."
        )
    if cut:
        left_out.append(
            f"not used: {cut} of {total} training images, because classes are cut to the smallest one's size, "
            f"{sizes[least]} of {least}"
        )
    return Tree(files, left_out)


def _class_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Images of a class, and what else lies in its folder, counted by kind."""
    folders, files, neither = _listed(folder)
    images = [name for name in files if _suffix(name) in IMAGE_SUFFIXES]
    kinds = [_suffix(name) for name in files if _suffix(name) not in KNOWN]
    others = Counter(f"{kind} files" if kind else "files without an ending" for kind in kinds)
    if neither:
        others["links that lead nowhere"] = len(neither)
    for name in folders:  # links inside are not followed, so a loop of them ends
        others[f"files in {folder.name}/{name}/"] = sum(len(inner) for _, _, inner in os.walk(folder / name))
    others = +others  # without empty folders
    if not images or others.total() >= len(images):
        found = f"the class has {len(images)} images, and {_counted(others)}" if others else "the class has no images"
        raise ValueError(
            f"{folder}: {found}; expected files ending in {', '.join(IMAGE_SUFFIXES)} in this folder itself, and more "
            "of them than of anything else. Convert the others, fetch them, or move them."
        )
    return [folder / name for name in images], others


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def folder_classes(folder: str | Path) -> list[str]:
    """Sorted class names of a tree of images; a class's number is its index here.

    Raises:
        ValueError: as `folder_tree`.
    """
    return list(folder_tree(folder).files["train"])


def class_names(settings: Mapping[str, Any]) -> list[str]:
    """Class names of the configured image source, in the order of their numbers.

    Args:
        settings: the config's section `dataset`, {source, folder, data_dir}.
    Raises:
        ValueError: the source's files are not as they must be.
    """
    classes = SOURCES[settings["source"]].classes
    return folder_classes(settings["folder"]) if classes is None else list(classes)


def image_files(settings: Mapping[str, Any]) -> list[str]:
    """The user's files that images are read from; none where a package holds them, or they come from the cache.

    Raises:
        ValueError: as `folder_tree` and `memrnn.data.downloads.given`, or a path that nothing could name.
    """
    if settings["source"] in COLLECTIONS and settings["data_dir"] is not None:
        ways = given(settings["source"], settings["data_dir"]).values()
        paths = [str(path) for each in ways for way in each for path in way]
    elif settings["folder"] is not None:
        files = folder_tree(settings["folder"]).files
        paths = [str(path) for classes in files.values() for each in classes.values() for path in each]
    else:
        paths = []
    for path in paths:
        if UNFIT.search(path):
            shown = os.fsencode(path).decode(errors="backslashreplace")
            raise ValueError(f"{shown}: expected a path of UTF-8 without control characters. Rename it.")
    return paths


def pixels(settings: Mapping[str, Any]) -> int:
    """Numbers of an image, to guess a job's size by; of the user's own from the first one's header, in colour.

    Raises:
        ValueError: as `folder_tree`, or the first image cannot be read.
    """
    if shape := SOURCES[settings["source"]].shape:
        return math.prod(shape)
    from PIL import Image  # which planning does not need for known sets

    first = image_files(settings)[0]
    try:
        with Image.open(first) as image:
            return 3 * math.prod(image.size)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{first}: expected an image, found {type(error).__name__}: {error}.") from error


def left_out(settings: Mapping[str, Any]) -> list[str]:
    """Sentences on what lies in the user's folder of images and is not used."""
    return folder_tree(settings["folder"]).left_out if settings["source"] == "folder" else []


def _listed(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Names in a folder that are not hidden, sorted: of folders, of files, and of neither, such as dead links."""
    folders: list[str] = []
    files: list[str] = []
    neither: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                kind = folders if entry.is_dir() else files if entry.is_file() else neither
            except OSError:  # a loop of links
                kind = neither
            kind.append(entry.name)
    return sorted(folders), sorted(files), sorted(neither)
