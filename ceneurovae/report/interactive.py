"""The plots of a page that can be turned, zoomed and asked: Plotly figures as JSON types.

Colours `var(--name)` are those of `page.css`, which the page fills in: some differ in the dark.
"""

import base64
import gzip
import html
from collections.abc import Iterable

import numpy as np

from ceneurovae.hints import JSON
from ceneurovae.report.data import LATENTS_DRAWN, ReportData
from ceneurovae.report.figures import channel_scores
from ceneurovae.report.latent_figures import trajectory_rows, trajectory_time
from ceneurovae.report.style import (
    CYCLE,
    LOWEST_R2,
    PART_COLOURS,
    VERMILION,
)

ROW_HEIGHT = 72
# Which the page replaces.
THEME_BLUE, THEME_SKY, THEME_MUTED = "var(--blue)", "var(--sky)", "var(--muted)"


def packed_plotly() -> str:
    """The library Plotly as base64 of gzip, which a browser unpacks: 2 MB instead of 5.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError("plotly is not installed: pip install 'ceneurovae[report]'.") from error
    packed = gzip.compress(get_plotlyjs().encode(), mtime=0)
    return base64.b64encode(packed).decode()


def channel_figure(data: ReportData) -> JSON:
    """R2 of each channel, with its name where the pointer is."""
    names, scores = channel_scores(data)
    place = list(range(1, len(names) + 1))
    looks = {
        "VAE": (THEME_BLUE, "circle"),
        "refined": (THEME_SKY, "diamond"),
        "PCA": (VERMILION, "x-thin"),
    }
    traces = []
    for method, (colour, symbol) in looks.items():
        if method not in scores:
            continue
        values = scores[method]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": method,
                "visible": "legendonly" if method == "refined" else True,
                "x": place,
                "y": as_json(np.maximum(values, LOWEST_R2)),
                "text": [
                    f"{plain(name)}<br>{method} R2 = {value:.3f}"
                    for name, value in zip(names, values, strict=True)
                ],
                "hoverinfo": "text",
                "marker": {
                    "color": colour,
                    "symbol": symbol,
                    "size": 7,
                    "line": {"color": colour, "width": 2 if symbol == "x-thin" else 0},
                },
            }
        )
    layout = {
        "height": 340,
        "xaxis": {"title": {"text": "rank of the channel"}},
        "yaxis": {"title": {"text": "R2 (1 is perfect)"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def trajectory_figure(data: ReportData) -> JSON:
    """Latents over time, and behaviour below them, all with one axis of time."""
    rows = trajectory_rows(data)
    time, breaks = trajectory_time(data)
    dots = len(breaks) > len(time) // 4
    time = as_json(np.insert(time, breaks, np.nan))
    traces, titles = [], []
    layout: JSON = {"height": 90 + ROW_HEIGHT * len(rows), "showlegend": False}
    for row, (label, values, is_latent) in enumerate(rows):
        axis = "" if row == 0 else str(row + 1)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers" if dots else "lines",
                "name": plain(label),
                "x": time,
                "y": as_json(np.insert(values.astype("float64"), breaks, np.nan)),
                "yaxis": f"y{axis}",
                "line": {"width": 1.3, "color": THEME_BLUE if is_latent else THEME_MUTED},
                "marker": {"size": 4, "color": THEME_BLUE if is_latent else THEME_MUTED},
            }
        )
        top = 1 - row / len(rows)
        layout[f"yaxis{axis}"] = {
            "domain": [top - 0.98 / len(rows), top - 0.24 / len(rows)],
            "nticks": 3,
        }
        unit = "prior s.d." if is_latent else "units of the file"
        titles.append(
            {
                "text": f"{plain(label)} ({unit})",
                "font": {"size": 11},
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": top,
                "xanchor": "left",
                "yanchor": "top",
                "showarrow": False,
            }
        )
    layout["annotations"] = titles
    layout["xaxis"] = {"title": {"text": data.time_label}, "anchor": f"y{len(rows)}"}
    layout["shapes"] = [
        {
            "type": "rect",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": first / data.rate_hz,
            "x1": last / data.rate_hz,
            "fillcolor": PART_COLOURS[part],
            "opacity": 0.13,
            "line": {"width": 0},
            "layer": "below",
        }
        for part, first, last in data.recordings[data.trajectory.recording].spans
    ]
    return {"data": traces, "layout": layout}


def scatter_data(data: ReportData) -> JSON:
    """The points of the scatter and what they can be coloured by; the page draws it.

    Returns:
        Dictionary of JSON types: `latents`, each with its `name` and the `values` of the points,
        the one with the most KL divergence first; `colours`, each with `name`, `values` and
        `categories` or `None`; `colour`, the index of that which is shown first; the `text` of
        each point; and the `palette` of categories.
    """
    windows = data.windows
    unit = "s" if data.recordings[0].rate_hz else "samples"
    times = windows.middle / data.rate_hz
    colours = [
        {
            "name": plain(c.name),
            "values": as_json(c.values),
            "categories": None if c.categories is None else [plain(name) for name in c.categories],
        }
        for c in data.colourings
    ]
    return {
        "latents": [
            {"name": f"z{n}", "values": as_json(windows.mu[:, n])}
            for n in data.latent_order[: max(LATENTS_DRAWN, 3)]
        ],
        "colours": colours,
        "colour": next(n for n, c in enumerate(data.colourings) if c.name == data.colour.name),
        "text": [
            f"{plain(windows.names[n])}, {time:.1f} {unit}, R2 = {r2:.2f}"
            for n, time, r2 in zip(windows.recording, times, windows.r2, strict=True)
        ],
        "palette": list(CYCLE),
    }


def plain(text: str) -> str:
    """Text for Plotly, which takes some signs for markup."""
    return html.escape(text)


def as_json(values: Iterable[float]) -> list[float | None]:
    """Numbers with 4 significant digits, `None` for those that are not finite."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]
