"""Recordings -> windows of equal length, as plain integers; nothing is copied until asked for."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Which stretches of which recordings make up a data set.

    Args:
        recordings: The recordings, all with the same channels.
        seq_len: Length `T` of a window, in samples.
        recording: `(n,)`, index of each window's recording.
        start: `(n,)`, each window's first sample; it ends before `start + seq_len`.
    """

    recordings: tuple
    seq_len: int
    recording: np.ndarray
    start: np.ndarray

    def __len__(self):
        return len(self.start)

    @property
    def channels(self):
        """Names of the `C` channels."""
        return self.recordings[0].channels

    def gather(self, indices=None):
        """The values of the windows at `indices` (all by default): `(n, T, C)`, float32."""
        indices = range(len(self)) if indices is None else indices
        shape = (len(indices), self.seq_len, len(self.channels))
        values = np.empty(shape, dtype="float32")
        for row, index in enumerate(indices):
            start = self.start[index]
            recording = self.recordings[self.recording[index]]
            values[row] = recording.values[start : start + self.seq_len]
        return values

    def coverage(self):
        """For each recording, `(T,)` booleans: whether a sample is in any of the windows."""
        covered = []
        for index, recording in enumerate(self.recordings):
            change = np.zeros(len(recording.values) + 1, dtype="int64")
            start = self.start[self.recording == index]
            np.add.at(change, start, 1)
            np.add.at(change, start + self.seq_len, -1)
            covered.append(np.cumsum(change[:-1]) > 0)
        return covered

    def runs(self):
        """The windows as evenly spaced runs: dicts of `recording`, `first`, `last`, `step`."""
        runs = []
        for index, recording in enumerate(self.recordings):
            starts = self.start[self.recording == index].tolist()
            while starts:
                step = starts[1] - starts[0] if len(starts) > 1 else 1
                count = next(
                    (i for i, s in enumerate(starts) if s != starts[0] + i * step), len(starts)
                )
                runs.append(
                    {
                        "recording": recording.name,
                        "first": starts[0],
                        "last": starts[count - 1],
                        "step": step,
                    }
                )
                starts = starts[count:]
        return runs

    @classmethod
    def from_runs(cls, recordings, seq_len, runs):
        """The inverse of `runs`."""
        starts = [
            np.concatenate(
                [
                    np.arange(run["first"], run["last"] + 1, run["step"])
                    for run in runs
                    if run["recording"] == recording.name
                ]
                or [[]]
            )
            for recording in recordings
        ]
        return cls.from_starts(recordings, seq_len, starts)

    @classmethod
    def from_starts(cls, recordings, seq_len, starts):
        """Windows from the first samples of those of each recording, a list of arrays."""
        which = np.repeat(np.arange(len(starts)), [len(s) for s in starts])
        start = np.concatenate(starts).astype("int64")
        return cls(tuple(recordings), seq_len, which, start)


def window_starts(recording, seq_len, stride, start=0, stop=None):
    """First samples of the windows that lie within `[start, stop)` and cross no break."""
    stop = len(recording.values) if stop is None else stop
    starts = [
        np.arange(max(first, start), min(last, stop) - seq_len + 1, stride)
        for first, last in recording.stretches
    ]
    return np.concatenate(starts)


def all_windows(recordings, seq_len, stride=1):
    """Every window of every recording, `stride` samples apart, as `Windows`.

    Raises:
        ValueError: if a recording has no uninterrupted stretch as long as a window.
    """
    starts = []
    for recording in recordings:
        require_window(recording, seq_len)
        starts.append(window_starts(recording, seq_len, stride))
    return Windows.from_starts(recordings, seq_len, starts)


def require_window(recording, seq_len):
    """Raises a `ValueError` if no window of `seq_len` samples fits into `recording`."""
    longest = int(np.diff(recording.stretches, axis=1).max())
    if longest < seq_len:
        uninterrupted = " without an interruption" if len(recording.breaks) else ""
        raise ValueError(
            f"Recording '{recording.name}' has {longest} samples{uninterrupted} but the window is "
            f"{seq_len}. Shorten seq_len or leave the recording out."
        )
