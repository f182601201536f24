"""Errors added up, and what they are as shares of the variance."""

import numpy as np

from ceneurovae.model.loss import HUBER_DELTA
from ceneurovae.results import ChannelScores, Reconstruction


class Score:
    """Errors of scaled values, added up batch by batch, per channel."""

    def __init__(self):
        self.entries = self.count = self.total = self.square = self.error = self.huber = 0.0

    def add(self, target, prediction):
        """Adds a batch `(n, T, C)`; entries that are NaN in `target` do not count."""
        observed = ~np.isnan(target)
        values = np.where(observed, target, 0)
        sizes = np.where(observed, np.abs(target - prediction), 0)
        inside = np.minimum(sizes, HUBER_DELTA)
        self.entries += target.shape[0] * target.shape[1]
        self.count = self.count + observed.sum(axis=(0, 1))
        self.total = self.total + _sum(values)
        self.square = self.square + _sum(np.square(values))
        self.error = self.error + _sum(np.square(sizes))
        self.huber = self.huber + _sum(inside * (sizes - 0.5 * inside))

    def result(self, names=None):
        """The `Reconstruction`, with `names` of the channels, their numbers by default."""
        about_mean = self.square - self.total**2 / np.maximum(self.count, 1)
        names = range(len(self.count)) if names is None else names
        channels = zip(names, self.error, about_mean, self.count, strict=True)
        return Reconstruction(
            r2=_share_explained(self.error.sum(), about_mean.sum()),
            # Scaled by the training data, the training mean is 0.
            skill=_share_explained(self.error.sum(), self.square.sum()),
            mse=_mean(self.error.sum(), self.count.sum()),
            huber=_mean(self.huber.sum(), self.count.sum()),
            per_channel=tuple(
                ChannelScores(
                    name=str(name),
                    r2=_share_explained(error, total),
                    mse=_mean(error, count),
                    missing=float(1 - count / self.entries),
                )
                for name, error, total, count in channels
            ),
        )


def _sum(values):
    return values.sum(axis=(0, 1), dtype="float64")


def _mean(total, count):
    return float(total / count) if count > 0 else None


def _share_explained(error, total):
    return float(1 - error / total) if total > 0 else None
