"""The latents of one whole recording over time."""

import dataclasses

import numpy as np

from ceneurovae.windows import runs_between

MOST_POINTS = 1000
MOST_BEHAVIOURS = 3


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Latents of a recording, one point for each of evenly spaced windows.

    Args:
        recording: Index of the recording.
        middle: `(m,)`, the sample in the middle of each window.
        stretch: `(m,)`, number of the uninterrupted stretch that each window is in.
        mu: `(m, Z)`, of the encoder.
        behaviours: Names of the behaviour that a straight line reads best from the latents, in
            the last 30 % of the time, fitted to the time before.
        behaviour: `(m, b)`, its values in raw units.
    """

    recording: int
    middle: np.ndarray
    stretch: np.ndarray
    mu: np.ndarray
    behaviours: tuple
    behaviour: np.ndarray


def follow_latents(model, windows, labels):
    """Encodes all of the recording that most held-out windows are of.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        windows: Held-out `Windows`.
        labels: `Label`s of their recordings, of which those that are channels are behaviour.

    Returns:
        `Trajectory`.
    """
    counts = np.bincount(windows.runs[:, 0], windows.runs[:, 2])
    index = int(np.argmax(counts))
    recording = windows.recordings[index]
    stride = max(1, len(recording.values) // MOST_POINTS)
    runs = runs_between(recording, windows.seq_len, stride)
    whole = type(windows).from_runs([recording], windows.seq_len, [runs])
    chosen = np.linspace(0, len(whole) - 1, min(len(whole), MOST_POINTS)).astype("int64")
    slabs = np.array_split(chosen, -(-len(chosen) // 256))
    mu = np.concatenate([model.encode(whole.gather(slab), 256).mu for slab in slabs])
    _, start = whole.locate(chosen)
    middle = start + windows.seq_len // 2
    behaviour = [label for label in labels if label.is_channel]
    values = np.empty((len(middle), len(behaviour)))
    for column, label in enumerate(behaviour):
        values[:, column] = label.values[index][middle]
    best = _best_read(mu, values)
    return Trajectory(
        index,
        middle,
        np.searchsorted(recording.breaks, start, side="right"),
        mu,
        tuple(behaviour[n].name for n in best),
        values[:, best],
    )


def _best_read(codes, values):
    """Indices of the columns of `values` `(m, b)` that codes tell best, by `_readout_r2`."""
    scores = np.array([_readout_r2(codes, column) for column in values.T])
    order = np.argsort(-scores, kind="stable")[:MOST_BEHAVIOURS]
    return [int(n) for n in order if scores[n] > -np.inf]


def _readout_r2(codes, column):
    """R2 of a straight line in the last 30 % of the time, fitted before; -inf without data."""
    seen = ~np.isnan(column)
    codes, column = np.column_stack([codes[seen], np.ones(seen.sum())]), column[seen]
    cut = int(0.7 * len(column))
    if cut <= codes.shape[1] or not np.var(column[cut:]) > 0:
        return -np.inf
    weights = np.linalg.lstsq(codes[:cut], column[:cut], rcond=None)[0]
    return 1 - np.mean(np.square(column[cut:] - codes[cut:] @ weights)) / np.var(column[cut:])
