"""Errors added up, and what they are as shares of the variance."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ceneurovae.hints import Array
from ceneurovae.model.loss import HUBER_DELTA
from ceneurovae.results import ChannelScores, Reconstruction


class Score:
    """Errors of scaled values, added up batch by batch, per channel."""

    def __init__(self) -> None:
        self.entries = 0
        # Of each channel, once there is a batch.
        self.count: Any = 0
        self.total: Any = 0.0
        self.square: Any = 0.0
        self.error: Any = 0.0
        self.huber: Any = 0.0

    def add(self, target: Array, prediction: Array) -> None:
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

    def result(self, names: Iterable[Any] | None = None) -> Reconstruction:
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


def _sum(values: Array) -> Array:
    return values.sum(axis=(0, 1), dtype="float64")


def _mean(total: float, count: float) -> float | None:
    return float(total / count) if count > 0 else None


def _share_explained(error: float, total: float) -> float | None:
    return float(1 - error / total) if total > 0 else None
