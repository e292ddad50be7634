"""Whether `make verify` finds every kind of damage, and what tables are said to hold."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image

from memrnn.core.files import save_arrays, save_json, save_table, seal_of
from memrnn.core.tables import NETWORK, TABLES, columns_of
from memrnn.run import verify

TABLE = pd.DataFrame(
    {"dataset": "digits", "cell": "gru", "curriculum": "vocu", "phase": "trained", "seed": 0, "label": range(3)}
).assign(delay=20, accuracy=[0.5, 0.25, 1], trials=4, false_response=0.125, false_alarm=0.25, informedness=0.25)
PROVENANCE = dict.fromkeys(verify.PROVENANCE)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder like that of a small finished run."""
    folder = tmp_path / "run"
    save_table(folder / "tables" / "extrapolation.csv", TABLE)
    save_table(folder / "train" / "gru-vocu" / "seeds0.csv", TABLE)
    save_arrays(folder / "train" / "gru-vocu" / "seeds0.safetensors", {"a": torch.arange(4.0)}, {"seeds": [0]})
    save_json(folder / "provenance.json", PROVENANCE)
    (folder / "figures").mkdir()
    Image.new("RGB", (32, 20), "teal").save(folder / "figures" / "trial.png")
    (folder / "figures" / "trial.svg").write_text("<svg><path/></svg>")
    finish(folder)
    for other in ("logs/train/gru-vocu/seeds0.log", "benchmarks/train/gru-vocu/seeds0.tsv", "report.html"):
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / other).write_text("differs from run to run")
    return folder


def finish(folder: Path) -> None:
    """Write the manifest of what is there."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if path.relative_to(folder).parts[0] not in verify.NOT_LISTED]
    files = [path for path in files if path.suffix != ".sha256"]
    save_table(folder / verify.MANIFEST, verify.manifest(files, folder))


def faults(folder: Path) -> list[tuple[str, str]]:
    return [(fault.path, fault.kind) for fault in verify.check(folder)[1]]


def test_a_finished_run_is_right(run, capsys):
    assert verify.check(run) == (6, [])
    assert verify.main([str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: all 6 files are right\n"
    shutil.rmtree(run / "logs")
    assert verify.main([str(run)]) == 0


def test_the_manifest_holds_what_sha256sum_would_say(run):
    table = pd.read_csv(run / "manifest.csv").set_index("path")
    assert list(table.index) == sorted(table.index)
    told = subprocess.run(["sha256sum", *table.index], cwd=run, capture_output=True, text=True, check=True).stdout
    assert dict(line.split("  ")[::-1] for line in told.splitlines()) == table.sha256.to_dict()
    assert table.bytes.to_dict() == {path: (run / path).stat().st_size for path in table.index}


def flip(path: Path) -> None:
    """Another bit in the middle of a file, and neither its size nor its time of modification another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "missing": (lambda path: path.unlink(), "no such file", "as its target makes it again"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "when it was written", "Delete what has changed"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\n"), "bytes, ", "Delete what has changed"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes, ", "Delete what has changed"),
    "one bit": (flip, "other contents", "Delete what has changed"),
    "extra": (lambda path: shutil.copy(path, path.with_name("copy")), "not in the manifest", "An extra file"),
}


OTHERS = (
    *("train/gru-vocu/seeds0.csv", "train/gru-vocu/seeds0.safetensors"),
    *("figures/trial.png", "figures/trial.svg", "provenance.json"),
)


@pytest.mark.parametrize(
    ("name", "damage"),
    [*(("tables/extrapolation.csv", damage) for damage in DAMAGE), *((name, "one bit") for name in OTHERS)],
)
def test_every_kind_of_damage_is_found_and_the_least_in_every_kind_of_file(run, name, damage, capsys):
    harm, found, advice = DAMAGE[damage]
    harm(run / name)
    kind = damage if damage in ("missing", "extra") else "changed"
    harmed = str(Path(name).with_name("copy")) if damage == "extra" else name
    assert faults(run) == [(harmed, kind)]
    assert verify.main([str(run)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{kind:8} {harmed}: ")
    assert found in told[0]
    assert told[1] == f"{run}: {6 if damage == 'extra' else 5} files are right, 1 faults"
    assert advice in told[2] and len(told) == 3


@pytest.mark.parametrize("name", ["tables/extrapolation.csv", "provenance.json"])
def test_a_checksum_beside_a_file_that_is_lost_or_another_is_found(run, name):
    seal = seal_of(run / name)
    flip(seal)
    assert faults(run)[0] == (name, "changed")
    assert f"{seal.name} holds another checksum" in [fault.found for fault in verify.check(run)[1]]
    seal.unlink()
    assert [(fault.path, fault.found) for fault in verify.check(run)[1]] == [
        (name, f"comes without its checksum, {seal.name}")
    ]


def test_what_a_killed_job_was_writing_does_no_harm(run):
    (run / "tables" / ".scores.x1y2.csv").write_text("half a ta")
    (run / "train" / "gru-vocu" / ".seeds0.z3.safetensors").touch()
    assert verify.check(run) == (6, [])


def test_only_tables_of_chosen_protocols_may_be_without_rows(run):
    for name in ("backtrack", "extrapolation"):
        save_table(run / "tables" / f"{name}.csv", pd.DataFrame(columns=columns_of(name)))
    finish(run)
    found = [(fault.path, fault.found) for fault in verify.check(run)[1]]
    assert found == [("tables/extrapolation.csv", "the table has no rows; expected some")]


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), ([], 2), (["a", "b"], 2)])
def test_help_and_wrong_arguments_are_not_taken_for_a_folder(arguments, status, capsys):
    with pytest.raises(SystemExit) as ended:
        verify.main(arguments)
    assert ended.value.code == status
    assert "usage: python -m memrnn.run.verify" in "".join(capsys.readouterr())


def test_several_faults_are_all_told(run):
    (run / "figures" / "trial.png").unlink()
    flip(run / "tables" / "extrapolation.csv")
    (run / "figures" / "more.svg").write_text("<svg/>")
    assert faults(run) == [
        *(("figures/more.svg", "extra"), ("figures/trial.png", "missing"), ("tables/extrapolation.csv", "changed"))
    ]
    assert verify.check(run)[0] == 4


@pytest.mark.parametrize("text", [None, "", "path,bytes\na,1\n", "path,bytes,sha256\n"])
def test_without_a_manifest_nothing_is_said_to_be_right(run, text, capsys):
    (run / "manifest.csv").unlink()
    if text is not None:
        (run / "manifest.csv").write_text(text)
    assert verify.main([str(run)]) == 1
    told = capsys.readouterr()
    assert "manifest.csv" in told.err and "right" not in told.out


def test_a_manifest_of_a_file_that_is_not_there_is_refused(run):
    with pytest.raises(ValueError, match=r"nowhere\.csv: no such file"):
        verify.manifest([run / "tables" / "nowhere.csv"], run)


INVALID = {
    "tables/extrapolation.csv": [
        (TABLE.drop(columns="accuracy").to_csv(index=False), "lacks the columns accuracy"),
        (TABLE.assign(accuracy=[0.5, None, 1]).to_csv(index=False), "accuracy: expected number.* nothing in row 2"),
    ],
    "tables/backtrack.csv": [("dataset,cell,curriculum,phase\n", "lacks the columns seed")],
    "tables/formation.csv": [(",".join(NETWORK) + "\n", "lacks the columns label, learned")],
    "tables/unheard_of.csv": [("a\n1\n", "nothing is known of")],
    "train/gru-vocu/seeds0.safetensors": [("not one", "SafetensorError")],
    "figures/trial.png": [("not one", "UnidentifiedImageError")],
    "figures/trial.svg": [("<svg>", "ParseError")],
    "provenance.json": [("{}", "lacks config, made_with, config_hash, commit"), ("{", "expected a JSON file")],
}


@pytest.mark.parametrize(("name", "text", "found"), [(name, *case) for name in INVALID for case in INVALID[name]])
def test_what_was_written_wrong_is_found_though_the_checksum_is_right(run, name, text, found, capsys):
    (run / name).write_text(text)
    if name.endswith((".csv", ".json")):
        digest = verify.checksum(run / name)
        seal_of(run / name).write_text(f"{digest}  {Path(name).name}\n")
    finish(run)
    (fault,) = verify.check(run)[1]
    assert (fault.path, fault.kind) == (name, "invalid")
    assert re.search(found, fault.found)
    verify.main([str(run)])
    advice = capsys.readouterr().out.splitlines()[-1]
    assert "keep it" in advice and "Delete" not in advice  # made again, it would be the same


def test_the_smoke_run_is_right_and_everything_in_it_is_listed(smoke_run):
    results = smoke_run / "results" / "smoke"
    right, found = verify.check(results)
    assert found == []
    made = [path.relative_to(results) for path in results.rglob("*") if path.is_file()]
    assert right == sum(path.parts[0] not in verify.NOT_LISTED and path.suffix != ".sha256" for path in made)
    assert {path.stem for path in (results / "tables").glob("*.csv")} == TABLES.keys()


def test_make_verifies_the_run_of_the_configuration():
    command = ["make", "--no-print-directory", "--dry-run", "--always-make", "verify"]
    command += ["CONFIG=config/smoke.yaml", f"VENV={sys.prefix}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1].split()[1:] == ["-m", "memrnn.run.verify", "results/smoke"]
