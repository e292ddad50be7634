"""The dataset stage: splits, balance, pixel statistics, the user's own folders, and every refusal."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from memrnn.core.files import save_arrays
from memrnn.data import dataset, images, sources

DIGITS = {"source": "digits", "folder": None}


def write(path: Path, pixels: np.ndarray) -> None:
    """Save pixel values as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def grey(*values: int) -> np.ndarray:
    """A 1-row grey image of the given values."""
    return np.array([values], dtype=np.uint8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of 1 x 2 grey images: three of "b" and two of "a" to train on, one and two held out."""
    root = tmp_path / "pictures"
    write(root / "train/b/1.png", grey(0, 51))
    write(root / "train/b/2.PNG", grey(102, 153))
    write(root / "train/b/3.png", grey(9, 9))
    write(root / "train/a/x.png", grey(204, 255))
    write(root / "train/a/w.png", grey(0, 255))
    write(root / "test/b/1.png", grey(51, 0))
    write(root / "test/a/1.png", grey(0, 102))
    write(root / "test/a/2.png", grey(102, 0))
    return root


def of_folder(root: Path) -> images.ImageSet:
    return dataset.build({"source": "folder", "folder": str(root)})


# ---------------------------------------------------------------- digits


def test_digits_are_whole_balanced_and_split(digits):
    assert (digits.name, digits.shape, digits.classes) == ("digits", (8, 8, 1), tuple("0123456789"))
    assert sources.SOURCES["digits"].shape == digits.shape
    assert len(digits.test_labels) == 397
    counts = digits.counts("train")
    _, labels = load_digits(return_X_y=True)
    left = np.bincount(labels) - digits.counts("test").numpy()  # of each class, before balancing
    assert left.sum() == 1400
    assert counts.tolist() == [left.min()] * 10
    # stratified: every class gives the same share of its images, to one image
    assert np.abs(digits.counts("test").numpy() - np.bincount(labels) * 397 / 1797).max() < 1


def test_digits_are_the_source_images_and_no_image_is_in_both_splits(digits):
    images, labels = load_digits(return_X_y=True)
    source = {(row.tobytes(), label) for row, label in zip((images / 16).astype(np.float32), labels, strict=True)}
    assert len(source) == 1797  # all different, so that the sets below count images
    splits = [
        {(row.numpy().tobytes(), int(label)) for row, label in zip(*digits.split(split), strict=True)}
        for split in ("train", "test")
    ]
    assert [len(split) for split in splits] == [len(digits.train_labels), 397]
    assert splits[0] <= source and splits[1] <= source and not splits[0] & splits[1]


def test_digits_statistics_are_of_all_training_pixels(digits):
    everything = load_digits(return_X_y=True)[0] / 16
    held_out = digits.test_images.double()
    count = everything.size - held_out.numel()
    mean = (everything.sum() - held_out.sum().item()) / count
    assert digits.mean == pytest.approx(mean, abs=1e-9)
    square = ((everything**2).sum() - held_out.square().sum().item()) / count
    assert digits.std == pytest.approx((square - mean**2) ** 0.5, abs=1e-9)
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)


def test_digits_come_out_the_same_twice(digits):
    again = dataset.build(DIGITS)
    assert torch.equal(again.train_images, digits.train_images) and torch.equal(again.test_images, digits.test_images)
    assert again.checksum == digits.checksum and len(digits.checksum) == 64


def test_offsets_and_counts_find_the_images_of_a_class(digits):
    for split in ("train", "test"):
        offsets, counts = digits.offsets(split), digits.counts(split)
        assert offsets.dtype == counts.dtype == torch.int64
        for label in range(10):
            rows = torch.arange(offsets[label], offsets[label] + counts[label])
            assert torch.equal((digits.split(split)[1] == label).nonzero()[:, 0], rows)


# ---------------------------------------------------------------- saving


def test_saving_keeps_everything(tmp_path, digits):
    images.save(tmp_path / "digits.safetensors", digits)
    back = images.load(tmp_path / "digits.safetensors")
    for name, value in vars(digits).items():
        assert torch.equal(value, getattr(back, name)) if torch.is_tensor(value) else value == getattr(back, name), name


def test_the_same_images_give_the_same_file(tmp_path, digits):
    for name in ("one", "two"):
        images.save(tmp_path / name, digits)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("meta", [{}, {"shape": [1, 1, 1], "classes": ["a"]}, {"shape": 3, "classes": []}])
def test_a_file_with_other_contents_is_refused_by_name(tmp_path, meta):
    save_arrays(tmp_path / "other.safetensors", {"weights": torch.zeros(2)}, meta)
    with pytest.raises(ValueError, match=r"other\.safetensors: expected an image set, found other contents"):
        images.load(tmp_path / "other.safetensors")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.safetensors"):
        images.load(tmp_path / "nothing.safetensors")


# ---------------------------------------------------------------- an image set refuses parts that disagree


def parts(**changes) -> dict:
    right = {
        "name": "made",
        "shape": (1, 2, 1),
        "classes": ("a", "b"),
        "train_images": torch.tensor([[0.0, 1.0], [0.5, 0.5]]),
        "train_labels": torch.tensor([0, 1]),
        "test_images": torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.0, 0.0]]),
        "test_labels": torch.tensor([0, 0, 1]),
        "mean": 0.5,
        "std": 0.3,
        "checksum": "0" * 64,
    }
    return right | changes


def test_a_right_image_set_is_taken():
    made = images.ImageSet(**parts())
    assert made.counts("test").tolist() == [2, 1] and made.offsets("test").tolist() == [0, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 2, 1)}, r"train images are \(2, 2\).*expected \(2, 4\)"),
        ({"train_images": torch.zeros(2, 2).double()}, r"torch\.float64.*expected.*torch\.float32"),
        ({"test_labels": torch.tensor([0, 1], dtype=torch.int64)}, r"test images are \(3, 2\).*labels \(2,\)"),
        ({"test_labels": torch.tensor([0.0, 0.0, 1.0])}, r"labels \(3,\) torch\.float32"),
        ({"test_images": torch.tensor([[0.0, 1.0], [0.5, 1.5], [0.0, 0.0]])}, "test pixels outside 0 to 1"),
        ({"train_images": torch.tensor([[0.0, 1.0], [0.5, torch.nan]])}, "train pixels outside 0 to 1, or not finite"),
        ({"test_labels": torch.tensor([0, 1, 0])}, r"test labels must ascend from 0 to 1.*found the labels \[0, 1\]"),
        ({"test_labels": torch.tensor([0, 0, 0])}, r"test labels must ascend.*found the labels \[0\]"),
        ({"train_labels": torch.tensor([0, 2])}, r"train labels must ascend.*found the labels \[0, 2\]"),
        (
            {"train_images": torch.zeros(3, 2), "train_labels": torch.tensor([0, 0, 1])},
            r"training classes differ in size: \[2, 1\]",
        ),
        ({"std": 0.0}, r"all training pixels equal 0\.5"),
    ],
)
def test_parts_that_disagree_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"made: .*{message}"):
        images.ImageSet(**parts(**changes))


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match=r"dataset\.source: found 'svhn'; allowed: digits, mnist, .*folder"):
        dataset.build({"source": "svhn", "folder": None})


# ---------------------------------------------------------------- folders


def test_a_folder_of_grey_images(tree):
    made = of_folder(tree)
    assert (made.name, made.shape, made.classes) == ("pictures", (1, 2, 1), ("a", "b"))
    # files in sorted order (w before x), class b cut to the two images that class a has
    expected = torch.tensor([[0, 255], [204, 255], [0, 51], [102, 153]]) / 255
    assert torch.equal(made.train_images, expected.float())
    assert made.train_labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(made.test_images, torch.tensor([[0, 102], [102, 0], [51, 0]]) / 255)
    assert made.test_labels.tolist() == [0, 0, 1]
    # by hand: 0 51 102 153 9 9 204 255 0 255, with the image that was cut, sum to 1038 and their squares to 208242
    assert made.mean == pytest.approx(103.8 / 255)
    assert made.std == pytest.approx((20824.2 - 103.8**2) ** 0.5 / 255)


def test_classes_known_at_planning_time_are_the_image_sets_classes(tree):
    assert sources.folder_classes(tree) == list(of_folder(tree).classes) == ["a", "b"]
    assert sources.class_names(DIGITS) == list(dataset.build(DIGITS).classes)


def test_the_checksum_tells_contents_and_names_apart(tree):
    first = of_folder(tree).checksum
    assert of_folder(tree).checksum == first
    (tree / "train/a/w.png").rename(tree / "train/a/v.png")
    renamed = of_folder(tree)
    assert renamed.checksum != first
    write(tree / "train/b/3.png", grey(8, 8))  # cut by the balance, part of the source all the same
    assert of_folder(tree).checksum != renamed.checksum


def test_the_checksum_is_sha256_of_names_lengths_and_bytes(tree):
    files = ["train/a/w.png", "train/a/x.png", "train/b/1.png", "train/b/2.PNG", "train/b/3.png"]
    files += ["test/a/1.png", "test/a/2.png", "test/b/1.png"]
    stream = b""
    for name in files:
        content = (tree / name).read_bytes()
        stream += name.encode() + b"\0" + struct.pack(">Q", len(content)) + content
    assert of_folder(tree).checksum == hashlib.sha256(stream).hexdigest()


def test_hidden_and_foreign_files_are_passed_over(tree):
    before = of_folder(tree)
    (tree / "train/a/.hidden.png").write_bytes(b"no image")
    (tree / "train/a/notes.txt").write_text("no image")
    (tree / "train/a/folder.png").mkdir()
    (tree / "train/a/folder.png/deeper").mkdir()
    (tree / "train/.git").mkdir()
    (tree / "train/readme.png").write_bytes(b"no class folder")
    assert of_folder(tree).checksum == before.checksum


def test_colour_images_keep_their_channels_last(tree):
    for number, file in enumerate(sorted(tree.rglob("*.[pP][nN][gG]"))):
        write(file, np.array([[[number, 0, 0], [0, 0, 0]]], dtype=np.uint8))
    write(tree / "train/a/x.png", np.array([[[255, 0, 51], [0, 102, 0]]], dtype=np.uint8))
    write(tree / "train/a/w.png", np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8))
    made = of_folder(tree)
    assert made.shape == (1, 2, 3)
    assert made.train_images[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(made.train_images[1], torch.tensor([255, 0, 51, 0, 102, 0]) / 255)


def test_one_coloured_image_makes_the_whole_tree_rgb(tree):
    write(tree / "test/a/2.png", np.array([[[255, 0, 51], [0, 102, 0]]], dtype=np.uint8))
    made = of_folder(tree)
    assert made.shape == (1, 2, 3)
    assert torch.equal(made.train_images[1], torch.tensor([204, 204, 204, 255, 255, 255]) / 255)
    assert torch.equal(made.test_images[1], torch.tensor([255, 0, 51, 0, 102, 0]) / 255)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(np.array([[False, True]])), [0, 1]),  # mode 1
        (Image.fromarray(np.array([[[51, 255], [102, 255]]], dtype=np.uint8), "LA"), [0.2, 0.4]),
        (Image.fromarray(np.array([[13107, 65535]], dtype=np.uint16)), [0.2, 1]),  # mode I;16
        (Image.fromarray(np.array([[51, 255]], dtype=np.uint8)).convert("P"), [0.2, 0.2, 0.2, 1, 1, 1]),
        # what is transparent lies on white: of 51 with the weight 0.4, 0.4 * 0.2 + 0.6
        (
            Image.fromarray(np.array([[[51, 0, 255, 0], [0, 102, 0, 255]]], dtype=np.uint8), "RGBA"),
            [1, 1, 1, 0, 0.4, 0],
        ),
        (Image.fromarray(np.array([[[51, 102], [0, 0]]], dtype=np.uint8), "LA"), [173 / 255, 1]),  # of 8 bits
        (Image.fromarray(np.array([[2, 7]], dtype=np.uint8)), [2 / 255, 7 / 255]),
    ],
    ids=["1", "LA", "I;16", "P", "RGBA", "LA transparent", "L"],
)
def test_every_png_mode_is_read_at_its_own_scale(tmp_path, image, expected):
    image.save(tmp_path / "image.png")
    pixels, content = dataset.read_image(tmp_path / "image.png")
    assert pixels.dtype == np.float32 and content == (tmp_path / "image.png").read_bytes()
    assert pixels.shape == (1, 2, len(expected) // 2)
    assert pixels.reshape(-1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_jpeg_files_are_read(tmp_path, mode, channels):
    Image.new("L", (16, 8), 204).convert(mode).save(tmp_path / "image.jpeg", quality=95)
    pixels, _ = dataset.read_image(tmp_path / "image.jpeg")
    assert pixels.shape == (8, 16, channels)
    assert pixels == pytest.approx(np.full(pixels.shape, 0.8), abs=0.02)  # JPEG rounds


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([51, 0, 0, 0, 102, 0])
    image.save(tmp_path / "image.png", transparency=0)
    pixels, _ = dataset.read_image(tmp_path / "image.png")
    assert pixels.reshape(-1) == pytest.approx([1, 1, 1, 0, 0.4, 0])


@pytest.mark.parametrize(("kind", "orientations"), [("png", range(1, 9)), ("jpg", range(1, 9))])
def test_an_image_is_turned_as_its_camera_noted(tmp_path, kind, orientations):
    """Stored as EXIF defines each orientation, by where row 0 and column 0 of the stored image are seen."""
    upright = np.kron(np.array([[0, 90, 180], [250, 40, 130]], dtype=np.uint8), np.ones((8, 8), dtype=np.uint8))
    stored = {
        1: upright,
        2: upright[:, ::-1],  # row 0 is the top, column 0 the right-hand side
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # left, top
        6: np.rot90(upright),  # right, top
        7: upright[::-1, ::-1].T,  # right, bottom
        8: np.rot90(upright, -1),  # left, bottom
    }
    for orientation in orientations:
        image, exif = Image.fromarray(np.ascontiguousarray(stored[orientation])), Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / f"image.{kind}", exif=exif, **({"quality": 95} if kind == "jpg" else {}))
        pixels, _ = dataset.read_image(tmp_path / f"image.{kind}", (tmp_path, (16, 24)))
        assert pixels[..., 0] * 255 == pytest.approx(upright, abs=6), orientation


def png(bits: int, colours: int, row: bytes, *chunks: tuple[bytes, bytes], width: int = 2, height: int = 1) -> bytes:
    """A PNG file by the format's definition, with pixels for one row."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


@pytest.mark.parametrize(
    ("bits", "row", "expected"), [(1, b"\x40", [0, 1]), (2, b"\x90", [2 / 3, 1 / 3]), (4, b"\x3f", [0.2, 1])]
)
def test_grey_images_of_few_bits_are_scaled(tmp_path, bits, row, expected):
    (tmp_path / "image.png").write_bytes(png(bits, 0, row))
    assert dataset.read_image(tmp_path / "image.png")[0].reshape(-1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(16, 2, bytes(12)), "16 bits with colours or transparency"),  # Pillow gives 8 bits of them
        (png(16, 6, bytes(16)), "16 bits with colours or transparency"),
        (png(16, 4, bytes(8)), "16 bits with colours or transparency"),
        (png(16, 0, bytes(4), (b"tRNS", b"\0\0")), "16 bits with colours or transparency"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "fetch the image itself"),
        (b"/annex/objects/MD5E-s1--00.png\n", "fetch the image itself"),
    ],
)
def test_an_image_that_would_lose_something_is_refused(tmp_path, content, message):
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(ValueError, match=rf"image\.png: cannot be read .*{message}"):
        dataset.read_image(tmp_path / "image.png")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.new("L", (2, 2), value) for value in (0, 100)]
    frames[0].save(tmp_path / "image.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"image\.png: .*an animation; expected one image"):
        dataset.read_image(tmp_path / "image.png")


# ---------------------------------------------------------------- what would not be used


def fill(root: Path, numbers: dict[str, int]) -> Path:
    """Different 1 x 2 images, so many in each folder of the tree."""
    values = iter(range(1000))
    for folder, number in numbers.items():
        for k in range(number):
            write(root / folder / f"{k}.png", grey(*divmod(next(values), 256)))
    return root


EVEN = {"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2}


def of_other_kinds(root: Path) -> None:
    (root / "train/b/0.png").rename(root / "train/b/0.webp")
    (root / "train/b/1.png").rename(root / "train/b/1.webp")
    (root / "train/a/2.png").rename(root / "train/a/2")


def deeper(root: Path) -> None:
    (root / "train/b/2019").mkdir()
    for k in (0, 1):
        (root / f"train/b/{k}.png").rename(root / f"train/b/2019/{k}.png")


def unfetched(root: Path) -> None:
    for k, target in enumerate(["../nothing", "1.png"]):  # one leads nowhere, one to itself
        (root / f"train/a/{k}.png").unlink()
        (root / f"train/a/{k}.png").symlink_to(target)


def loose(root: Path) -> None:
    (root / "train/a/0.png").rename(root / "train/0.png")
    (root / "val/a").mkdir(parents=True)


def cut(number: int, total: int, least: str) -> str:
    return f"not used: {number} of {total} training images, because classes are cut to the smallest one's size, {least}"


@pytest.mark.parametrize(
    ("spoil", "sentences"),
    [
        (lambda root: (root / "train/a/notes.txt").touch(), []),
        (of_other_kinds, ["not used: in train/, 2 .webp files, 1 files without an ending", cut(1, 9, "4 of b")]),
        (deeper, ["not used: in train/, 2 files in b/2019/", cut(2, 10, "4 of b")]),
        (unfetched, ["not used: in train/, 2 links that lead nowhere", cut(2, 10, "4 of a")]),
        (
            loose,
            [
                "not used: the folder val/, which is neither train nor test",
                "not used: in train/, 1 files in no class",
                cut(1, 11, "5 of a"),
            ],
        ),
        (lambda root: (root / "train/a/more").symlink_to(root / "test"), ["not used: in train/, 4 files in a/more/"]),
    ],
    ids=["notes", "kinds", "deeper", "links", "loose", "linked"],
)
def test_what_is_not_used_is_told_when_planning_and_in_the_log(tmp_path, caplog, spoil, sentences):
    root = fill(tmp_path / "pictures", EVEN)
    spoil(root)
    assert sources.left_out({"source": "folder", "folder": str(root)}) == sentences
    of_folder(root)
    assert [line.message for line in caplog.records] == [f"{root}: {sentence}" for sentence in sentences]


def mostly_other(root: Path) -> None:
    for k in range(3):
        (root / f"train/b/{k}.png").rename(root / f"train/b/{k}.webp")


def all_deeper(root: Path) -> None:
    (root / "train/b").rename(root / "b")
    (root / "train/b").mkdir()
    (root / "b").rename(root / "train/b/2019")


def all_unfetched(root: Path) -> None:
    for file in (root / "test/a").iterdir():
        file.unlink()
        file.symlink_to("../../.git/annex/objects/nothing")


def one_image_in_a_class(root: Path) -> None:
    for k in range(1, 6):
        (root / f"train/b/{k}.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (mostly_other, r"train/b: the class has 3 images, and 3 \.webp files; expected files ending in \.png"),
        (all_deeper, r"train/b: the class has 0 images, and 6 files in b/2019/; expected"),
        (all_unfetched, r"test/a: the class has 0 images, and 2 links that lead nowhere; expected"),
        (
            lambda root: (root / "train/a/loop").symlink_to("."),
            r"train/a: the class has 6 images, and 6 files in a/loop/; expected",
        ),
        (
            lambda root: fill(root, {"train/a": 20, "train/c": 20, "test/c": 1}) and one_image_in_a_class(root),
            r"train: classes are cut to the smallest one's size, 1 of b, and 38 of 41 images would not",
        ),
    ],
    ids=["kinds", "deeper", "links", "loop", "single"],
)
def test_a_tree_of_which_half_or_more_would_not_be_used_is_refused_when_planning(tmp_path, spoil, message):
    root = fill(tmp_path / "pictures", EVEN)
    spoil(root)
    with pytest.raises(ValueError, match=message):
        sources.folder_classes(root)


@pytest.mark.parametrize(
    "copy", ["train/a/copy.png", "train/b/copy.png", "test/a/copy.png"], ids=["class", "classes", "splits"]
)
def test_two_equal_images_are_refused_by_their_names(tmp_path, copy):
    root = fill(tmp_path / "pictures", EVEN)
    Image.open(root / "train/a/1.png").save(root / copy, compress_level=0)  # other bytes, the same pixels
    with pytest.raises(ValueError, match=rf"{copy}: has the same pixels as .*/train/a/1\.png, the first of 1 such"):
        of_folder(root)


@pytest.mark.parametrize("name", ["two\nlines", "two\nlines.png", "caf\udce9.png"])
def test_a_name_that_no_message_can_hold_is_refused_when_planning(tmp_path, name):
    root = fill(tmp_path / "pictures", EVEN)
    if name.endswith(".png"):
        (root / "train/a/0.png").rename(root / "train/a" / name)
    else:
        for split in ("train", "test"):
            (root / split / "a").rename(root / split / name)
    with pytest.raises(ValueError, match="expected a path of UTF-8 without control characters") as found:
        sources.image_files({"source": "folder", "folder": str(root)})
    assert str(found.value).encode()  # can be printed


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    fill(tmp_path / "pictures", EVEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = dataset.build({"source": "folder", "folder": "~/pictures"})
    assert made.checksum == of_folder(tmp_path / "pictures").checksum and made.name == "pictures"


# ---------------------------------------------------------------- folders that are refused


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def one_class(root: Path) -> None:
    remove(root / "train/b")
    remove(root / "test/b")


def no_class(root: Path) -> None:
    one_class(root)
    remove(root / "train/a")
    remove(root / "test/a")


def empty_class(root: Path) -> None:
    remove(root / "test/b")
    (root / "test/b").mkdir()
    (root / "test/b/image.gif").write_bytes(b"GIF89a")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, r"pictures: no such folder; expected one with images in train/<class>/ and test/<class>/"),
        (lambda root: remove(root / "train"), r"pictures: has no folder train;"),
        (lambda root: remove(root / "test"), r"pictures: has no folder test;"),
        (lambda root: remove(root / "test/b"), r"classes in train only: b; .*Add .*test/b or remove .*train/b"),
        (lambda root: remove(root / "train/a"), r"classes in test only: a; .*Add .*train/a or remove .*test/a"),
        (one_class, r"pictures/train: classes found: a; expected the folders of two or more"),
        (no_class, r"pictures/train: classes found: none; expected"),
        (
            empty_class,
            r"pictures/test/b: the class has 0 images, and 1 \.gif files; expected files ending in \.png, \.jpg, \.j",
        ),
    ],
)
def test_a_tree_with_missing_parts_is_refused_at_planning_time_too(tree, spoil, message):
    spoil(tree)
    with pytest.raises(ValueError, match=message):
        sources.folder_classes(tree)
    with pytest.raises(ValueError, match=message):
        of_folder(tree)


def test_a_file_in_place_of_the_folder_is_refused(tree):
    with pytest.raises(ValueError, match=r"1\.png: no such folder"):
        sources.folder_classes(tree / "train/b/1.png")


def test_a_folder_that_cannot_be_listed_is_refused(tree, monkeypatch):
    def denied(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(sources.os, "scandir", denied)
    with pytest.raises(ValueError, match=r"pictures: cannot be listed: .*Permission denied"):
        sources.folder_classes(tree)


def test_images_of_two_sizes_are_refused_with_file_and_sizes(tree):
    write(tree / "test/a/2.png", np.zeros((5, 3), dtype=np.uint8))
    message = r"test/a/2\.png: is 3 x 5 pixels \(width x height\); expected 2 x 1, the size of .*train/a/w\.png"
    with pytest.raises(ValueError, match=message):
        of_folder(tree)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a\x01\x00\x01\x00"])
def test_a_file_that_is_no_image_is_refused_by_name(tree, content):
    (tree / "train/b/2.PNG").write_bytes(content)
    with pytest.raises(ValueError, match=r"train/b/2\.PNG: cannot be read as a PNG or JPEG image \("):
        of_folder(tree)


def test_truncated_images_are_refused_by_name(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    for name in ("image.png", "image.jpg"):
        noise.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"{name}: cannot be read .*truncated"):
            dataset.read_image(tmp_path / name)


def test_a_decompression_bomb_is_refused_by_name_before_it_is_unpacked(tmp_path):
    for side in (10_000, 60_000):  # 1e8 and 3.6e9 pixels: a warning and an error of Pillow's
        (tmp_path / "bomb.png").write_bytes(png(1, 0, bytes(1000), width=side, height=side))
        with pytest.raises(ValueError, match=r"bomb\.png: cannot be read .*decompression bomb"):
            dataset.read_image(tmp_path / "bomb.png")


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, kind)
    return buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG"]))
def test_a_damaged_file_is_read_or_refused_by_name_and_nothing_else(tmp_path_factory, data, kind):
    content = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.png"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels, _ = dataset.read_image(file)
    except ValueError as error:
        assert str(error).startswith(f"{file}: cannot be read as a PNG or JPEG image (")
    else:
        assert pixels.ndim == 3 and 0 <= pixels.min() <= pixels.max() <= 1
