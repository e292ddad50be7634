"""Whether a job's digest of code covers all that runs in it: the whole workflow, with every call noted."""

import json
import os
import subprocess
import sys

from conftest import ROOT, copy_workflow

from memrnn.figures import FIGURES
from memrnn.run import digests

LIBRARY = ROOT / "workflow" / "lib"
CONFIG = """\
run: traced
cells: [gru]
protocols: [vocu]
seeds: [0]
network: {units: 8}
train: {steps: 200, batch: 4, log_every: 100, log_trials: 10, checkpoints: [0, 1]}
extrapolate: {delays: [1, 20, 40], trials: 100}
slow_points: {search_steps: [30]}
backtrack: {protocols: [vocu], start_steps: 30, search_steps: 10, confusion_trials: 5}
spectrum: {search_steps: 30, newton_steps: 5, relaxation_steps: 5, noise_trials: 5}
portraits: {delay: 20, trials: 1}
regularise: {protocols: [vocu], search_steps: 30, steps: 5, log_every: 5}
correlate: {resamples: 100}
claims: {search_steps: 30}
engine: {device: cpu}
"""
# Python imports this first in every process; of those that run a script of the workflow, it notes the functions.
NOTE = """\
import atexit, json, os, sys
script = next((each for each in sys.orig_argv if "/.snakemake/scripts/" in each), None)
if script:
    found = set()
    def note(frame, event, argument):
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("memrnn."):
            found.add(f"{name}.{frame.f_code.co_qualname.partition('.')[0]}")
    def keep():
        sys.setprofile(None)
        with open(os.path.join(os.environ["NOTES"], f"{os.getpid()}.json"), "w") as file:
            json.dump([script.rsplit(".", 2)[1], sorted(found)], file)
    atexit.register(keep)
    sys.setprofile(note)
"""


def test_every_function_that_runs_in_a_job_is_in_its_digest(tmp_path):
    clone = copy_workflow(tmp_path / "clone")
    (clone / "traced.yaml").write_text(CONFIG)
    for name in ("site", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOTE)
    paths = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "traced.yaml"],
        cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
        env={**os.environ, "PYTHONPATH": paths, "NOTES": str(tmp_path / "notes"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    ran: dict[str, set[str]] = {}
    for path in (tmp_path / "notes").iterdir():
        script, names = json.loads(path.read_text())
        ran.setdefault(script, set()).update(name for name in names if not name.endswith(".<module>"))
    scripts = ROOT / "workflow" / "scripts"
    assert ran.keys() == {path.stem for path in scripts.glob("*.py")}
    for script, names in ran.items():
        more = [f"memrnn.figures.{name}" for name in FIGURES] if script == "figures" else []
        found = digests.reached(scripts / f"{script}.py", LIBRARY, {"gru", "vocu", "pixels", "digits"}, more)
        unseen = {name for name in names - found.keys() if not digests.makes_no_number(name)}
        assert not unseen, script
