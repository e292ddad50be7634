"""Every figure of a run: its name and the tables it is drawn from. This is the registry; importing it costs nothing.

A figure is a module of this package with the name it has here. It holds two functions:

    draw(tables, settings) -> matplotlib Figure
    caption(tables, settings) -> str, plain text that stands alone; an empty line ends a paragraph

`render` calls them, `style` has what figures share. docs/extending.md shows how to add one.
"""

from pathlib import Path

FIGURES: dict[str, tuple[str, ...]] = {
    # the five that tell the story, in its order
    "task": ("trial",),
    "extrapolation": ("extrapolation", "scores"),
    "correlation": ("slow_points", "scores", "correlation"),
    "states": ("portraits", "formation", "scores"),
    "regularisation": ("extrapolation", "scores", "slow_points"),
    # supplements
    "training": ("training",),
    "budget": ("correlation",),
    "backtrack": ("backtrack", "formation"),
    "formation": ("formation", "confusion_test"),
    "kinds": ("spectrum", "scores"),
    "portraits": ("portraits",),
    "predictors": ("predictors", "predictions"),
}


def module_of(name: str) -> Path:
    """File of a figure.

    Raises:
        ValueError: no such figure; the message lists those there are.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure named {name!r}; expected one of {', '.join(FIGURES)}")
    return Path(__file__).with_name(f"{name}.py")
