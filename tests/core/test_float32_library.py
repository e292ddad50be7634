"""Which library multiplies float32 matrices: never one that rounds."""

from collections.abc import Iterator

import pytest
import torch

from memrnn.core import jobs
from memrnn.core.jobs import FEW_MULTIPLICATIONS, float32_library


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.backends.mkldnn.matmul.fp32_precision
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before


def errors(rows: int, inner: int, columns: int) -> float:
    """Relative error of a product, in float32 roundings."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
    exact = left.double() @ right.double()
    return float((left @ right - exact).norm() / exact.norm()) / torch.finfo(torch.float32).eps


@pytest.mark.parametrize("wanted", ["auto", "mkl"])
@pytest.mark.parametrize("shape", [(10, 100, 200), (128, 784, 600), (333, 65, 300)])
def test_whichever_is_chosen_products_are_float32(wanted, shape):
    float32_library(wanted)
    assert errors(*shape) < 10  # bfloat16 errs by 2^15 roundings of float32


def test_a_library_that_rounds_is_found_out(monkeypatch):
    """As on processors with AMX, where oneDNN would take the permission to round."""
    plain = torch.Tensor.__matmul__

    def rounding(left, right):
        if torch.backends.mkldnn.matmul.fp32_precision == "bf16":
            return plain(left.bfloat16(), right.bfloat16()).float()
        return plain(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    monkeypatch.setattr(jobs, "_amd_with_avx512", lambda: True)
    assert float32_library("auto") == "mkl"
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    with pytest.raises(ValueError, match=r"engine\.float32_library: found onednn, .* rounds .*; expected auto or mkl"):
        float32_library("onednn")
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


def test_small_products_and_other_processors_stay_with_mkl(monkeypatch):
    monkeypatch.setattr(jobs, "_amd_with_avx512", lambda: True)
    assert float32_library("auto", FEW_MULTIPLICATIONS - 1) == "mkl"
    large = float32_library("auto", FEW_MULTIPLICATIONS)
    assert (torch.backends.mkldnn.matmul.fp32_precision == "bf16") == (large == "onednn")
    monkeypatch.setattr(jobs, "_amd_with_avx512", lambda: False)
    assert float32_library("auto") == "mkl"
