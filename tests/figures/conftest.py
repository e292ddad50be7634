"""Tables for tests of figures, and each figure drawn from them once."""

import functools

import pytest

from .made import draw, make_tables


@pytest.fixture(scope="session")
def tables():
    return make_tables()


@pytest.fixture(scope="session")
def drawn(tables):
    """Figure of the full tables by name, each drawn once; tests look at it and leave it as it is."""
    return functools.cache(lambda name: draw(name, tables))
