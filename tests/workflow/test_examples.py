"""Examples of the documentation: what they find is what the task makes necessary, and pages show what comes out."""

import contextlib
import io
import json
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from conftest import load_script

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def example():
    return load_script(DOCS / "examples" / "flip_flop.py")


def test_targets_are_the_signs_of_the_last_pulses(example):
    inputs, targets = example.draw_trials(30, torch.Generator().manual_seed(0))
    assert inputs.shape == targets.shape == (example.TRIAL_STEPS, 30, 3)
    last = torch.zeros(30, 3)
    for x, target in zip(inputs, targets, strict=True):
        last = torch.where(x != 0, x, last)
        assert torch.equal(target, last)
    assert (inputs[0].abs() == 1).all()
    assert (inputs[1:] != 0).float().mean() == pytest.approx(example.PULSE, abs=0.02)


def test_three_bits_are_eight_memories_with_saddles_between_them(example, tmp_path, monkeypatch):
    """Trained for less long than in the documentation; the figure is drawn."""
    networks = []
    train = example.train
    monkeypatch.setattr(example, "train", lambda *settings: networks.append(train(*settings)) or networks[-1])
    table = example.main(["--out", str(tmp_path / "portrait.png"), "--updates", "500"])
    assert (tmp_path / "portrait.png").stat().st_size > 20_000
    ((cell, readout),) = networks
    every = {"".join(bits) for bits in product("+−", repeat=3)}

    memories = table[table.kind == "memory"]
    outputs = memories[["bit 1", "bit 2", "bit 3"]].to_numpy()
    assert len(memories) == 8
    assert set(example.signs(torch.tensor(outputs))) == every
    assert (memories["largest |λ|"] < 1).all() and (abs(outputs) > 0.7).all()
    # A network told the bits, and left alone for long, is where the search says its memory is.
    told = torch.tensor([[1.0 if sign == "+" else -1.0 for sign in bits] for bits in sorted(every)]).double()
    h = torch.zeros(8, example.UNITS).double()
    for x in [told, *[torch.zeros_like(told)] * 500]:
        h = cell(x, h)
    kept = dict(zip(sorted(every), readout(h).tolist(), strict=True))
    for bits, row in zip(example.signs(torch.tensor(outputs)), outputs.tolist(), strict=True):
        assert row == pytest.approx(kept[bits], abs=0.02)

    edges = table[table.kind == "saddle, 1 direction"]
    assert len(edges) >= 8
    assert edges.between.is_unique
    for between in edges.between:
        one, other = between.split()
        assert sum(a != b for a, b in zip(one, other, strict=True)) == 1  # neighbours
    assert (table["largest |λ|"][table.kind != "memory"] > 1).all()
    assert (table.speed < 1e-9).all()


def test_the_finder_s_page_shows_what_its_programs_print(tmp_path, monkeypatch):
    page = (DOCS / "finder.md").read_text(encoding="utf-8")
    first, *others = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert 9 <= len([line for line in first.splitlines() if line]) <= 12, "ten lines, about"
    shown = re.search(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for program in (first, *others):
            exec(compile(program, "finder.md", "exec"), names)

    def without_rounding(text: str) -> list[str]:
        return re.sub(r"\S+e-1\d", "rounding", text).split()

    assert without_rounding(printed.getvalue()) == without_rounding(shown)
    assert (tmp_path / "points.png").exists() and len(names["slow"]) == 2


def test_the_notebook_runs_and_finds_two_memories_and_a_saddle(tmp_path, monkeypatch):
    cells = json.loads((DOCS / "examples" / "finder.ipynb").read_text(encoding="utf-8"))["cells"]
    monkeypatch.chdir(tmp_path)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in cells:
            if cell["cell_type"] == "code":
                assert not cell["outputs"], "the notebook is kept without outputs"
                exec(compile("".join(cell["source"]), "finder.ipynb", "exec"), names)
    assert names["rests"].kind.tolist() == ["stable", "stable", "saddle"]
    memories = sorted(
        answer for kind, answer in zip(names["rests"].kind, names["answers"].tolist(), strict=True) if kind == "stable"
    )
    assert memories == pytest.approx([-1, 1], abs=0.15)
