"""Exploratory: which part of an LSTM's speed goes with memory? Writes lstm.csv here, from the arrays of the run.

python docs/results/confirmatory/lstm.py results/confirmatory

The speed of the study is that of h and tanh c together (docs/method.md). Here it is taken apart: h alone, tanh c alone,
and c itself, which can drift where tanh c is saturated. Beside them stand how far a search moved its state, and how
large c is. Places: the centroid, 40 and 70 noise-free steps from it, and the points of the search.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))
from memrnn.core.files import load_arrays  # noqa: E402  the library is used from where it lies
from memrnn.core.stats import bootstrap, mean_interval, pooled_rho, rank_correlation  # noqa: E402
from memrnn.models import networks  # noqa: E402
from memrnn.models.networks import Networks  # noqa: E402

TIMES = (0, 40, 70)
RESAMPLES, CONFIDENCE = 2000, 0.95


def observables(ensemble: Networks, x: torch.Tensor, state: tuple, start: tuple) -> dict[str, torch.Tensor]:
    """Each (networks, classes), of states h and c, both (networks, classes, units)."""
    (h, c), (h_after, c_after), (h_start, c_start) = state, ensemble.step(state, x), start
    return {
        "h and tanh c": ((h_after - h).square().sum(-1) + (c_after.tanh() - c.tanh()).square().sum(-1)).sqrt(),
        "h": (h_after - h).norm(dim=-1),
        "tanh c": (c_after.tanh() - c.tanh()).norm(dim=-1),
        "c": (c_after - c).norm(dim=-1),
        "distance moved": ((h - h_start).square().sum(-1) + (c.tanh() - c_start.tanh()).square().sum(-1)).sqrt(),
        "mean |c|": c.abs().mean(-1),
    }


@torch.no_grad()
def places(points: Path, trained: Path) -> Iterator[tuple[str, int, dict[str, torch.Tensor], list[int]]]:
    """Observables of a block's networks at every place."""
    arrays, meta = load_arrays(points)
    ensemble = networks.load(trained)[0].to(torch.float64)
    x = arrays["held_input"].double().unsqueeze(1)
    start = tuple(arrays[f"centroid.{part}"].double() for part in range(2))
    state = start
    for time in range(max(TIMES) + 1):
        if time in TIMES:
            yield "noise-free steps", time, observables(ensemble, x, state, start), meta["seeds"]
        state = ensemble.step(state, x)
    for budget, steps in enumerate(meta["search_steps"]):
        state = tuple(arrays[f"points.{part}"][budget].double() for part in range(2))
        yield "search steps", steps, observables(ensemble, x, state, start), meta["seeds"]


def main(results: Path) -> None:
    scores = pd.read_csv(results / "tables" / "scores.csv").query("cell == 'lstm' and phase == 'trained'")
    memory = scores.set_index(["curriculum", "seed", "label"]).memory_score
    found: dict[tuple[str, int, str], list[tuple[str, int, list[float]]]] = {}
    for points in sorted((results / "slow_points" / "train").glob("lstm-*/*.safetensors")):
        protocol = points.parent.name.removeprefix("lstm-")
        trained = results / "train" / points.parent.name / points.name
        for place, steps, values, seeds in places(points, trained):
            for name, of in values.items():
                rows = [(protocol, seed, of[at].tolist()) for at, seed in enumerate(seeds)]
                found.setdefault((place, steps, name), []).extend(rows)
    rows = []
    for (place, steps, name), of_networks in found.items():
        x = np.array([values for *_, values in of_networks])
        if np.ptp(x) == 0:  # nothing has moved at the start
            continue
        y = np.array([memory[protocol, seed].sort_index().to_numpy() for protocol, seed, _ in of_networks])
        clusters = np.array([seed for _, seed, _ in of_networks])
        pooled = bootstrap(pooled_rho(x, y), clusters, np.random.SeedSequence(0), RESAMPLES, CONFIDENCE)
        within = mean_interval(rank_correlation(x, y), CONFIDENCE, bounds=(-1, 1))
        rows.append([place, steps, name, len(x), np.median(x), *pooled[:3], *within])
    columns = ["place", "steps", "observable", "networks", "median", "rho", "low", "high"]
    columns += ["within_rho", "within_low", "within_high"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.4g")
    print(table.round(2).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
