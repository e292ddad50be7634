"""What every figure of the registry must do, whatever there is to show."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from docutils.core import publish_parts
from PIL import Image

from memrnn.core.tables import TABLES, columns_of
from memrnn.figures import FIGURES, module_of, render

from .made import SETTINGS, make_tables

ROOT = Path(__file__).resolve().parents[2]
NOT_COMPUTED = dict.fromkeys(("rho", "low", "high", "gain", "gain_low", "gain_high"), np.nan)


def nothing_learned(tables):
    return tables | {
        "scores": tables["scores"].assign(learned=False),
        "formation": tables["formation"].assign(learned=False),
        "confusion_test": tables["confusion_test"].assign(excess=np.nan, p=np.nan),
        "correlation": tables["correlation"].assign(rho=np.nan, low=np.nan, high=np.nan),
        "predictors": tables["predictors"].assign(**NOT_COMPUTED),
        "predictions": tables["predictions"].assign(learned=False, predicted=np.nan),
    }


def without_optional(tables):
    """Nobody was followed back, nobody was trained on."""
    optional = [name for name, table in TABLES.items() if table.may_be_without_rows]
    empty = {name: pd.DataFrame(columns=columns_of(name)) for name in optional}
    trained = {name: rows[rows["phase"] == "trained"] for name, rows in tables.items() if "phase" in rows}
    return tables | trained | empty


def one_panel(tables):
    """One cell and one protocol."""
    return {
        name: rows if name == "trial" else rows[rows["cell"].eq("gru") & rows["curriculum"].isin(["vocu", "all"])]
        for name, rows in tables.items()
    }


def no_intervals(tables):
    bare = {"low": np.nan, "high": np.nan}
    return tables | {
        "correlation": tables["correlation"].assign(**bare),
        "predictors": tables["predictors"].assign(**bare, gain_low=np.nan, gain_high=np.nan),
    }


CASES = {
    "all there is": dict,
    "one network": lambda _: make_tables(seeds=(3,)),
    "one panel": one_panel,
    "nothing learned": nothing_learned,
    "no optional table": without_optional,
    "no intervals": no_intervals,
}


def pairs() -> Iterator[tuple[str, str]]:
    """Every figure with the full tables, and with those cases that change one of its tables."""
    full = make_tables()
    for case, change in CASES.items():
        given = change(full)
        for name, needed in FIGURES.items():
            if case == "all there is" or not all(given[table].equals(full[table]) for table in needed):
                yield case, name


@pytest.mark.parametrize(("case", "name"), [*pairs()])
def test_a_figure_and_its_caption_can_be_read(case, name, tables, drawn):
    given = CASES[case](tables)
    given = {table: given[table] for table in FIGURES[name]}  # not a table more than it says
    figure = drawn(name) if case == "all there is" else render.draw(name, given, SETTINGS)
    check_words(figure)
    check_caption(render.caption(name, given, SETTINGS))


def words_of(figure) -> list:
    """Every text that is drawn: titles, labels, notes, legends, and the ticks within the axes' limits."""
    found = [figure._suptitle] if figure._suptitle else []
    found += [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        found += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text()]


def check_words(figure) -> None:
    """Every word lies inside the canvas and is large enough; titles, labels and legends do not overlap."""
    figure.draw_without_rendering()  # as when it is saved: without the style
    words = words_of(figure)
    assert words
    for text in words:
        found = text.get_window_extent()
        assert figure.bbox.x0 <= found.x0 < found.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= found.y0 < found.y1 <= figure.bbox.y1, text
        assert text.get_fontsize() >= 7, text
    apart = [
        text for axes in figure.axes for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)
    ]
    apart = [text for text in apart if text.get_text() and text.get_visible()] + list(figure.legends)
    boxes = [each.get_window_extent().shrunk(0.98, 0.98) for each in apart]
    for (one, a), (other, b) in itertools.combinations(zip(apart, boxes, strict=True), 2):
        assert not a.overlaps(b), (one, other)


def check_caption(text: str) -> None:
    """A caption is plain text, tells numbers, has no holes, and reads the same in the report."""
    assert len(text) > 60 and re.search(r"\d", text)
    assert not re.search(r"\bNone\b|\bnan\b|[{}]|  ", text), text
    page = publish_parts(text, writer="html", settings_overrides={"report_level": 1, "warning_stream": False})
    shown = page["html_body"].replace("&quot;", '"').replace("&amp;", "&")
    assert "system-message" not in shown
    assert " ".join(re.sub(r"<[^>]+>", "", shown).split()) == " ".join(text.split())


@pytest.mark.parametrize("name", FIGURES)
def test_files_are_whole_not_blank_and_the_same_each_time(name, tables, tmp_path):
    for copy in ("one", "two"):
        render.save(render.draw(name, tables, SETTINGS), tmp_path / f"{copy}.png", tmp_path / f"{copy}.svg", dpi=100)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()

    image = Image.open(tmp_path / "one.png").convert("RGB")
    assert image.width == 700  # inches x dots per inch
    assert np.asarray(image, dtype=float).std() > 15
    assert len(image.getcolors(maxcolors=image.width * image.height)) > 100

    root = ElementTree.parse(tmp_path / "one.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg", "two.png", "two.svg"]


def test_every_figure_of_a_finished_run_can_be_read(smoke_run):
    results = Path(smoke_run) / "results" / "smoke"
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    settings = SETTINGS | {"search_steps": config["claims"]["search_steps"]}
    tables = {path.stem: pd.read_csv(path) for path in (results / "tables").glob("*.csv")}
    for name in FIGURES:
        check_words(render.draw(name, tables, settings))
        check_caption((results / "figures" / f"{name}.txt").read_text())


def test_every_figure_has_a_module_and_every_module_is_a_figure_or_shared():
    modules = {path.stem for path in module_of("task").parent.glob("*.py")}
    assert modules == {*FIGURES, "__init__", "render", "style"}
    assert {table for needed in FIGURES.values() for table in needed} <= set(TABLES)


def test_refuses_unknown_figures_and_missing_tables(tables):
    with pytest.raises(ValueError, match=r"no figure named 'trail'; expected one of task, extrapolation"):
        module_of("trail")
    with pytest.raises(ValueError, match="'correlation' needs the tables slow_points, correlation; given: scores"):
        render.draw("correlation", {"scores": tables["scores"]}, SETTINGS)
