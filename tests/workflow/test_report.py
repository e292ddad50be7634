"""The page of a run: what it says, that nothing in it comes from elsewhere, and what a browser makes of it."""

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
import time
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from memrnn import figures
from memrnn.analysis.claims import CLAIMS
from memrnn.core import tables as contract
from memrnn.core.files import load_json, load_table
from memrnn.run.report import Picture, page, picture

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "workflow" / "report" / "page.html.jinja").read_text()
DEFAULTS = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60  # seconds that the browser may take for one answer
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)

# Panels of each claim in a run of two cells and two protocols, and the verdicts on them.
PANELS = {
    "C1": {"gru decu - vocu": "supported", "lstm decu - vocu": "inconclusive"},
    "C2": {"gru": "supported", "lstm": "supported"},
    "C3a": {"gru all": "contradicted", "lstm all": "not judged"},
    "C3b": dict.fromkeys(("gru vocu", "gru decu", "lstm vocu", "lstm decu"), "not judged"),
    "C3'": {"gru all": "inconclusive", "lstm all": "contradicted"},
    "C4": dict.fromkeys(("gru vocu", "lstm vocu"), "not judged"),
    "C5": {f"{cell} {name} slow_points": "supported" for cell in ("gru", "lstm") for name in ("vocu", "decu")},
}
MADE = {  # provenance.json of the same run
    "config": DEFAULTS,
    "config_hash": "fedcba9876543210",
    "commit": "0123456789abcdef",
    "clean": False,
    "versions": {"torch": "2.13.0+cpu", "snakemake": "9.27.1"},
    "machine": {"processor": "a processor", "cores": 2, "system": "Linux"},
    "threads": 1,
    "devices": ["cpu"],
    "started": "2026-01-02T03:04:05+00:00",
    "ended": "2026-01-02T04:05:06+00:00",
    "rules": {
        "train": {"jobs": 6, "seconds": 360.0, "longest_seconds": 61.0, "cpu_seconds": 350.0, "max_rss_mib": 412.3},
        "claims": {"jobs": 1, "seconds": 30.0, "longest_seconds": 30.0, "cpu_seconds": 29.0, "max_rss_mib": 200.0},
    },
}
NUMBERS = {"networks": {"trained": 24, "learned": 15, "left_out": 9}}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def made_up() -> pd.DataFrame:
    """A table of claims: the measure that is judged and one beside it, of every claim."""
    rows = []
    for claim, panels in PANELS.items():
        about = {"claim": claim, "statement": CLAIMS[claim].STATEMENT, "networks": 4, "left_out": 1}
        for place, (panel, verdict) in enumerate(panels.items()):
            value = {"panel": panel, "value": 0.25 - place, "low": 0.125 - place, "high": 0.5 - place}
            judged = {"measure": f"measure of {claim}", "primary": claim != "C4", "verdict": verdict}
            rows.append(about | value | judged)
            beside = {"measure": f"beside {claim}", "primary": False, "verdict": "not judged", "value": 2e-5}
            rows.append(about | beside | {"panel": panel, "low": np.nan, "high": np.nan})
    return pd.DataFrame(rows)[contract.columns_of("claims")]


def pictures(**captions: str) -> list[Picture]:
    return [Picture(name, captions.get(name, f"What {name} shows."), ["More."], PIXEL) for name in figures.FIGURES]


def render(claims: pd.DataFrame | None = None, made: dict[str, Any] = MADE, **given: Any) -> str:
    """The page of a made-up run."""
    use = {"pictures": pictures(), "left_out": [], "defaults": DEFAULTS, "numbers": NUMBERS} | given
    return page(TEMPLATE, made_up() if claims is None else claims, provenance=made, **use)


def plain(words: list[str]) -> str:
    """Pieces of text in one line, as one reads them."""
    return re.sub(r" (?=[,.:;)])|(?<=\() ", "", " ".join(" ".join(words).split()))


class Reader(HTMLParser):
    """What stands in a page: its elements in order, headings, text, and the cells of every table by its caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.feed(text)
        self.close()
        assert self.open == [], self.open  # every element that was opened is closed
        self.text = plain(self.words)
        self.tables = {
            plain([caption]): [[plain([cell]) for cell in row] for row in rows] for caption, rows in self.tables.items()
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.tables.setdefault(self.caption, []).append([])
        elif tag in ("th", "td"):
            self.tables[self.caption][-1].append("")
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open or "title" in self.open:
            return
        self.words.append(data)
        if "caption" in self.open:
            self.caption += data
        if {"th", "td"} & {*self.open}:
            cells = self.tables[self.caption][-1]
            cells[-1] += f" {data}"
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


VERDICTS = "Verdicts, by rules fixed beforehand"

# ------------------------------------------------------------------------------------------------------- what it says


def test_the_table_of_verdicts_has_every_panel_with_effect_interval_n_and_verdict() -> None:
    found = [row[-5:] for row in Reader(render()).tables[VERDICTS][1:]]
    assert len(found) == sum(map(len, PANELS.values()))
    assert found[0] == ["GRU, DeCu less VoCu", "0.250", "0.125 to 0.500", "4", "✓ supported"]
    assert found[1] == ["LSTM, DeCu less VoCu", "−0.750", "−0.875 to −0.500", "4", "? inconclusive"]
    assert found[4] == ["GRU, all protocols", "0.250", "0.125 to 0.500", "4", "✗ contradicted"]
    assert found[6] == ["GRU, VoCu", "0.250", "0.125 to 0.500", "4", "– not judged"]
    assert found[12] == ["GRU, VoCu", "0.250", "0.125 to 0.500", "4", "– described"]
    assert found[-1][0] == "LSTM, DeCu"  # what C5's panels share stands with the measure


def test_every_claim_is_counted_and_one_that_is_not_judged_says_why() -> None:
    told = {row[0].split()[0]: row for row in Reader(render()).tables[VERDICTS][1:] if len(row) == 7}
    assert {claim: row[1] for claim, row in told.items()} == {
        "C1": "1 of 2 supported, 1 inconclusive",
        "C2": "2 of 2 supported",
        "C3a": "0 of 2 supported, 1 contradicted, 1 not judged",
        "C3b": "not judged fewer than 4 seeds",
        "C3'": "0 of 2 supported, 1 contradicted, 1 inconclusive",
        "C4": "described only exploratory",
        "C5": "4 of 4 supported",
    }
    assert told["C2"][0] == f"C2 {CLAIMS['C2'].TITLE} measure of C2"
    assert told["C5"][0] == f"C5 {CLAIMS['C5'].TITLE} measure of C5: penalty at slow points"


@pytest.mark.parametrize(
    ("claim", "found", "why"),
    [
        ("C1", {}, "the protocols do not learn the task equally well"),
        ("C5", {}, "the control has nothing to gain"),
        ("C3a", {}, "fewer than 4 seeds"),
        ("C5", {"networks": 3}, "fewer than 4 networks"),
        ("C5", {"networks": 0}, "no network learned the task"),
        ("C5", {"networks": 0, "left_out": 0}, "fewer than 4 networks"),
        ("C2", {"low": np.nan, "high": np.nan}, "no interval"),
        ("C2", {"panel": np.nan, "value": np.nan}, "the run has no such networks"),
    ],
)
def test_why_a_claim_is_not_judged(claim: str, found: dict[str, Any], why: str) -> None:
    table = made_up()
    own = (table.claim == claim) & table.primary
    table.loc[own, ["verdict", *found]] = ["not judged", *found.values()]
    reader = Reader(render(table))
    row = next(row for row in reader.tables[VERDICTS] if row[0].startswith(f"{claim} "))
    assert row[1] == f"not judged {why}"
    assert reader.text.count(f"In this run: not judged ({why})") == 1 + (claim in ("C3a", "C5") and "seeds" in why)


def test_a_claims_numbers_stand_under_it_those_that_are_judged_first() -> None:
    reader = Reader(render())
    for claim, panels in PANELS.items():
        first = "the first measure" if claim == "C4" else "the measure that is judged"
        head, measure, *rows = reader.tables[f"{claim}: {first}"]
        assert head[2] == "95 % interval" and measure == [f"measure of {claim}"] and len(rows) == len(panels)
        _, measure, *rows = reader.tables[f"{claim}: other measures"]
        assert measure == [f"beside {claim}"] and len(rows) == len(panels)
        assert rows[0][1:] == ["2e−05", "none", "4", "1", "– described"]
    assert reader.tables["C3a: the measure that is judged"][3][-1] == "– not judged: fewer than 4 seeds"


def test_every_claim_and_figure_stands_there_once_and_in_order() -> None:
    reader = Reader(render())
    headings = [text for level, text in reader.headings if level == 2]
    claims = [f"{name}. {claim.TITLE}" for name, claim in CLAIMS.items()]
    assert headings == [*claims, "More figures", "Settings", "Provenance", "Tables and files"]
    assert all(later - level <= 1 for (level, _), (later, _) in itertools.pairwise(reader.headings))
    assert Counter(each["alt"] for each in reader.of("img")) == Counter(
        f"What {name} shows." for name in figures.FIGURES
    )
    for name, claim in CLAIMS.items():
        assert claim.STATEMENT in reader.text and claim.JUDGED in reader.text, name
        assert {*claim.FIGURES} <= {*figures.FIGURES}, name
    rest = [name for name in figures.FIGURES if not any(name in claim.FIGURES for claim in CLAIMS.values())]
    assert [text for level, text in reader.headings if level == 3] == [f"What {name} shows" for name in rest]
    ids = Counter(attributes["id"] for _, attributes in reader.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    targets = [each["href"][1:] for each in reader.of("a") if each["href"].startswith("#")]
    assert targets and {*targets} <= {*ids}


def test_settings_that_differ_come_first_and_provenance_is_told() -> None:
    config = DEFAULTS | {"run": "mine", "train": DEFAULTS["train"] | {"steps": 7}}
    reader = Reader(render(made=MADE | {"config": config}))
    steps = str(DEFAULTS["train"]["steps"])
    assert reader.tables["Settings that differ from the default, config/config.yaml"][1:] == [
        ["run", "mine", DEFAULTS["run"]],
        ["train.steps", "7", steps],
    ]
    every = dict(reader.tables["All settings; config/config.yaml says what each means"])
    assert every["train.steps"] == "7" and every["mode_settings.centroid.penalty"] == "speed"
    for told in (
        "0123456789abcdef, with changes that were not committed",
        "fedcba9876543210 (SHA-256)",
        "2026-01-02 03:04 to 2026-01-02 04:05 UTC, 6.5 minutes of work",
        "cpu, 1 thread a job",
        "torch 2.13.0+cpu, snakemake 9.27.1",
        "15 of 24 networks learned the task",
    ):
        assert told in reader.text, told
    assert {f"tables/{name}.csv" for name in contract.TABLES} <= {each["href"] for each in reader.of("a")}


def test_a_default_run_outside_a_clone_says_so() -> None:
    nowhere = {"commit": None, "clean": None, "started": None, "ended": None, "devices": [], "rules": {}}
    text = Reader(render(made=MADE | nowhere)).text
    assert "All settings are those of config/config.yaml." in text
    assert "unknown Configuration" in text and "Made 0.0 minutes of work Trained on an unknown device" in text
    assert not re.search(r"\bNone\b|\bnan\b", text)


# --------------------------------------------------------------------------------------- what it must not let through

HOSTILE = """</td><script src="http://example.invalid/x">alert(1)</script><img src=x onerror='alert("2")'>&amp;"""


def test_text_of_others_is_text() -> None:
    table = made_up()
    table["statement"] = table["measure"] = HOSTILE
    table["panel"] = [f"{HOSTILE.replace(' ', '')}{place}" for place in range(len(table))]
    config = DEFAULTS | {"run": HOSTILE, "dataset": DEFAULTS["dataset"] | {"folder": HOSTILE}}
    made = MADE | {"config": config, "devices": [HOSTILE], "machine": MADE["machine"] | {"processor": HOSTILE}}
    caption = [Picture(name, HOSTILE, [HOSTILE], PIXEL) for name in figures.FIGURES]
    reader = Reader(render(table, made, pictures=caption, left_out=[HOSTILE]))
    assert reader.of("script") == []
    assert len(reader.of("img")) == len(figures.FIGURES) and {each["alt"] for each in reader.of("img")} == {HOSTILE}
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert f"Images: {HOSTILE}." in reader.text


def test_nothing_comes_from_elsewhere() -> None:
    text = render()
    reader = Reader(text)
    loaded = [each.get("src") or each.get("href") or "" for tag in ("img", "link", "script") for each in reader.of(tag)]
    assert loaded and all(each.startswith("data:") for each in loaded)
    assert not re.search(r"@import|url\(|<(script|iframe|object|embed)|srcset", text)
    outside = [each["href"] for each in reader.of("a") if re.match(r"\w+:|/", each["href"])]
    assert outside == ["https://proceedings.mlr.press/v97/haviv19a.html"]


def test_the_same_files_give_the_same_bytes() -> None:
    assert render() == render()
    shuffled = dict(sorted(MADE.items(), reverse=True)) | {"config": dict(sorted(DEFAULTS.items(), reverse=True))}
    assert render(made=shuffled) == render()


def test_a_table_without_a_claim_or_with_another_is_refused() -> None:
    table = made_up()
    with pytest.raises(ValueError, match=r"expected C1, .*, found C1, C3a, .*Delete the table and run again"):
        render(table[table.claim != "C2"])
    with pytest.raises(ValueError, match=r"found C1, .*, C9"):
        render(pd.concat([table, table.iloc[:1].assign(claim="C9")]))


def test_a_picture_is_the_smaller_file_with_the_first_sentence_of_its_caption(tmp_path: Path) -> None:
    png, svg, caption = (tmp_path / f"budget.{ending}" for ending in ("png", "svg", "txt"))
    Image.new("RGB", (320, 200), "teal").save(png)
    svg.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    caption.write_text("Rho after 0.3 s (vol. 2). More.\n\nLeft: it.\n")
    found = picture(png, svg, caption)
    assert found[:3] == ("budget", "Rho after 0.3 s (vol.", ["2). More.", "Left: it."])
    assert base64.b64decode(found.uri.removeprefix("data:image/svg+xml;base64,")) == svg.read_bytes()
    svg.write_text(svg.read_text() + " " * 10_000)
    assert picture(png, svg, caption).uri.startswith("data:image/png;base64,")
    png.write_bytes(png.read_bytes()[:90])
    with pytest.raises(
        ValueError, match=r"budget.png: expected a whole picture, found .* Delete the file and run again"
    ):
        picture(png, svg, caption)
    caption.write_text("\n")
    svg.write_text("<svg/>")
    with pytest.raises(ValueError, match=r"budget.txt: expected a caption, found nothing"):
        picture(png, svg, caption)


# ------------------------------------------------------------------------------------------------------- in a browser


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser without a network."""
    found = Browser(tmp_path_factory.mktemp("profile"))
    found.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    yield found
    found.close()


def look(browser: Browser, path: Path, width: int = 1366, height: int = 768) -> None:
    """Open a page in a window of so many pixels."""
    browser.events.clear()
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    browser.ask("Emulation.setEmulatedMedia", media="screen")
    browser.go(path.resolve().as_uri())


def press(browser: Browser, key: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)


WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOWEST = "document.getElementById('verdicts').getBoundingClientRect().bottom"
WIDTHS = "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth, () => 0)))"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of a made-up run with all claims, and with captions and values that have no place to break."""
    path = tmp_path_factory.mktemp("full") / "report.html"
    path.write_text(render(pictures=pictures(task="A" * 300 + ".")), encoding="utf-8")
    return path


@needs_browser
@pytest.mark.parametrize("width", [400, 1366, 1600])
@pytest.mark.parametrize("which", ["smoke", "full"])
def test_no_width_makes_the_page_scroll_sideways(browser, full, smoke_run, which, width) -> None:
    report = full if which == "full" else smoke_run / "results" / "smoke" / "report.html"
    look(browser, report, width)
    assert browser.run(WIDER) == 0
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.run(WIDER) == 0
    longest = "Math.max(...[...document.querySelectorAll('main p, figcaption')].map(each => each.clientWidth))"
    assert browser.run(longest) <= 750  # some 100 letters
    assert problems(browser.events) == []


@needs_browser
def test_all_verdicts_are_on_the_first_screen(browser, full) -> None:
    look(browser, full)
    assert 0 < browser.run(LOWEST) <= 768
    assert browser.run("scrollY") == 0


@needs_browser
def test_the_page_of_the_smoke_run_shows_every_figure_and_claim(browser, smoke_run) -> None:
    results = smoke_run / "results" / "smoke"
    look(browser, results / "report.html")
    widths = browser.run(WIDTHS)
    assert len(widths) == len(figures.FIGURES) and min(widths) > 0
    assert problems(browser.events) == []
    reader = Reader((results / "report.html").read_text(encoding="utf-8"))
    for name in figures.FIGURES:
        for words in (results / "figures" / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[1:]:
            assert " ".join(words.split()) in reader.text, name
    claims = load_table(results / "tables" / "claims.csv", "claims")
    assert browser.run("document.querySelectorAll('.numbers th[scope=row]').length") == len(claims)
    found = load_json(results / "provenance.json")
    assert found["config_hash"] in reader.text and f"torch {found['versions']['torch']}" in reader.text
    for link in {each["href"] for each in reader.of("a")}:
        if not link.startswith(("#", "https:")):
            assert (results / link).is_file(), link
    assert (results / "report.html").stat().st_size < 10e6
    assert "Settings that differ from the default, config/config.yaml" in reader.tables


@needs_browser
def test_the_keyboard_reaches_everything_and_opens_what_is_closed(browser, full) -> None:
    look(browser, full)
    press(browser, "Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0  # it can be seen
    reached = []
    for _ in range(400):
        reached.append(browser.run("document.activeElement.tagName"))
        if reached[-1] == "SUMMARY":
            break
        press(browser, "Tab", 9)
    assert reached[-1] == "SUMMARY" and "A" in reached and "DIV" in reached  # links, and boxes that scroll
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert not browser.run("document.activeElement.parentElement.open")
    press(browser, "Enter", 13, "\r")
    assert browser.run("document.activeElement.parentElement.open")


@needs_browser
def test_on_paper_every_table_is_there_and_no_figure_is_cut(browser, full) -> None:
    look(browser, full)
    unseen = "[...document.querySelectorAll('table')].filter(each => !each.checkVisibility()).length"
    assert browser.run(unseen) >= len(CLAIMS)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.run(unseen) == 0
    assert browser.run("getComputedStyle(document.querySelector('figure > .scroll')).breakInside") == "avoid"
    assert browser.run("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    printed = base64.b64decode(browser.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", printed)) > 3


@needs_browser
def test_the_browser_sees_errors_requests_and_broken_pictures(browser, tmp_path) -> None:
    before, end, after = render().rpartition("</body>")
    bad = "<script>console.error('made up'); fetch('http://example.invalid/x').catch(() => 0); nothing.there()</script>"
    broken = '<img src="data:image/png;base64,iVBORw0KGgo="><div style="width: 3000px">wide</div>'
    (tmp_path / "report.html").write_text(before + broken + bad + end + after)
    look(browser, tmp_path / "report.html")
    found = "\n".join(problems(browser.events))
    assert "console: made up" in found and "nothing is not defined" in found
    assert "request: http://example.invalid/x" in found
    assert browser.run(WIDTHS)[-1] == 0
    assert browser.run(WIDER) > 0


# ---------------------------------------------------------------------------------------------- Snakemake's own report


def test_snakemakes_own_report_can_still_be_had(smoke_run) -> None:
    text = (smoke_run / "results" / "smoke" / "snakemake_report.html").read_text(encoding="utf-8")
    for name in (*(f"{name}.png" for name in figures.FIGURES), *(f"{name}.csv" for name in contract.TABLES)):
        assert name in text
    assert "One trial as a trained network sees it" in text  # a caption
    assert "System Message" not in text and "system-message" not in text
