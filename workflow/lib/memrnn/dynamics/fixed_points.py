"""What a search for fixed points found: states, kinds, eigenvalues; as a table, a file, a figure."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from memrnn.core.files import load_arrays, save_arrays
from memrnn.models.cell import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STABLE, SADDLE, MARGINAL, GHOST, SLOPE, UNDECIDED = "stable", "saddle", "marginal", "ghost", "slope", "undecided"
KINDS = (STABLE, SADDLE, MARGINAL, GHOST, SLOPE, UNDECIDED)
# Colours of Okabe and Ito, and shapes, so that kinds can be told apart in print.
STYLES = {
    STABLE: ("#009E73", "o"),
    SADDLE: ("#D55E00", "X"),
    MARGINAL: ("#E69F00", "D"),
    GHOST: ("#0072B2", "s"),
    SLOPE: ("#999999", "^"),
    UNDECIDED: ("#000000", "v"),
}


@dataclasses.dataclass(frozen=True)
class FixedPoints:
    """Different points that searches ended at, the slowest first; every field has a row for each.

    Attributes:
        flat: states, (points, n): the parts side by side, of a layer bottom first; `state` has them as the map does.
        speed: ||F(s) - s|| at the state, (points,); neither squared nor halved.
        kind: (points,), texts. At rest are `stable`, `saddle` and `marginal` (no eigenvalue is outside the unit circle,
            but one cannot be told from it, as on a line of fixed points). Not at rest are `ghost`, a least speed above
            zero; `slope`, from where the speed falls on, further away than `reach` or beyond the bound; `undecided`.
        reason: of a kind, in words, (points,).
        unstable: eigenvalues outside the unit circle, (points,), int64: directions in which a saddle is left.
        eigenvalues: of the Jacobian, (points, n), complex, those of largest modulus first.
        jacobian: of a step, dF/ds, (points, n, n); None if it was not kept.
        condition: which of the inputs was held, (points,), int64.
        multiplicity: how many searches ended there, (points,), int64.
        start: which start led there; where several did, that of the slowest end; (points,), int64.
        distance: between that start and the point, (points,), Euclidean.
        steps: Newton steps from that start, (points,), int64.
        converged: whether the speed came down to the tolerance, (points,).
        outlier: whether the point lies far out: further from the centre of the starts than `outlier` times their mean
            distance from it, (points,).
        at_bound: whether a number of h lies at the bound, which may then be what holds the point, (points,).
        inputs: that were held, (conditions, ...); None if there were none, or they were no tensor.
        ends: row of the point at which each search ended, (conditions, starts), int64; -1 where it was left out.
        settings: what was asked and what defaults came to: tolerance, same, reach, near_one, bound, ...
        form: how `flat` becomes `state`: numbers in each part, layers (0: states without such an axis), whether bare.
    """

    flat: Tensor
    speed: Tensor
    kind: np.ndarray
    reason: np.ndarray
    unstable: Tensor
    eigenvalues: Tensor
    jacobian: Tensor | None
    condition: Tensor
    multiplicity: Tensor
    start: Tensor
    distance: Tensor
    steps: Tensor
    converged: Tensor
    outlier: Tensor
    at_bound: Tensor
    inputs: Tensor | None
    ends: Tensor
    settings: dict[str, Any]
    form: tuple[tuple[int, ...], int, bool]

    @property
    def state(self) -> Tensor | State:
        """States as the map takes them: h, or a tuple; of a layer (layers, points, units)."""
        sizes, layers, bare = self.form
        parts = self.flat.split(sizes, -1)
        if layers:
            parts = [part.unflatten(-1, (layers, -1)).transpose(0, 1) for part in parts]
        return parts[0] if bare else tuple(parts)

    @property
    def q(self) -> Tensor:
        """Half the squared speed, (points,): what FixedPointFinder and Sussillo & Barak (2013) lower."""
        return self.speed.square() / 2

    @property
    def eigenvectors(self) -> Tensor:
        """Right eigenvectors of the Jacobians, (points, n, n), in columns, in the order of `eigenvalues`."""
        if self.jacobian is None:
            raise ValueError("eigenvectors: the Jacobians were not kept; search again with keep_jacobians=True.")
        values, vectors = torch.linalg.eig(self.jacobian.cpu())
        order = values.abs().argsort(dim=-1, descending=True, stable=True)
        return vectors.gather(-1, order.unsqueeze(1).expand_as(vectors)).to(self.flat.device)

    def __len__(self) -> int:
        return len(self.flat)

    def __getitem__(self, which: Any) -> FixedPoints:
        """Some of the points: by a mask, as `found[found.kind == "stable"]`, by rows, or by a slice."""
        if isinstance(which, Tensor):
            which = which.cpu().numpy()
        rows = np.arange(len(self))[which]
        rows = torch.as_tensor(np.atleast_1d(rows), device=self.flat.device)
        place = torch.full((len(self) + 1,), -1, device=self.flat.device)
        place[rows] = torch.arange(len(rows), device=place.device)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, values in fields.items():
            if isinstance(values, np.ndarray):
                fields[name] = values[rows.cpu().numpy()]
            elif isinstance(values, Tensor) and name not in ("inputs", "ends"):
                fields[name] = values[rows]
        return FixedPoints(**fields | {"ends": place[self.ends]})

    def __repr__(self) -> str:
        pairs = zip(self.kind, self.unstable.tolist(), strict=True)
        counts = Counter(sorted((KINDS.index(kind), n if kind == SADDLE else 0) for kind, n in pairs))
        names = [(number, KINDS[kind] + (f" ({n} out)" if n else "")) for (kind, n), number in counts.items()]
        listed = ", ".join(f"{number} {name}" for number, name in names) or "none"
        words = {"outlier": "outliers", "at_bound": "at the bound"}
        flags = [
            f"{int(getattr(self, name).sum())} {word}" for name, word in words.items() if getattr(self, name).any()
        ]
        return (
            f"<FixedPoints: {len(self)} different of {int(self.multiplicity.sum())} searches: {listed}"
            + (f"; {', '.join(flags)}" if flags else "")
            + f"; tolerance {self.settings['tolerance']:.2g}, same within {self.settings['same']:.2g}>"
        )

    def table(self) -> pd.DataFrame:
        """A row for each point: the fields that are one number, q, and what the leading eigenvalue says.

        leading_modulus and leading_angle (radians, 0 to pi) are those of the eigenvalue of largest modulus, and
        time_constant is 1 / |ln leading_modulus|, in steps.
        """
        names = ["condition", "kind", "unstable", "speed", "q", "multiplicity", "distance", "steps", "converged"]
        columns = {name: getattr(self, name) for name in [*names, "outlier", "at_bound", "start", "reason"]}
        leading = self.eigenvalues[:, 0]
        columns |= {"leading_modulus": leading.abs(), "leading_angle": leading.angle().abs()}
        columns["time_constant"] = 1 / leading.abs().log().abs()
        return pd.DataFrame({k: v.cpu().numpy() if isinstance(v, Tensor) else v for k, v in columns.items()})

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, which holds numbers and text and can run no code."""
        arrays, meta = {}, {}
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if isinstance(values, Tensor):
                arrays[field.name] = torch.view_as_real(values) if values.is_complex() else values
            else:
                meta[field.name] = values.tolist() if isinstance(values, np.ndarray) else values
        save_arrays(path, arrays, {"fixed_points": meta})

    @classmethod
    def load(cls, path: str | Path) -> FixedPoints:
        """Read what `save` wrote, onto the CPU.

        Raises:
            ValueError: the file is missing, is damaged, or holds something else.
        """
        arrays, meta = load_arrays(path)
        if "fixed_points" not in meta:
            raise ValueError(f"{path}: found {sorted(meta)}, expected points written by FixedPoints.save.")
        rest = meta["fixed_points"]
        sizes, layers, bare = rest["form"]
        texts = {name: np.array(rest[name], dtype=object) for name in ("kind", "reason")}
        arrays["eigenvalues"] = torch.view_as_complex(arrays["eigenvalues"])
        return cls(**{**rest, **texts, **arrays, "form": (tuple(sizes), layers, bare)})

    def plot(self, trajectories: Tensor | State | None = None, path: str | Path | None = None) -> Figure:
        """Points on two principal components, and their eigenvalues beside the unit circle.

        Args:
            trajectories: states as the map takes them, as of `visited_states`; they are drawn in grey, and the
                components are theirs. None: the components of the points.
            path: where the figure is saved as well; None: nowhere.
        Raises:
            ImportError: matplotlib is missing.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot: matplotlib is missing. Install it, as by: pip install matplotlib") from error
        flat = self.flat.cpu().double().numpy()
        behind = flat if trajectories is None else self._flatten(trajectories)
        centre = behind.mean(0) if len(behind) else np.zeros(flat.shape[1])
        axes = np.linalg.svd(behind - centre, full_matrices=False)[2][:2]
        axes = np.vstack([axes, np.zeros((2 - len(axes), flat.shape[1]))])
        figure = Figure(figsize=(9, 4), layout="constrained")
        plane, circle = figure.subplots(1, 2)
        if trajectories is not None:
            plane.plot(*((behind - centre) @ axes.T).T, ".", color="0.75", markersize=2, zorder=1)
        values = self.eigenvalues.cpu().numpy()
        for kind in [kind for kind in KINDS if (self.kind == kind).any()]:
            colour, marker = STYLES[kind]
            these = self.kind == kind
            style = {
                "color": colour,
                "marker": marker,
                "linewidth": 0.5,
                "edgecolor": "white",
            }
            label = f"{kind} ({these.sum()})"
            plane.scatter(*((flat[these] - centre) @ axes.T).T, s=50, zorder=2, label=label, **style)
            circle.scatter(values[these].real, values[these].imag, s=14, alpha=0.7, **style | {"linewidth": 0})
        angle = np.linspace(0, 2 * np.pi, 200)
        circle.plot(np.cos(angle), np.sin(angle), color="0.5", linewidth=0.8)
        circle.set(xlabel="real part", ylabel="imaginary part", title="eigenvalues of a step", aspect="equal")
        plane.set(xlabel="first component", ylabel="second component", title="states")
        if len(self):
            plane.legend(fontsize="small", frameon=False)
        if path is not None:
            figure.savefig(path, dpi=150)
        figure._repr_png_ = lambda: _png(figure)  # for notebooks, which show other figures only if pyplot made them
        return figure

    def _flatten(self, state: Tensor | State) -> np.ndarray:
        parts = [part.detach().cpu().double() for part in ((state,) if isinstance(state, Tensor) else state)]
        if self.form[1]:
            parts = [part.transpose(0, 1).flatten(1) for part in parts]
        flat = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts], -1)
        if flat.shape[1] != self.flat.shape[1]:
            raise ValueError(
                f"trajectories: found states of {flat.shape[1]} numbers, expected {self.flat.shape[1]}, as the points "
                "have. Give them as the map takes its state, all parts and layers, as visited_states returns them."
            )
        return flat.numpy()


def _png(figure: Figure) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        return file.getvalue()
