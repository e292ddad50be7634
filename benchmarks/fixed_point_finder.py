"""Our finder of fixed points against FixedPointFinder (Golub & Sussillo 2018): same network, starts and tolerance.

    git clone https://github.com/mattgolub/fixed-point-finder
    python benchmarks/fixed_point_finder.py --peer fixed-point-finder

The network is that of docs/examples/flip_flop.py, a GRU that keeps three bits; so are the starts. The peer's searches
stop where ours do, at q = S^2 / 2 of the same speed S; its Jacobians are left out, ours are not. Both run on one
thread, in float64 and in turns, in rotating order. A time is the processor's, so others on the machine disturb it
little. One function judges what both bring back: how many searches came to rest, and at how many different points.

Without --peer only ours is timed. Prints the table and writes it to results/bench/fixed_point_finder.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "lib"))  # of this clone, whatever the shell says

from memrnn import find_fixed_points
from memrnn.core.files import save_json, save_table
from memrnn.core.jobs import prepare_process
from memrnn.run import provenance

ROOT = Path(__file__).parents[1]
SAME = 1e-3  # largest difference of a coordinate within one point
RATES = (1.0, 0.1, 0.03, 0.01, 0.003)  # of the peer's descent; the first is its default
PEER_STEPS = 5000  # its default


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problem(updates: int, starts: int) -> tuple[torch.nn.GRU, Tensor]:
    """The trained network as a layer, and states of trials and half-way between two of them, (starts, units)."""
    example = module_of(ROOT / "docs" / "examples" / "flip_flop.py")
    cell, _ = example.train(updates, seed=0)
    layer = torch.nn.GRU(example.BITS, example.UNITS, batch_first=True, dtype=torch.float64)
    layer.load_state_dict({f"{name}_l0": values for name, values in cell.state_dict().items()})
    generator = torch.Generator().manual_seed(1)
    states = example.run(cell, example.draw_trials(100, generator)[0].double()).flatten(0, 1)
    one, other = states[torch.randperm(len(states), generator=generator)][: starts // 2 * 2].chunk(2)
    return layer, torch.cat([one, (one + other) / 2])


def ours(layer: torch.nn.GRU, start: Tensor, tolerance: float) -> Tensor:
    """State at which each search ended."""
    found = find_fixed_points(layer, start, torch.zeros(layer.input_size), tolerance=tolerance, same=SAME)
    return found.flat[found.ends[0]]


def theirs(peer: ModuleType, layer: torch.nn.GRU, start: Tensor, tolerance: float, rate: float, steps: int) -> Tensor:
    """The same by FixedPointFinder."""
    with contextlib.redirect_stdout(io.StringIO()):
        finder = peer.FixedPointFinderTorch(
            layer, lr_init=rate, tol_q=tolerance**2 / 2, max_iters=steps, tol_unique=SAME, dtype="float64",
            do_compute_jacobians=False, verbose=False,
        )  # fmt: skip
        # A copy: its descent writes over the array that it is given.
        _, every = finder.find_fixed_points(start.numpy().copy(), np.zeros((1, layer.input_size)))
    return torch.from_numpy(every.xstar)


def judge(layer: torch.nn.GRU, state: Tensor, tolerance: float) -> dict[str, float]:
    """How many searches came to rest, and at how many different points."""
    with torch.no_grad():
        after = layer(state.new_zeros(len(state), 1, layer.input_size), state.unsqueeze(0))[1][0]
    rests = (after - state).norm(dim=1) <= tolerance
    places = state[rests].numpy()
    groups = fcluster(linkage(places, metric="chebyshev"), SAME, "distance") if len(places) > 1 else places[:, :0]
    return {"starts": len(state), "at_rest": int(rests.sum()), "points": len(np.unique(groups)) if len(groups) else 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="folder of a checkout of FixedPointFinder")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="learning rates of the peer")
    parser.add_argument("--peer-steps", type=int, default=PEER_STEPS)
    parser.add_argument("--tolerance", type=float, default=1e-6, help="speed at which a point rests")
    parser.add_argument("--starts", type=int, default=1200)
    parser.add_argument("--updates", type=int, default=1000, help="of training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    prepare_process(1)
    layer, start = problem(options.updates, options.starts)
    searches: dict[tuple[str, float], Callable[[], Tensor]] = {
        ("memrnn", np.nan): lambda: ours(layer, start, options.tolerance)
    }
    if options.peer is not None:
        sys.path.insert(0, str(options.peer))
        peer = module_of(options.peer / "FixedPointFinderTorch.py")
        for rate in options.rates:
            searches["FixedPointFinder", rate] = lambda rate=rate: theirs(
                peer, layer, start, options.tolerance, rate, options.peer_steps
            )
    ours(layer, start[:20], options.tolerance)  # the first use of some functions loads them
    seconds, ends = {name: [] for name in searches}, {}
    for turn in range(options.rounds):
        names = list(searches)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            before = time.process_time()
            ends[name] = searches[name]()
            seconds[name].append(time.process_time() - before)
    rows = [
        {
            "benchmark": "fixed_point_finder", "method": method, "learning_rate": rate,
            "median_s": np.median(seconds[method, rate]), "low_s": min(seconds[method, rate]),
            "high_s": max(seconds[method, rate]),
            "ratio": np.median(np.divide(seconds[method, rate], seconds["memrnn", np.nan])),
            **judge(layer, ends[method, rate], options.tolerance), "tolerance": options.tolerance,
            "rounds": options.rounds,
        }
        for method, rate in searches
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    save_table(options.out / "fixed_point_finder.csv", table)
    save_json(
        options.out / "fixed_point_finder.json",
        {"machine": provenance.machine(), "versions": provenance.versions()},
    )
    print(table.drop(columns=["benchmark", "tolerance", "rounds"]).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
