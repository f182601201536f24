"""Which figures a run has, and how they become files or pieces of a page."""

import functools
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from ceneurovae.hints import JSON, PathLike
from ceneurovae.report import control_figures, figures, latent_figures
from ceneurovae.report.style import BLUE, INK, MUTED, SKY
from ceneurovae.whole_file import whole_file

if TYPE_CHECKING:
    from ceneurovae.report.data import ReportData

# Colours that are others where the page is dark: variables of page.css.
PAGE_COLOURS = {INK: "ink", MUTED: "muted", BLUE: "blue", SKY: "sky"}


def available_figures(data: "ReportData") -> dict[str, Callable[[], Figure]]:
    """The figures that there is something to draw in, by name, in the order of the page.

    Args:
        data: `ReportData`.

    Returns:
        Dictionary from names to functions without arguments that return a matplotlib figure.
    """
    scatters = {
        f"scatter_{n}d": (latent_figures.plot_scatter, {"dimensions": n})
        for n in (2, 3)
        if len(data.latent_order) >= n
    }
    drawn: dict[str, tuple[Callable[..., Figure], JSON] | None] = {
        "timeline": (figures.plot_timeline, {}),
        "learning_curves": (figures.plot_learning_curves, {}) if data.history else None,
        "reconstructions": (figures.plot_reconstructions, {}) if data.windows.examples else None,
        "channel_r2": (figures.plot_channel_r2, {}),
        "latents": (latent_figures.plot_latents, {}),
        "trajectories": (latent_figures.plot_trajectories, {}),
        **scatters,
        "null_control": (control_figures.plot_null_control, {}) if data.null else None,
        "decoding": (control_figures.plot_decoding, {}) if _has_labels(data) else None,
    }
    return {
        name: functools.partial(item[0], data, **item[1])
        for name, item in drawn.items()
        if item is not None
    }


def _has_labels(data: "ReportData") -> bool:
    return bool((data.decoding or {}).get("labels"))


def write_figures(data: "ReportData", folder: PathLike) -> list[Path]:
    """Writes every figure as `NAME.svg`, whose text is text, and `NAME.png` with 300 dpi.

    They are 7.2 inches wide, two columns of a journal; the scatter is 4.2.

    Args:
        data: `ReportData`.
        folder: Made if need be; figures of the same names are replaced.

    Returns:
        List of the paths.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in available_figures(data).items():
        figure = draw()
        for suffix in ("svg", "png"):
            paths.append(folder / f"{name}.{suffix}")
            with whole_file(paths[-1]) as temporary:
                _save(figure, temporary, suffix, name)
    return paths


def _save(figure: Figure, file: Any, suffix: str, name: str, **arguments: Any) -> None:
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name}
    metadata = {"Date": None} if suffix == "svg" else None
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The font of a browser has what that of matplotlib lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(file, format=suffix, metadata=metadata, dpi=300, **arguments)


def as_inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an `<svg>` for a page, whose colours suit it in the light and the dark.

    Args:
        figure: Of matplotlib.
        name: Makes the identifiers in it unique in the page.
        description: What it shows, for those who cannot see it: text, already escaped.
    """
    buffer = io.StringIO()
    _save(figure, buffer, "svg", name, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, count=1, flags=re.DOTALL)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour.lower(), f"var(--{variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
