"""Eigenvalues of the one-step map, and its slowest direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from memrnn.models.cell import Cell, State

ROUNDING = 1e-9  # a modulus within this of 1 is not told from 1: neither unstable, nor of a finite time constant
SEEN = 0.01  # least share of an eigenvector's length that is observed, for it to be a direction of motion
MOST_SKEW = 1e8  # length of w beyond which eigenvectors are parallel to rounding
DIRECTIONS = ("real", "complex", "no basis", "unseen")  # of `slowest`


def singly(weights: Any, drive: Tensor, state: State) -> Iterator[tuple[Any, Tensor, State]]:
    """Network after network, each an ensemble of one."""
    each = (type(weights)(*parts) for parts in zip(*(part.split(1) for part in weights), strict=True))
    return zip(each, drive.split(1), zip(*(part.split(1) for part in state), strict=True), strict=True)


# ------------------------------------------------------------------------------------------------------- eigenvalues


def jacobians(cell: Cell, weights: Any, drive: Tensor, state: State) -> Iterator[Tensor]:
    """Jacobians of one network's states after another's, (1, points, n, n), on the CPU, where eigenvalues are quick."""
    return (cell.jacobian(own, single, driven).cpu() for own, driven, single in singly(weights, drive, state))


def describe(eigenvalues: Tensor, near_unit: float) -> dict[str, Tensor]:
    """What the spectrum of a one-step map says, each (networks, points).

    The leading eigenvalue is the one of largest modulus: at a stable point it belongs to the slowest direction, at an
    unstable one to the quickest way out.

    Args:
        eigenvalues: complex, (networks, points, n).
        near_unit: an eigenvalue whose modulus differs from 1 by at most this is near the unit circle.
    Returns:
        leading_modulus; leading_angle, in radians from 0 to pi (of a complex pair, the positive one); time_constant,
        1 / |ln leading_modulus| in steps, in which a displacement along the leading direction shrinks or, where the
        modulus is above 1, grows e-fold, at most 1 / ROUNDING; slow_modulus, of the eigenvalue nearest the unit circle
        (in |ln modulus|), which is the leading one of a stable point; unstable, how many moduli are above 1; near_unit,
        the share near the unit circle.
    """
    modulus = eigenvalues.abs()
    leading = modulus.argmax(-1, keepdim=True)
    rate = modulus.clamp(min=torch.finfo(modulus.dtype).tiny).log().abs()
    return {
        "leading_modulus": modulus.gather(-1, leading).squeeze(-1),
        "leading_angle": eigenvalues.gather(-1, leading).squeeze(-1).angle().abs(),
        "time_constant": 1 / rate.gather(-1, leading).squeeze(-1).clamp(min=ROUNDING),
        "slow_modulus": modulus.gather(-1, rate.argmin(-1, keepdim=True)).squeeze(-1),
        "unstable": unstable(eigenvalues),
        "near_unit": ((modulus - 1).abs() <= near_unit).double().mean(-1),
    }


def unstable(eigenvalues: Tensor) -> Tensor:
    """How many of the eigenvalues (..., n) lie outside the unit circle, by more than ROUNDING."""
    return (eigenvalues.abs() > 1 + ROUNDING).sum(-1)


def observed_slopes(cell: Cell, state: State) -> Tensor:
    """Derivative of what is observed of each number of a state, (networks, points, n)."""
    return torch.cat(torch.func.jvp(lambda *s: cell.observe(s), state, tuple(map(torch.ones_like, state)))[1], -1)


def slowest(eigenvalues: Tensor, vectors: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left eigenvector w of the slowest direction: that of the eigenvalue nearest the unit circle, in |ln modulus|.

    Displacements along it last longest, whether they fade or grow; a quick way out is no slow direction. Lengths are
    those in which the speed is measured: w v = 1 for the right eigenvector v with ||D v|| = 1, D the derivative of what
    is observed. A direction in which next to nothing is observed (c of an LSTM where tanh is flat) is passed over.

    Args:
        eigenvalues, vectors: of `torch.linalg.eig`, (networks, points, n) and (networks, points, n, n).
        seen: diagonal of D, (networks, points, n).
    Returns:
        w, complex, (networks, points, n): w (s - s0) is the coordinate of s along v; NaN where it cannot be told.
        ln of the eigenvalue's modulus, per step, below 0 where displacements fade: (networks, points).
        index in `DIRECTIONS`, int64, (networks, points): a real eigenvalue; one of a complex pair; `no basis`, the
        eigenvectors do not span the space, so that there is no w; `unseen`, nothing is observed along any of them.
    """
    vectors = vectors / vectors.norm(dim=-2, keepdim=True)
    length = (seen.unsqueeze(-1) * vectors).norm(dim=-2)
    rate = eigenvalues.abs().clamp(min=torch.finfo(seen.dtype).tiny).log()
    chosen = rate.abs().masked_fill(length < SEEN, torch.inf).argmin(-1, keepdim=True)
    unit = torch.nn.functional.one_hot(chosen.squeeze(-1), eigenvalues.shape[-1]).to(vectors)
    w = torch.linalg.solve_ex(vectors.mT, unit.unsqueeze(-1)).result.squeeze(-1) * length.gather(-1, chosen)
    unseen, basis = (length < SEEN).all(-1), w.norm(dim=-1) < MOST_SKEW
    direction = (eigenvalues.gather(-1, chosen).squeeze(-1).imag != 0).to(torch.int64)
    direction[~basis], direction[unseen] = DIRECTIONS.index("no basis"), DIRECTIONS.index("unseen")
    return w.masked_fill((direction > 1).unsqueeze(-1), torch.nan), rate.gather(-1, chosen).squeeze(-1), direction
