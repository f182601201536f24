"""The plots of a run's data, training and reconstructions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from ceneurovae.hints import JSON, Array
from ceneurovae.report.style import (
    BLUE,
    INK,
    LOWEST_R2,
    MUTED,
    PART_COLOURS,
    PART_NAMES,
    SKY,
    VERMILION,
    new_figure,
    patch,
    shortened,
    styled,
)
from ceneurovae.report.timeline import RecordingTimeline

if TYPE_CHECKING:
    from ceneurovae.report.data import ReportData
    from ceneurovae.report.shown_windows import Example

MOST_RECORDINGS = 20
# Channels of which each is named on its axis.
MOST_NAMES = 40


@styled
def plot_timeline(data: "ReportData") -> Figure:
    """Which time of each recording was training, validation and test data, and what is missing.

    Args:
        data: `ReportData`, as `gather` returns it. At most 20 recordings are drawn.

    Returns:
        `matplotlib.figure.Figure`.
    """
    recordings = data.recordings[:MOST_RECORDINGS]
    figure = new_figure(0.95 + 0.32 * len(recordings))
    axes = figure.add_subplot()
    most_missing = _usual_most([recording.missing_in for recording in recordings])
    for row, recording in enumerate(recordings):
        _draw_recording(axes, row, recording, data.rate_hz, most_missing)
    names = [shortened(recording.name) for recording in recordings]
    axes.set_yticks(range(len(recordings)), names)
    axes.set_ylim(len(recordings) - 0.45, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(data.time_label)
    axes.set_ylabel("recording")
    handles = [patch(PART_COLOURS[part], PART_NAMES[part]) for part in PART_COLOURS]
    if most_missing:
        full = f"share missing (full height: {100 * most_missing:.2g} % or more)"
        handles.append(patch(INK, full))
    figure.legend(handles=handles, loc="outside upper left", ncols=4, handlelength=1.2)
    return figure


def _usual_most(shares: Sequence[Array]) -> float:
    """The 99 % quantile of shares, or the largest where that is 0."""
    shares = np.concatenate(shares)
    return np.quantile(shares, 0.99) or shares.max()


def _draw_recording(
    axes: Any, row: int, recording: RecordingTimeline, rate: float, most_missing: float
) -> None:
    """The parts of a recording as bars, and the share that is missing as a strip below them."""
    for part, first, last in recording.spans:
        span = (first / rate, (last - first) / rate)
        axes.broken_barh([span], (row - 0.3, 0.34), facecolor=PART_COLOURS[part])
    edges, floor = recording.edges / rate, row + 0.36
    axes.hlines(floor, edges[0], edges[-1], color=MUTED, linewidth=0.6)
    if most_missing:
        heights = 0.28 * np.minimum(recording.missing_in / most_missing, 1)
        axes.stairs(floor - heights, edges, baseline=floor, fill=True, color=INK, linewidth=0.4)


@styled
def plot_learning_curves(data: "ReportData") -> Figure:
    """ELBO, reconstruction loss and KL of training and validation data over the epochs.

    Args:
        data: `ReportData`. Epochs in which the KL weight was below its last value are shaded.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if no epoch of the training is known.
    """
    if not data.history:
        raise ValueError(f"The run in '{data.path}' has no history.csv, so there are no curves.")
    panels = {"elbo": "ELBO", "reconstruction": "reconstruction loss", "kl": "KL divergence"}
    figure = new_figure(2.5)
    all_axes = figure.subplots(1, len(panels))
    for axes, (key, title) in zip(all_axes, panels.items(), strict=True):
        _shade_ramp(axes, data.history)
        for prefix, part in (("", "train"), ("val_", "valid")):
            rows = [row for row in data.history if prefix + key in row]
            if rows:
                axes.plot(
                    [row["epoch"] + 1 for row in rows],
                    [row[prefix + key] for row in rows],
                    color=PART_COLOURS[part],
                    marker="o" if len(rows) < 3 else None,
                    label=PART_NAMES[part],
                )
        chosen = (data.choices or {}).get("epoch")
        if chosen is not None:
            axes.axvline(chosen + 1, color=INK, linewidth=0.8, linestyle=":", label="chosen epoch")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        unit = "nats" if key == "kl" else data.loss_unit
        axes.set_ylabel(f"{unit} per window")
    handles = dict(zip(*reversed(all_axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper left", ncols=4, handlelength=1.5
    )
    return figure


def ramp_spans(history: Sequence[JSON]) -> list[tuple[int, int]]:
    """Epochs, from 1, in which the KL weight was below its last value: `(first, last)`."""
    weights = [row.get("kl_weight") for row in history]
    spans: list[tuple[int, int]] = []
    for row, weight in zip(history, weights, strict=True):
        if weight is None or weights[-1] is None or weight >= weights[-1]:
            continue
        epoch = int(row["epoch"]) + 1
        if spans and spans[-1][1] == epoch - 1:
            spans[-1] = (spans[-1][0], epoch)
        else:
            spans.append((epoch, epoch))
    return spans


def _shade_ramp(axes: Any, history: Sequence[JSON]) -> None:
    for first, last in ramp_spans(history):
        axes.axvspan(first - 0.5, last + 0.5, color=MUTED, alpha=0.25, linewidth=0, label="KL ramp")


@styled
def plot_reconstructions(data: "ReportData") -> Figure:
    """The best, the median and the worst held-out window as recorded and as reconstructed.

    Args:
        data: `ReportData`. Where nothing was observed, the background is shaded; intervals hold
            90 % of what the model expects to be recorded.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if no held-out window has anything to explain.
    """
    examples, channels = data.windows.examples, data.windows.channels
    if not examples:
        raise ValueError("No held-out window has an observed value that differs from its mean.")
    figure = new_figure(0.9 + 0.5 * len(channels))
    grid = figure.subplots(len(channels), len(examples), squeeze=False, sharex="col", sharey="row")
    for column, example in enumerate(examples):
        grid[0, column].set_title(
            f"{example.title}, R2 = {example.r2:.2f}\n{shortened(example.recording)}"
        )
        time = (example.start + np.arange(data.seq_len)) / data.rate_hz
        for row in range(len(channels)):
            _draw_window(grid[row, column], time, example, row)
        grid[-1, column].set_xlabel(data.time_label)
    for row, channel in enumerate(channels):
        grid[row, 0].set_ylabel(
            shortened(data.channels[channel], 26),
            rotation=0,
            horizontalalignment="right",
            verticalalignment="center",
        )
    figure.supylabel(f"value ({data.value_unit})", fontsize=8)
    handles = [
        *grid[0, 0].get_legend_handles_labels()[0],
        patch(MUTED, "missing", alpha=0.3),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, handlelength=1.5)
    return figure


def _draw_window(axes: Any, time: Array, example: "Example", row: int) -> None:
    low, high, target = (part[:, row] for part in (example.low, example.high, example.target))
    axes.fill_between(time, low, high, color=SKY, alpha=0.35, linewidth=0, label="90 % interval")
    axes.plot(time, target, color=INK, linewidth=0.9, marker=".", markersize=1.5, label="recorded")
    axes.plot(time, example.reconstruction[:, row], color=BLUE, label="reconstruction")
    step = time[1] - time[0] if len(time) > 1 else 1.0
    for sample in np.flatnonzero(np.isnan(target)):
        middle = time[sample]
        axes.axvspan(middle - step / 2, middle + step / 2, color=MUTED, alpha=0.3, linewidth=0)
    axes.locator_params(axis="y", nbins=3)
    axes.margins(x=0)


@styled
def plot_channel_r2(data: "ReportData") -> Figure:
    """R2 of each channel on held-out data, beside that of PCA with as many components.

    Args:
        data: `ReportData`. What is below -1 is drawn at -1.

    Returns:
        `matplotlib.figure.Figure`.
    """
    names, scores = channel_scores(data)
    named = len(names) <= MOST_NAMES
    figure = new_figure(3.4 if named else 2.8)
    axes = figure.add_subplot()
    place = np.arange(1, len(names) + 1)
    looks = {"VAE": (BLUE, "o"), "PCA": (VERMILION, "x")}
    drawn = {name: np.maximum(scores[name], LOWEST_R2) for name in looks if name in scores}
    if len(drawn) == 2:
        axes.vlines(place, drawn["VAE"], drawn["PCA"], color=MUTED, linewidth=0.6)
    for name, values in drawn.items():
        colour, marker = looks[name]
        axes.scatter(place, values, s=14, color=colour, marker=marker, linewidth=1, label=name)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    if named:
        short = [shortened(name, 26) for name in names]
        axes.set_xticks(place, short, rotation=60, horizontalalignment="right")
        axes.set_xlabel("channel, from the best to the worst")
    else:
        axes.set_xlabel("rank of the channel, from the best to the worst")
    axes.set_ylabel("R2 (1 is perfect)")
    axes.set_ylim(top=1.02)
    axes.legend(loc="lower left")
    return figure


def channel_scores(data: "ReportData") -> tuple[list[str], dict[str, Array]]:
    """R2 of each channel by method, sorted by that of the VAE.

    Returns:
        `(names, scores)`: names of the channels, and a dictionary from `VAE`, `refined` and `PCA`,
        as far as they are there, to arrays with NaN where R2 is not defined.
    """
    test, baselines = data.metrics["test"], data.metrics.get("baselines", {})
    methods = {"VAE": test, "refined": test.get("refined"), "PCA": baselines.get("pca")}
    scores = {
        name: np.array([np.nan if c["r2"] is None else c["r2"] for c in found["per_channel"]])
        for name, found in methods.items()
        if found is not None
    }
    order = np.argsort(-scores["VAE"], kind="stable")
    names = [test["per_channel"][n]["name"] for n in order]
    return names, {name: values[order] for name, values in scores.items()}
