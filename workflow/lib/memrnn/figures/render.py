"""Draw a figure of the registry, write its caption, save both."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import seaborn
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from memrnn.core.files import write_atomic
from memrnn.figures import FIGURES, module_of
from memrnn.figures.style import Settings, Tables


def draw(name: str, tables: Tables, settings: Settings) -> Figure:
    """Draw one figure.

    Args:
        name: key of `FIGURES`.
        tables: the tables that `FIGURES` names for it.
        settings: context and palette (names of seaborn's), search_steps (budget at which the claims are judged),
            max_delay (T_max, time steps), min_delay (delta, time steps), confidence (of the intervals over networks,
            as a share), protocols (of each, its values, starts and out_of, as configured), boundaries (of each
            protocol, the training steps at which it changes the task), log_every (steps of training between rows of its
            log), regularise_steps (steps of further training) and spectrum (that section of the configuration).
    Raises:
        ValueError: no such figure, or a table it needs was not given.
    """
    module = _load(name, tables)
    base = seaborn.axes_style("ticks") | seaborn.plotting_context(settings["context"])
    with rc_context(base | {"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": "medium"}):
        figure = module.draw(tables, settings)
        # The size of its labels decides how many ticks an axis has, and follows the style in force unless it is set.
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            if "labelsize" not in axis.get_tick_params():
                axis.set_tick_params(labelsize=rcParams[f"{axis.axis_name}tick.labelsize"])
        # Ticks are made when first needed, and the layout follows them a draw later: settle both while the style is in
        # force, and then for good, for a layout that is made once more comes out a little different.
        figure.draw_without_rendering()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for axes in figure.axes:  # to how many bits the solver of the layout agrees follows addresses in memory
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(9)))
    return figure


def caption(name: str, tables: Tables, settings: Settings) -> str:
    """Caption of a figure: paragraphs of plain text, each one line; arguments and errors as for `draw`."""
    paragraphs = _load(name, tables).caption(tables, settings).strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) + "\n"


def save(figure: Figure, png: str | Path, svg: str | Path, dpi: int) -> None:
    """Write a figure as PNG and SVG, each file whole or absent; the same figure always gives the same bytes."""
    with write_atomic(png) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
    # Identifiers inside an SVG are random and its header dated unless told otherwise.
    with write_atomic(svg) as temporary, rc_context({"svg.hashsalt": "memrnn"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _load(name: str, tables: Tables) -> ModuleType:
    """Module of a figure whose tables are all there."""
    path = module_of(name)
    missing = [table for table in FIGURES[name] if table not in tables]
    if missing:
        raise ValueError(f"figure {name!r} needs the tables {', '.join(missing)}; given: {', '.join(tables) or 'none'}")
    return import_module(f"memrnn.figures.{path.stem}")
