"""Recordings -> windows of equal length, as plain integers; nothing is copied until asked for."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Self

import numpy as np

from ceneurovae.hints import JSON, Array
from ceneurovae.recording import Recording

COPIED_AT_ONCE = 1 << 17  # bytes in one piece of `copy_windows`, below what malloc maps anew
SAMPLES_AT_ONCE = 1 << 22  # values in one piece of `Windows.samples`, 16 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Which stretches of which recordings make up a data set.

    Args:
        recordings: The recordings, all with the same channels.
        seq_len: Length `T` of a window, in samples.
        runs: `(R, 4)`, evenly spaced windows of one recording: its index, the first sample of
            the first window, the number of windows, the samples from one start to the next.
    """

    recordings: tuple[Recording, ...]
    seq_len: int
    runs: np.ndarray

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self.runs) else 0

    @cached_property
    def _ends(self) -> Array:
        return np.cumsum(self.runs[:, 2])

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the `C` channels."""
        return self.recordings[0].channels

    @property
    def in_memory(self) -> bool:
        """Whether the values of all recordings are arrays, rather than on disk."""
        return all(recording.in_memory for recording in self.recordings)

    @property
    def recording(self) -> Array:
        """`(n,)`, index of each window's recording."""
        return self.locate()[0]

    @property
    def start(self) -> Array:
        """`(n,)`, each window's first sample; it ends before `start + seq_len`."""
        return self.locate()[1]

    def locate(self, indices: Iterable[int] | Array | None = None) -> tuple[Array, Array]:
        """`(recording, start)` of the windows at `indices` (all by default)."""
        indices = np.arange(len(self)) if indices is None else np.asarray(indices, dtype="int64")
        if not len(self.runs):
            return indices, indices
        run = np.searchsorted(self._ends, indices, side="right")
        recording, first, count, step = self.runs[run].T
        return recording, first + (indices - self._ends[run] + count) * step

    def gather(
        self, indices: Iterable[int] | Array | None = None, out: Array | None = None
    ) -> Array:
        """The values of the windows at `indices` (all by default): `(n, T, C)`, float32."""
        recording, start = self.locate(indices)
        if out is None:
            out = np.empty((len(start), self.seq_len, len(self.channels)), dtype="float32")
        for index in np.flatnonzero(np.bincount(recording)):
            rows = np.flatnonzero(recording == index)
            with self.recordings[index].opened() as values:
                if not isinstance(values, np.ndarray):
                    for row in rows:
                        out[row] = values[start[row] : start[row] + self.seq_len]
                elif len(rows) == len(out):
                    copy_windows(values, start, out)
                else:
                    part = np.empty((len(rows), *out.shape[1:]), dtype="float32")
                    copy_windows(values, start[rows], part)
                    out[rows] = part
        return out

    def samples(self) -> Iterator[Array]:
        """The samples that are in any window, each once, in pieces `(n, C)`."""
        rows = max(1, SAMPLES_AT_ONCE // len(self.channels))
        for index, recording in enumerate(self.recordings):
            with recording.opened() as values:
                for first, last in self.covered(index):
                    for start in range(first, last, rows):
                        yield values[start : min(start + rows, last)]

    def covered(self, index: int) -> Array:
        """Stretches of the samples of recording `index` that are in any window, `(n, 2)`.

        Ascending and apart: first sample, and one past the last.
        """
        runs = self.runs[self.runs[:, 0] == index]
        solid = (runs[:, 3] <= self.seq_len) | (runs[:, 2] == 1)
        _, first, count, step = runs[solid].T
        spans = [np.stack([first, first + (count - 1) * step + self.seq_len], axis=1)]
        for _, first, count, step in runs[~solid]:
            start = first + np.arange(count) * step
            spans.append(np.stack([start, start + self.seq_len], axis=1))
        return _merged_spans(np.concatenate(spans))

    def none(self) -> Self:
        """No windows, of the same recordings."""
        return dataclasses.replace(self, runs=self.runs[:0])

    def listed(self) -> list[JSON]:
        """The windows as dictionaries of `recording` (its name), `first`, `last`, `step`."""
        return [
            {
                "recording": self.recordings[recording].name,
                "first": int(first),
                "last": int(first + (count - 1) * step),
                "step": int(step),
            }
            for recording, first, count, step in self.runs
        ]

    @classmethod
    def from_listed(
        cls, recordings: Sequence[Recording], seq_len: int, listed: Sequence[JSON]
    ) -> Self:
        """The inverse of `listed`.

        Raises:
            ValueError: if a window is not within its recording.
        """
        index = {recording.name: i for i, recording in enumerate(recordings)}
        runs = [
            (
                index[run["recording"]],
                run["first"],
                (run["last"] - run["first"]) // run["step"] + 1,
                run["step"],
            )
            for run in listed
        ]
        for (recording, first, count, step), run in zip(runs, listed, strict=True):
            last = first + (count - 1) * step + seq_len
            if first < 0 or count < 1 or last > len(recordings[recording].values):
                raise ValueError(
                    f"The windows {run} are not within their recording of "
                    f"{len(recordings[recording].values)} samples."
                )
        return cls(tuple(recordings), seq_len, np.array(runs, dtype="int64").reshape(-1, 4))

    @classmethod
    def from_runs(
        cls, recordings: Sequence[Recording], seq_len: int, runs: Sequence[Array]
    ) -> Self:
        """Windows from the runs of each recording, a list of `(r, 3)`: first, count, step."""
        indexed = [np.insert(part, 0, index, axis=1) for index, part in enumerate(runs)]
        return cls(tuple(recordings), seq_len, np.concatenate(indexed).astype("int64"))


def window_runs(stretches: Array, seq_len: int, stride: int) -> Array:
    """The windows that fit into stretches of time, as runs.

    Args:
        stretches: `(n, 2)`, first sample and one past the last; no window leaves its stretch.
        seq_len: Length of a window, in samples.
        stride: Samples from one window's start to the next.

    Returns:
        `(r, 3)`: first sample of the first window, number of windows, samples between starts.
    """
    first, last = np.asarray(stretches, dtype="int64").reshape(-1, 2).T
    count = (last - first - seq_len) // stride + 1
    first, count = first[count > 0], count[count > 0]
    runs = np.stack([first, count, np.full_like(first, stride)], axis=1)
    return _merged_runs(runs) if (count == 1).all() else runs


def runs_between(
    recording: Recording, seq_len: int, stride: int, start: int = 0, stop: int | None = None
) -> Array:
    """The windows of a recording that lie within `[start, stop)` and cross no break, as runs."""
    stop = len(recording.values) if stop is None else stop
    if recording.window_len == seq_len:  # without listing millions of stretches
        first, last = -(-start // seq_len), stop // seq_len
        runs = [(first * seq_len, last - first, seq_len)] if last > first else []
        return np.array(runs, dtype="int64").reshape(-1, 3)
    return window_runs(np.clip(recording.stretches, start, stop), seq_len, stride)


def covering_runs(recording: Recording, seq_len: int, stride: int) -> Array:
    """As `runs_between`, but no sample of a stretch that a window fits is left out.

    Where the last window of a stretch ends before it, there is one more, flush with the end. The
    windows are in the order of their starts.

    Raises:
        ValueError: if `stride` leaves samples out between windows.
    """
    if not isinstance(stride, (int, np.integer)) or not 1 <= stride <= seq_len:
        raise ValueError(
            f"stride is {stride!r}, expected a whole number from 1 to {seq_len}, the length of a "
            "window: no sample is to be left out."
        )
    runs = runs_between(recording, seq_len, stride)
    if recording.window_len == seq_len:
        return runs
    first, last = recording.stretches.T
    room = last - first - seq_len
    starts = [(last - seq_len)[(room >= 0) & (room % stride > 0)]]
    starts += [begin + np.arange(count) * step for begin, count, step in runs]
    starts = np.sort(np.concatenate(starts))
    return _merged_runs(np.stack([starts, np.ones_like(starts), np.ones_like(starts)], axis=1))


def _merged_runs(runs: Array) -> Array:
    """Runs of one window each, with those that are evenly spaced put together."""
    if len(runs) < 2:
        return runs
    first = runs[:, 0]
    step = np.diff(first)
    begin = [0]
    for last in np.flatnonzero(np.diff(step)) + 1:  # windows after which the spacing changes
        if last > begin[-1]:
            begin.append(int(last) + 1)
    count = np.diff([*begin, len(first)])
    step = np.where(count > 1, step[np.minimum(begin, len(step) - 1)], 1)
    return np.stack([first[begin], count, step], axis=1)


def _merged_spans(spans: Array) -> Array:
    """Spans `(n, 2)` in ascending order, those that touch or overlap put together."""
    spans = spans[np.argsort(spans[:, 0])]
    if not len(spans):
        return spans
    reach = np.maximum.accumulate(spans[:, 1])
    begin = np.flatnonzero(np.append(True, spans[1:, 0] > reach[:-1]))
    return np.stack([spans[begin, 0], reach[np.append(begin[1:], len(spans)) - 1]], axis=1)


def copy_windows(values: Array, starts: Array, out: Array) -> None:
    """Copies the windows of `values` `(T, C)` that begin at `starts` to `out`, `(n, seq_len, C)`.

    A window is one long item to NumPy, so that each is copied at once; a few windows at a time,
    so that what NumPy holds in between stays in the cache.
    """
    sample = values.itemsize * values.shape[1]
    window = np.dtype((np.void, sample * out.shape[1]))
    shape = (len(values) - out.shape[1] + 1,)
    windows = np.ndarray(shape, window, buffer=values, strides=(sample,))
    out = out.reshape(len(out), -1).view(window)[:, 0]
    few = max(16, COPIED_AT_ONCE // window.itemsize)
    for first in range(0, len(starts), few):
        out[first : first + few] = windows[starts[first : first + few]]


def all_windows(recordings: Sequence[Recording], seq_len: int, stride: int = 1) -> Windows:
    """Every window of every recording, `stride` samples apart, as `Windows`.

    Raises:
        ValueError: if a recording has no uninterrupted stretch as long as a window.
    """
    runs = []
    for recording in recordings:
        require_window(recording, seq_len)
        runs.append(runs_between(recording, seq_len, stride))
    return Windows.from_runs(recordings, seq_len, runs)


def longest_stretch(recording: Recording) -> int:
    """Samples in the longest uninterrupted stretch of a recording."""
    return recording.window_len or int(np.diff(recording.stretches, axis=1).max())


def require_window(recording: Recording, seq_len: int) -> None:
    """Raises a `ValueError` if no window of `seq_len` samples fits into `recording`."""
    longest = longest_stretch(recording)
    if longest < seq_len:
        uninterrupted = " without an interruption" if len(recording.breaks) else ""
        raise ValueError(
            f"Recording '{recording.name}' has {longest} samples{uninterrupted} but the window is "
            f"{seq_len}. Shorten seq_len, or leave out or fill up what is too short with "
            "short='drop' or short='pad' (--short)."
        )
