"""How figures look: sizes in print, and colours that colour-blind readers can tell apart."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

P = ParamSpec("P")

# Okabe & Ito, "Color universal design", 2008.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW = "#56B4E9", "#CC79A7", "#F0E442"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW)
INK, MUTED = "#1b1b1f", "#8b8b93"
PART_COLOURS = {"train": BLUE, "valid": ORANGE, "test": GREEN}
PART_NAMES = {"train": "training", "valid": "validation", "test": "test"}
# Width of two columns of a journal, in inches.
WIDTH = 7.2
# R2 below this is drawn at it.
LOWEST_R2 = -1.0

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names of channels are no formulas
    "axes.formatter.use_mathtext": False,
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 300,
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that draws a figure, with the settings of `STYLE`."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return draw_in_style


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, sizes in inches, that is not registered with pyplot."""
    return Figure(figsize=(width, height), layout="constrained")


def shortened(name: str, most: int = 28) -> str:
    """A name whose beginning is left out where it is long, whole parts of a path if that will do.

    >>> shortened("recording/behavior/angular_velocity", 20)
    '…/angular_velocity'
    """
    if len(name) <= most:
        return name
    tail = name
    while "/" in tail and len(tail) > most - 2:
        tail = tail.split("/", 1)[1]
    return f"…/{tail}" if len(tail) <= most - 2 else "…" + tail[1 - most :]


def patch(colour: str, label: str, **look: Any) -> Patch:
    """A patch of colour for a legend."""
    return Patch(facecolor=colour, label=label, **look)
