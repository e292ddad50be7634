"""The report: what its captions say, and whether a browser shows every figure in it."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from docutils.core import publish_parts
from jinja2 import Environment
from PIL import Image

from memrnn import figures
from memrnn.core import tables as contract
from memrnn.models.cells import TITLES

ROOT = Path(__file__).resolve().parents[2]
CAPTIONS = ROOT / "workflow" / "report"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60  # seconds that the browser may take for one answer

ROW = {"cell": "gru", "curriculum": "vocu", "low": -0.31, "high": 0.47, "networks": 4, "left_out": 0}
NUMBERS = {
    "verdicts": {"C1": "1 of 2 supported", "C3a": "0 of 2 supported, 1 contradicted", "C4": "described only"},
    "judged": {"C1": True, "C3a": True, "C4": False},
    "networks": {"trained": 24, "learned": 15, "left_out": 9},
    "memory": [ROW | {"mean": 0.4149, "sd": 0.0831}],
    "rho": [ROW | {"curriculum": "all", "search_steps": 3000, "value": -0.5421, "points": 150}],
    "relaxed_rho": [ROW | {"curriculum": "all", "search_steps": 40, "value": -0.6421, "points": 150}],
    "readout_share": [ROW | {"value": 0.8812}],
    "formation": {
        "split_share": [ROW | {"value": 0.7312}],
        "order_rho": [ROW | {"value": 0.6512}],
        "appears_share": [ROW | {"value": 0.1212}, ROW | {"curriculum": "decu", "value": 0.0512}],
        "parent_speed_change": [ROW | {"value": -0.2312}],
        "p": [ROW | {"value": 0.0412, "low": None, "high": None}],
    },
}
PREDICTED = {  # predictors.json of the same run
    "search_steps": 3000,
    "rows": [
        {
            "cell": "gru",
            "predictor": predictor,
            "search_steps": steps,
            "rho": rho,
            "low": rho - 0.25,
            "high": rho + 0.25,
        }
        | {"error": 0.2891, "gain": 0.0712, "gain_low": -0.0312, "gain_high": 0.1739, "points": 80, "censored": 7}
        for predictor, steps, rho in (("speed", 300, 0.3), ("speed", 3000, 0.6321), ("nominal_accuracy", 0, 0.4512))
    ],
}


def without_numbers(value):
    """The same with None in the place of every fraction."""
    if isinstance(value, dict):
        return {key: without_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_numbers(each) for each in value]
    return None if isinstance(value, float) else value


UNKNOWN = {  # the same run if nothing could be computed
    key: without_numbers(value) for key, value in NUMBERS.items()
}

MADE = {  # provenance.json of the same run
    "commit": "0123456789abcdef",
    "clean": False,
    "versions": {"torch": "2.13.0+cpu", "snakemake": "9.27.1"},
    "devices": ["cpu"],
    "started": "2026-01-02T03:04:05+00:00",
    "ended": "2026-01-02T04:05:06+00:00",
    "config_hash": "fedcba9876543210",
    "rules": {"train": {"jobs": 6, "seconds": 360.0}, "claims": {"jobs": 1, "seconds": 30.0}},
}

UNPREDICTED = PREDICTED | {
    "rows": [row | {name: None for name in row if isinstance(row[name], float)} for row in PREDICTED["rows"]]
}

# -------------------------------------------------------------------------------------------------------- captions

# every caption: file, the wildcards it looks at, what it must state of NUMBERS
STATED = {
    "spectrum table": ("tables", {"table": "spectrum"}, "200 noisy roll-outs of 20 steps"),
    "portraits table": ("tables", {"table": "portraits"}, "200 steps of noise"),
    "backtrack table": ("tables", {"table": "backtrack"}, "GRU VoCu 0.12, GRU DeCu 0.05"),
    "confusion table": ("tables", {"table": "confusion"}, "100 held-out trials"),
    "nominal table": ("tables", {"table": "nominal"}, "about 1000 trials"),
    "relaxed table": ("tables", {"table": "relaxed"}, "0, 10, 20, 40, 70, 100, 200 noise-free time steps"),
    "formation table": ("formation_table", {}, "of 100 trials"),
    "confusion test table": ("confusion_test_table", {}, "GRU: p = 0.041, 4 networks"),
    "predictors table": (
        "predictors_table",
        {},
        "in falling order: speed after 3000 steps 0.63, nominal accuracy 0.45, speed after 300 steps 0.30.",
    ),
    "predictions table": ("predictions_table", {}, "cut to 20 to 1000 steps"),
    "training table": ("tables", {"table": "training"}, "15 of 24 networks learned"),
    "extrapolation table": ("tables", {"table": "extrapolation"}, "GRU VoCu 0.41 (0.08)"),
    "slow_points table": ("tables", {"table": "slow_points"}, "GRU VoCu 0.88"),
    "trial table": ("trial_table", {}, "20 time steps"),
    "scores table": ("scores_table", {}, "15 of 24"),
    "correlation table": (
        "correlation_table",
        {},
        "after 40 noise-free steps and memory score: rho = -0.64, from 4 networks",
    ),
    "claims table": (
        "claims_table",
        {},
        "supported; C3a 0 of 2 supported, 1 contradicted; C4 described only.",
    ),
    "front page": (
        "workflow",
        {},
        "C3a 0 of 2 supported, 1 contradicted: the slower its point, the better",
    ),
}


@pytest.fixture(scope="module")
def config():
    added = {"titles": TITLES, "columns": {name: contract.caption(name) for name in contract.TABLES}}
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | added


def render(file: str, wildcards: dict, config: dict, shown: tuple[str, ...] = ()) -> str:
    """A caption as the report renders it, as plain text in one line; restructuredText's complaints appear in it."""
    text = (CAPTIONS / f"{file}.rst").read_text()
    text += "".join(f"\n\n.. _{name}: javascript:app.showResultInfo('{name}')\n" for name in shown)
    snakemake = SimpleNamespace(config=config, wildcards=SimpleNamespace(**wildcards))
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    text = template.render(snakemake=snakemake, files=[SimpleNamespace(target=name) for name in shown])
    page = publish_parts(text, writer="html", settings_overrides={"report_level": 2, "warning_stream": False})
    assert "system-message" not in page["html_body"], page["html_body"]
    return " ".join(re.sub(r"<[^>]+>", "", page["html_body"]).split())


@pytest.mark.parametrize("name", STATED)
def test_caption_states_the_runs_numbers(name, config):
    file, wildcards, stated = STATED[name]
    assert stated in render(file, wildcards, config | {"numbers": NUMBERS, "predictors": PREDICTED})


@pytest.mark.parametrize(
    "numbers",
    [{}, {"numbers": UNKNOWN, "predictors": UNPREDICTED}],
    ids=["before the run", "nothing computed"],
)
@pytest.mark.parametrize("name", STATED)
def test_caption_does_without_numbers(name, numbers, config):
    file, wildcards, _ = STATED[name]
    text = render(file, wildcards, config | numbers)
    assert len(text) > 100
    assert not re.search(r"\bNone\b|\bnan\b|\{|\}", text), text


def test_a_figure_has_the_caption_that_was_written_beside_it(config):
    captions = {"trial": "One trial of T_max = 20 steps.\n\nMore of it.\n", "budget": "Another.\n"}
    text = render("figures", {"figure": "trial"}, config | {"captions": captions})
    assert text == "One trial of T_max = 20 steps. More of it."


def test_front_page_links_to_what_is_there(config):
    text = render("workflow", {}, config | {"numbers": NUMBERS}, shown=("correlation.png", "claims.csv"))
    assert "the slower its point, the better a class is remembered (correlation.png)" in text
    assert "(claims.csv)" in text
    assert "(extrapolation.png)" not in text
    assert "24 networks (GRU, LSTM; VoCu, DeCu, NaCu; seeds 0, 1, 2, 3)" in text


def test_front_page_says_what_made_the_run(config):
    text = render("workflow", {}, config | {"numbers": NUMBERS, "provenance": MADE})
    assert "Run digits: images digits, 24 networks" in text
    assert (
        "commit 0123456789 with changes with torch 2.13.0+cpu and Snakemake 9.27.1 on cpu, "
        "by 2026-01-02 04:05 UTC, in 6.5 minutes of work; configuration fedcba9876."
    ) in text
    nowhere = {"commit": None, "clean": None, "started": None, "ended": None, "devices": [], "rules": {}}
    text = render("workflow", {}, config | {"numbers": NUMBERS, "provenance": MADE | nowhere})
    assert "commit unknown with torch 2.13.0+cpu" in text
    assert "on an unknown device, in 0.0 minutes of work;" in text
    assert "Made at" not in render("workflow", {}, config)


# --------------------------------------------------------------------------------------------------------- browser


class Browser:
    """Headless Chromium, driven over its own debugging pipe (DevTools protocol): no driver, no port, no package."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The browser reads commands from file descriptor 3 and writes answers to 4. Copies beyond both come first, so
        # that neither pipe is overwritten if it happens to sit there.
        first, second = (os.dup(end) for end in (to_browser, from_browser))

        def connect() -> None:
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (first, second)]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        quiet = ("gpu", "quic", "background-networking", "component-update", "sync", "extensions", "dev-shm-usage")
        self._process = subprocess.Popen(
            [
                *(BROWSER, "--headless", "--no-sandbox", "--no-first-run", "--remote-debugging-pipe"),
                *(f"--disable-{what}" for what in quiet),
                *(f"--user-data-dir={profile}", "--window-size=1366,768"),
            ],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser, first, second):
            os.close(end)
        self._numbers, self._buffer, self._session = itertools.count(1), b"", None
        self.events: list[dict] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            self.ask("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def ask(self, method: str, **params):
        """Send one command and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self.wait(lambda message: message.get("id") == number, method)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait(self, wanted: Callable[[dict], bool], what: str) -> dict:
        """Next message that is `wanted`; what the browser reports meanwhile goes to `events`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            while b"\0" not in self._buffer:
                if not select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]:
                    raise TimeoutError(f"the browser did not answer {what} within {PATIENCE} s")
                found = os.read(self._read, 1 << 20)
                if not found:
                    raise ConnectionError(f"the browser ended at {what}")
                self._buffer += found
            text, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(text)
            if "method" in message:
                self.events.append(message)
            if wanted(message):
                return message

    def go(self, url: str) -> None:
        """Open a page and wait until it has loaded."""
        self.ask("Page.navigate", url=url)
        self.wait(lambda message: message.get("method") == "Page.loadEventFired", f"to {url}")

    def run(self, script: str):
        """Value of a JavaScript expression, awaited if it is a promise."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")


# Clicks through the report's menu as a reader does: every category, every subcategory, the eye beside every picture and
# the (i) beside every result.
VISIT = """(async () => {
  const pause = () => new Promise(done => setTimeout(done, 30));
  const until = async (test, what) => {
    for (let wait = 0; wait < 200; wait++) { const found = test(); if (found) return found; await pause(); }
    throw new Error("not found in the report: " + what);
  };
  const item = name => [...document.querySelectorAll("nav li a")].find(link => link.textContent.trim() === name);
  const open = async name => { (await until(() => item(name), name)).click(); await pause(); };
  const rows = () => [...document.querySelectorAll("nav tbody tr")];
  const seen = {images: {}, captions: {}};
  const top = Object.keys(categories).length === 1 ? {Results: Object.keys(categories)[0]}
    : Object.fromEntries(Object.keys(categories).map(name => [name, name]));
  for (const [shown, category] of Object.entries(top)) {
    for (const subcategory of Object.keys(categories[category])) {
      const enter = async () => {
        app.setView({navbarMode: "menu"});
        await open(shown);
        if (Object.keys(categories[category]).length > 1) await open(subcategory);
        return until(() => rows().length && rows(), "results of " + category);
      };
      const number = (await enter()).length;
      for (let row = 0; row < number; row++) {
        const [eye, info] = (await enter())[row].querySelectorAll("td:last-child a");
        info.click();
        const shows = () => app.state.navbarMode === "resultinfo" && document.querySelector("nav ul");
        const caption = await until(shows, "description");
        const path = app.state.resultPath;
        seen.captions[path] = caption.innerText;
        if (!getResultMimeType(path).startsWith("image/")) continue;
        (await enter())[row].querySelector("td:last-child a").click();
        const image = await until(() => [...document.querySelectorAll("#app img")]
          .find(image => image.src === results[path].data_uri), path);
        await image.decode().catch(() => null);
        seen.images[path] = image.naturalWidth;
      }
    }
  }
  return seen;
})()"""


@dataclass
class Visit:
    """What a reader of the report met."""

    front: str  # text of the first page
    top: float  # where that text begins, pixels from the window's upper edge; what is above cannot be scrolled to
    expected: list[str]  # pictures the report holds
    images: dict[str, int] = field(default_factory=dict)  # picture -> its natural width in the browser, 0 = broken
    captions: dict[str, str] = field(default_factory=dict)  # result -> text beside it
    problems: list[str] = field(default_factory=list)  # errors on the console, and requests to anywhere


def visit(report: Path, profile: Path, picture: Path | None = None) -> Visit:
    """Open a report without a network and look at every result in it.

    Args:
        report: path of report.html.
        profile: folder for the browser's own files.
        picture: where to keep a picture of the first page.
    """
    browser = Browser(profile)
    try:
        browser.ask(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        browser.go(report.resolve().as_uri())
        front = browser.run("document.querySelector('.prose').innerText")
        top = browser.run("document.querySelector('.prose').getBoundingClientRect().top")
        if picture:
            picture.write_bytes(base64.b64decode(browser.ask("Page.captureScreenshot")["data"]))
        expected = browser.run("Object.keys(results).filter(path => getResultMimeType(path).startsWith('image/'))")
        found = browser.run(VISIT)
        return Visit(front, top, expected, found["images"], found["captions"], problems(browser.events))
    finally:
        browser.close()


def problems(events: list[dict]) -> list[str]:
    """Errors and requests among what the browser reported."""
    found = []
    for event in events:
        params = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            found.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            found.append("console: " + " ".join(str(part.get("value", part)) for part in params["args"]))
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            found.append(f"log: {params['entry']['text']} {params['entry'].get('url', '')}"[:300])
        elif event["method"] == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                found.append(f"request: {url}"[:300])
    return found


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)

WORKFLOW = """
configfile: "config.json"
report: "{captions}/workflow.rst"
rule all:
    input:
        expand("figures/{{figure}}.png", figure=["trial", "budget"]),
        "tables/claims.csv",
rule source:
    output:
        "ready",
    shell:
        "touch {{output}}"
rule figures:
    input:
        "ready",
    output:
        report(
            "figures/{{figure}}.png",
            caption="{captions}/figures.rst",
            category="Figures",
            labels={{"figure": "{{figure}}"}},
        ),
    shell:
        "cp made/{{wildcards.figure}}.png {{output}}"
rule claims:
    input:
        "ready",
    output:
        report("tables/claims.csv", caption="{captions}/claims_table.rst", category="Claims", labels={{"no": "1"}}),
    shell:
        "echo claim,verdict > {{output}}"
"""


def make_report(folder: Path, config: dict) -> Path:
    """Report of a workflow of two figures, `budget` being a broken file, and one table, with the real captions."""
    (folder / "made").mkdir()
    for name in ("trial", "budget"):
        Image.new("RGB", (320, 200), "teal").save(folder / "made" / f"{name}.png")
    broken = folder / "made" / "budget.png"
    broken.write_bytes(broken.read_bytes()[:20])
    captions = {"trial": "One trial of the task.", "budget": "Rho after 300 steps."}
    (folder / "config.json").write_text(json.dumps(config | {"numbers": NUMBERS, "captions": captions}))
    (folder / "Snakefile").write_text(WORKFLOW.format(captions=CAPTIONS))
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"]
    subprocess.run(snakemake, cwd=folder, check=True, timeout=300)
    subprocess.run([*snakemake, "--report", "report.html"], cwd=folder, check=True, timeout=300)
    return folder / "report.html"


@needs_browser
def test_the_visit_sees_whole_and_broken_pictures_captions_and_front_page(tmp_path, config):
    seen = visit(make_report(tmp_path, config), tmp_path / "profile")
    assert sorted(seen.expected) == ["figures/budget.png", "figures/trial.png"]
    assert seen.images == {"figures/trial.png": 320, "figures/budget.png": 0}
    assert "C3a 0 of 2 supported, 1 contradicted: the slower its point" in seen.front
    assert seen.top >= 0
    assert "One trial of the task" in seen.captions["figures/trial.png"]
    assert "Rho after 300 steps." in seen.captions["figures/budget.png"]
    assert "C1 1 of 2 supported; C3a 0 of 2 supported" in seen.captions["tables/claims.csv"]
    assert seen.problems == []


@needs_browser
def test_the_visit_sees_errors_and_requests(tmp_path, config):
    report = make_report(tmp_path, config)
    before, end, after = report.read_text().rpartition("</body>")
    bad = "<script>console.error('made up'); fetch('http://example.invalid/x').catch(() => 0); nothing.there()</script>"
    report.write_text(before + bad + end + after)
    found = "\n".join(visit(report, tmp_path / "profile").problems)
    assert "console: made up" in found
    assert "request: http://example.invalid/x" in found
    assert "nothing is not defined" in found


@needs_browser
def test_report_of_the_smoke_run_shows_every_figure(smoke_run, tmp_path):
    report = Path(smoke_run) / "results" / "smoke" / "report.html"
    seen = visit(report, tmp_path / "profile")
    assert {Path(path).stem for path in seen.expected} == set(figures.FIGURES)
    assert set(seen.images) == set(seen.expected)
    assert min(seen.images.values()) > 0, seen.images
    assert not seen.problems
    assert seen.top >= 0
    found = json.loads((report.parent / "provenance.json").read_text())
    for stated in ("Run smoke", f"torch {found['versions']['torch']}", found["config_hash"][:10], "minutes of work"):
        assert stated in seen.front
    numbers = json.loads((report.parent / "tables" / "numbers.json").read_text())
    for claim, verdict in numbers["verdicts"].items():
        assert f"{claim} {verdict}: " in seen.front
    assert {Path(path).stem for path in seen.captions if path.endswith(".csv")} == set(contract.TABLES)
    for path, caption in seen.captions.items():
        assert re.search(r"\d", caption), f"{path}: the caption has no number"
        assert "description" in caption.lower(), path  # the report may show its headings in capitals
        assert "System Message" not in caption, caption
