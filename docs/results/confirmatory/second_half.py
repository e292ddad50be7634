"""What was registered for the second half alone: the relaxed speed after 70 noise-free steps against that after 40.

python docs/results/confirmatory/second_half.py         writes second_half.csv here, from the published tables
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))
from memrnn.core.stats import bootstrap, pooled_rho  # noqa: E402  the library is used from where it lies

SEEDS, TIMES = range(116, 132), (40, 70)
RESAMPLES, CONFIDENCE = 2000, 0.95
POINT = ["curriculum", "seed", "label"]


def main(tables: Path) -> None:
    scores = pd.read_csv(tables / "scores.csv").query("phase == 'trained' and learned")
    relaxed = pd.read_csv(tables / "relaxed.csv")
    rows = []
    for cell in ("gru", "lstm"):
        memory = scores[(scores.cell == cell) & scores.seed.isin(SEEDS)].set_index(POINT).memory_score
        memory = memory.unstack("label").sort_index()
        clusters = memory.index.get_level_values("seed").to_numpy()
        rho = {}
        for time in TIMES:
            speed = relaxed[(relaxed.cell == cell) & (relaxed.time == time)].set_index(POINT).speed.unstack("label")
            rho[time] = pooled_rho(speed.loc[memory.index].to_numpy(), memory.to_numpy())
        statistics = {
            **{f"rho after {time} steps": of for time, of in rho.items()},
            "difference": lambda weights, rho=rho: rho[70](weights) - rho[40](weights),
        }
        for name, statistic in statistics.items():
            bounds = (-2, 2) if name == "difference" else (-1, 1)
            found = bootstrap(statistic, clusters, np.random.SeedSequence(0), RESAMPLES, CONFIDENCE, bounds)
            rows.append([cell, name, *found[:3], len(memory)])
    table = pd.DataFrame(rows, columns=["cell", "measure", "value", "low", "high", "networks"])
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.4g")
    print(table.to_string())


if __name__ == "__main__":
    main(Path(__file__).parent / "tables")
