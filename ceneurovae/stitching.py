"""Windows that overlap, put together to one trace of a whole recording, and how well they agree.

Where windows overlap their mean is taken, each with weights that fall in a straight line from its
middle towards its ends, where a model knows least of what is around.
"""

import numpy as np

from ceneurovae.tracking import tracked


def stitched(windows, predict, batch_size=256):
    """What is predicted for windows, as traces of whole recordings.

    Args:
        windows: `Windows`.
        predict: Function of windows `(B, T, C)`, NaN where missing, and of the number of the first
            of them, that gives a list of arrays `(B, T, C)`.
        batch_size: Windows at a time; they may be of several recordings.

    Yields:
        Index of a recording, and its `Overlap`.

    Raises:
        ValueError: if `batch_size` is no number of windows.
    """
    require_batch_size(batch_size)
    current, overlap = None, None
    starts = range(0, len(windows), batch_size)
    for first in tracked(starts, len(starts), "Predicting windows"):
        rows = range(first, min(first + batch_size, len(windows)))
        parts = predict(windows.gather(rows), first)
        for row, (index, start) in enumerate(zip(*windows.locate(rows), strict=True)):
            if index != current:
                if overlap is not None:
                    yield current, overlap
                shape = windows.recordings[index].values.shape
                current, overlap = int(index), Overlap(shape, windows.seq_len, len(parts))
            overlap.add(int(start), [part[row] for part in parts])
    if overlap is not None:
        yield current, overlap


def require_batch_size(batch_size):
    """Raises a `ValueError` if that is no number of windows."""
    if not is_count(batch_size):
        raise ValueError(f"batch_size is {batch_size!r}, expected a whole number of at least 1.")


def is_count(value):
    """Whether a value is a whole number of at least 1."""
    return isinstance(value, (int, np.integer)) and value >= 1


class Overlap:
    """Weighted means of the windows of one recording, and how far the windows are apart.

    The means and the variance about them are kept as windows come (West, "Updating mean and
    variance estimates: an improved method", 1979).

    Args:
        shape: `(n, C)` of the recording.
        seq_len: Length `T` of a window, in samples.
        count: Arrays that are averaged side by side.
    """

    def __init__(self, shape, seq_len, count):
        self.taper = taper(seq_len)
        self._means = [np.zeros(shape) for _ in range(count)]
        self._squares = np.zeros(shape)
        self.weight = np.zeros(shape[0])
        self.seams, self._seam_squares = 0, np.zeros(shape[1])
        self._last = None

    def add(self, start, parts):
        """Adds a window that begins at sample `start`, a list of `(T, C)`, in the order of time."""
        self._compare(start, parts[0])
        span = slice(start, start + len(self.taper))
        self.weight[span] += self.taper
        share = (self.taper / self.weight[span])[:, None]
        before = parts[0] - self._means[0][span]
        for mean, part in zip(self._means, parts, strict=True):
            mean[span] += share * (part - mean[span])
        after = parts[0] - self._means[0][span]
        self._squares[span] += self.taper[:, None] * before * after

    def _compare(self, start, part):
        """Notes how far a window is from the one before where it takes over from it."""
        if self._last is not None and start < self._last[0] + len(self.taper):
            begin, before = self._last
            middle = (begin + start + len(self.taper)) // 2  # of what both have, at equal weights
            apart = before[middle - begin].astype("float64") - part[middle - start]
            self._seam_squares += np.square(apart)
            self.seams += 1
        self._last = start, part

    def means(self):
        """A list of `(n, C)`, float32, NaN where no window was."""
        return [self._seen(mean).astype("float32") for mean in self._means]

    def variance(self):
        """Of the windows that a sample is in, with their weights, about their mean: `(n, C)`.

        Of the first of the arrays, float64; 0 where there is one window, NaN where there is none.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.maximum(self._squares / self.weight[:, None], 0)

    def seam_error(self):
        """Root mean square, over seams, of what two windows are apart there: `(C,)`, or `None`.

        A seam is the sample in the middle of what a window and the next one have in common, where
        the one takes over from the other. `None` where no windows overlap.
        """
        return np.sqrt(self._seam_squares / self.seams) if self.seams else None

    def _seen(self, values):
        return np.where(self.weight[:, None] > 0, values, np.nan)


def taper(seq_len):
    """Weights `(T,)` of a window: 1 at its ends, rising by 1 a sample to the middle.

    >>> taper(5)
    array([1., 2., 3., 2., 1.])
    """
    steps = np.arange(1.0, seq_len + 1)
    return np.minimum(steps, steps[::-1])
