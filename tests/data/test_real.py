"""The real files of published image sets, where they can be had: .ci/run fetches what Debian has, and names folders."""

import os

import pytest

from memrnn.data import dataset
from memrnn.data.images import ImageSet


def built(name: str, files_of: str | None = None) -> ImageSet:
    """The image set of a source, from the folder that MEMRNN_<SET> names."""
    variable = f"MEMRNN_{(files_of or name).upper()}"
    if not os.environ.get(variable):
        pytest.skip(f"no files of {files_of or name}: {variable} names no folder")
    return dataset.build({"source": name, "folder": None, "data_dir": os.environ[variable]})


def test_mnist_has_the_published_statistics():
    made = built("mnist")
    assert made.counts("train").tolist() == [5421] * 10 and len(made.test_labels) == 10000
    # published for all 60,000 images
    assert made.mean == pytest.approx(0.1307, abs=5e-5) and made.std == pytest.approx(0.3081, abs=5e-5)


def test_mnist10k_is_made_of_the_test_images_alone():
    made = built("mnist10k", files_of="mnist")
    # 892 images of the smallest class, five: four fifths of them stay to train on
    assert made.counts("train").tolist() == [714] * 10
    assert made.counts("test").tolist() == [196, 227, 206, 202, 196, 178, 192, 206, 195, 202]
    assert made.shape == (28, 28, 1) and made.train_images.max() == 1


def test_fashion_mnist_is_balanced_and_has_the_published_statistics():
    made = built("fashion_mnist")
    assert made.counts("train").tolist() == [6000] * 10 and made.counts("test").tolist() == [1000] * 10
    assert made.mean == pytest.approx(0.2860, abs=5e-5) and made.std == pytest.approx(0.3530, abs=5e-5)


def test_cifar10_has_the_published_statistics():
    made = built("cifar10")
    assert made.shape == (32, 32, 3)
    assert made.counts("train").tolist() == [5000] * 10 and made.counts("test").tolist() == [1000] * 10
    assert made.mean == pytest.approx(0.4734, abs=5e-5) and made.std == pytest.approx(0.2517, abs=2e-4)
