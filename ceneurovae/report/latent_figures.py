"""The plots of a run's latents: how much each is used, over time, and as a space."""

import numpy as np

from ceneurovae.model.metrics import ACTIVE_VARIANCE
from ceneurovae.report.data import LATENTS_DRAWN
from ceneurovae.report.style import (
    BLUE,
    CYCLE,
    INK,
    MUTED,
    PART_COLOURS,
    PART_NAMES,
    new_figure,
    patch,
    shortened,
    styled,
)


@styled
def plot_latents(data):
    """KL divergence of each latent, and how much its mean varies over held-out windows.

    Args:
        data: `ReportData`. Latents whose mean has a variance of more than 0.01 are active (Burda,
            Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, section 5.2).

    Returns:
        `matplotlib.figure.Figure`.
    """
    order = data.latent_order
    kl = np.array(data.metrics["test"]["kl_per_latent"])[order]
    variance = data.windows.mu.var(axis=0)[order]
    colours = np.where(variance > ACTIVE_VARIANCE, BLUE, MUTED)
    place = np.arange(len(order))
    figure = new_figure(2.4)
    left, right = figure.subplots(1, 2)
    left.bar(place, kl, color=colours, width=0.7)
    left.set_ylabel("KL divergence (nats per window)")
    right.scatter(place, np.maximum(variance, 1e-6), color=colours, s=18)
    right.axhline(ACTIVE_VARIANCE, color=INK, linewidth=0.8, linestyle=":")
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("")
    right.set_ylabel("variance of the mean (prior: 1)")
    for axes in (left, right):
        axes.set_xlabel("latent, by KL divergence")
        if len(order) <= LATENTS_DRAWN * 2:
            axes.set_xticks(place, [f"z{n}" for n in order])
    return figure


@styled
def plot_trajectories(data):
    """Latents over the whole time of a recording, with behaviour below them.

    Args:
        data: `ReportData`. The 8 latents with the most KL divergence are drawn; the background
            says what was training, validation and test data.

    Returns:
        `matplotlib.figure.Figure`.
    """
    rows = trajectory_rows(data)
    figure = new_figure(0.7 + 0.45 * len(rows))
    all_axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    spans = data.recordings[data.trajectory.recording].spans
    time, breaks = trajectory_time(data)
    for axes, (label, values, is_latent) in zip(all_axes, rows, strict=True):
        for part, first, last in spans:
            axes.axvspan(
                first / data.rate_hz,
                last / data.rate_hz,
                color=PART_COLOURS[part],
                alpha=0.12,
                linewidth=0,
            )
        dots = len(breaks) > len(time) // 4
        axes.plot(
            np.insert(time, breaks, np.nan),
            np.insert(values, breaks, np.nan),
            color=BLUE if is_latent else INK,
            linewidth=0.8,
            marker="." if dots else None,
            markersize=3,
        )
        axes.set_ylabel(label, rotation=0, horizontalalignment="right", verticalalignment="center")
        axes.locator_params(axis="y", nbins=3)
        axes.margins(x=0)
    all_axes[-1].set_xlabel(data.time_label)
    figure.supylabel("latents in prior s.d., behaviour in units of the file", fontsize=8)
    handles = [patch(PART_COLOURS[part], PART_NAMES[part]) for part in PART_COLOURS]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, handlelength=1.2)
    return figure


def trajectory_rows(data):
    """What is drawn over time: `(label, values (m,), whether it is a latent)`."""
    trajectory = data.trajectory
    rows = [(f"z{n}", trajectory.mu[:, n], True) for n in data.latent_order[:LATENTS_DRAWN]]
    pairs = zip(trajectory.behaviours, trajectory.behaviour.T, strict=True)
    return rows + [(shortened(name, 26), values, False) for name, values in pairs]


def trajectory_time(data):
    """Time of the points of the trajectory, and the points before which a line is broken."""
    trajectory = data.trajectory
    return trajectory.middle / data.rate_hz, np.flatnonzero(np.diff(trajectory.stretch)) + 1


@styled
def plot_scatter(data, colour=None, dimensions=2, latents=None):
    """Held-out windows as points in the space of two or three latents.

    Args:
        data: `ReportData`.
        colour: Name of one of `data.colourings`; by default the behaviour that latents tell best,
            else the time.
        dimensions: 2 or 3.
        latents: Indices of the latents on the axes; by default those with the most KL divergence.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no such colouring, or there are too few latents.
    """
    colouring = _colouring(data, colour)
    latents = data.latent_order[:dimensions] if latents is None else latents
    if dimensions not in (2, 3) or len(latents) != dimensions:
        raise ValueError(
            f"Received {dimensions} dimensions and latents {list(map(int, latents))} of a model "
            f"with {len(data.latent_order)}; expected 2 or 3 dimensions and a latent for each."
        )
    figure = new_figure(3.2, width=4.2)
    axes = figure.add_subplot(projection="3d" if dimensions == 3 else None)
    points = data.windows.mu[:, latents].T
    unknown = np.isnan(colouring.values)
    if unknown.any():
        axes.scatter(*points[:, unknown], s=7, color=MUTED, linewidth=0)
    if colouring.categories is None:
        drawn = axes.scatter(
            *points[:, ~unknown], s=7, c=colouring.values[~unknown], cmap="viridis", linewidth=0
        )
        pad = {"pad": 0.12} if dimensions == 3 else {}
        figure.colorbar(drawn, label=shortened(colouring.name, 32), **pad)
    else:
        for index, category in enumerate(colouring.categories):
            points_of = points[:, colouring.values == index]
            axes.scatter(
                *points_of, s=7, color=CYCLE[index % len(CYCLE)], linewidth=0, label=category
            )
        figure.legend(loc="outside right upper", title=shortened(colouring.name, 32))
    for name, latent in zip("xyz", latents, strict=False):
        getattr(axes, f"set_{name}label")(f"z{latent} (prior s.d.)")
    return figure


def _colouring(data, name):
    if name is None:
        return data.colour
    for colouring in data.colourings:
        if colouring.name == name:
            return colouring
    known = ", ".join(colouring.name for colouring in data.colourings)
    raise ValueError(f"The colour is {name!r}, expected one of {known}.")
