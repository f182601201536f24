"""The plots of a run's controls: refits to shifted channels, and decoding of labels."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ceneurovae.hints import JSON
from ceneurovae.report.style import (
    BLUE,
    LOWEST_R2,
    MUTED,
    ORANGE,
    SKY,
    VERMILION,
    new_figure,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from ceneurovae.report.data import ReportData

METHODS = {"latents": BLUE, "pca": VERMILION, "channels": SKY, "null": MUTED}
METHOD_NAMES = {
    "latents": "latents",
    "pca": "PCA",
    "channels": "channels",
    "null": "shifted labels",
}
METRICS = {
    "r2": "R2 of the prediction (1 is perfect, 0 the mean)",
    "balanced_accuracy": "balanced accuracy (1 is perfect)",
}


@styled
def plot_null_control(data: "ReportData") -> Figure:
    """Scores on the data as it is, beside those on data in which channels are shifted.

    Args:
        data: `ReportData` of a run with `null.json`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the control was not run.
    """
    if data.null is None:
        raise ValueError(
            f"The run in '{data.path}' has no null.json. Make it: ceneurovae evaluate RUN --null"
        )
    figure = new_figure(1.9)
    for axes, (score, title) in zip(
        figure.subplots(1, 2), (("r2", "R2"), ("skill", "skill")), strict=True
    ):
        kinds = {
            "data as it is": ([data.null["real"]], BLUE, "o"),
            "channels shifted": (data.null["shifted"], MUTED, "o"),
            "time shuffled": ([data.null.get("time_shuffled") or {}], ORANGE, "x"),
        }
        for row, (found, colour, marker) in enumerate(kinds.values()):
            values = [f[score] for f in found if f.get(score) is not None]
            axes.scatter(values, np.full(len(values), row), s=24, color=colour, marker=marker)
        axes.axvline(0, color=MUTED, linewidth=0.6)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.set_xlabel(f"{title} on held-out data (1 is perfect)")
        axes.set_ylabel("refit to")
    return figure


@styled
def plot_decoding(data: "ReportData") -> Figure:
    """How well labels can be decoded from latents, principal components and channels.

    Args:
        data: `ReportData` of a run with `decoding.json`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if nothing was decoded.
    """
    labels = (data.decoding or {}).get("labels", [])
    if not labels:
        raise ValueError(
            f"The run in '{data.path}' has no decoding.json. Make it: ceneurovae evaluate RUN "
            "--decode"
        )
    kinds = [kind for kind in METRICS if any(label["metric"] == kind for label in labels)]
    shown = {kind: [label for label in labels if label["metric"] == kind] for kind in kinds}
    ratios = [len(part) + 1 for part in shown.values()]
    figure = new_figure(0.8 + 0.45 * len(labels) + 0.4 * len(kinds))
    grid = figure.subplots(len(kinds), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (kind, part) in zip(grid, shown.items(), strict=True):
        for place, (method, colour) in enumerate(METHODS.items()):
            rows = np.arange(len(part)) + 0.18 * (place - 1.5)
            found = [label.get(method) or {} for label in part]
            mean, std = ([_or_nan(f.get(key)) for f in found] for key in ("mean", "std"))
            if kind == "r2":
                mean = np.maximum(mean, LOWEST_R2)
            axes.errorbar(
                *(mean, rows),
                xerr=std,
                fmt="o",
                markersize=4,
                linewidth=1,
                color=colour,
                label=METHOD_NAMES[method],
            )
        axes.set_yticks(range(len(part)), [_name(label) for label in part])
        axes.set_ylim(len(part) - 0.5, -0.5)
        axes.set_xlabel(METRICS[kind])
        axes.set_ylabel("label")
        if kind == "r2":
            axes.axvline(0, color=MUTED, linewidth=0.6)
            left, right = axes.get_xlim()
            axes.set_xlim(max(left, LOWEST_R2 - 0.05), min(right, 1.05))
    figure.legend(
        *grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, handlelength=1.2
    )
    return figure


def _name(label: JSON) -> str:
    """The name of a label, with a star where it is a channel that the model was trained on."""
    return shortened(label["name"]) + (" *" if label.get("in_model") else "")


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
