"""Squared errors added up, and what they are as shares of the variance."""

import numpy as np


class Score:
    """Squared errors of scaled values, added up batch by batch, per channel."""

    def __init__(self):
        self.count = self.total = self.square = self.error = 0.0

    def add(self, target, prediction):
        """Adds a batch `(n, T, C)`; entries that are NaN in `target` do not count."""
        observed = ~np.isnan(target)
        values = np.where(observed, target, 0)
        errors = np.where(observed, target - prediction, 0)
        self.count = self.count + observed.sum(axis=(0, 1))
        self.total = self.total + values.sum(axis=(0, 1), dtype="float64")
        self.square = self.square + np.square(values).sum(axis=(0, 1), dtype="float64")
        self.error = self.error + np.square(errors).sum(axis=(0, 1), dtype="float64")

    def result(self):
        """`r2`, `skill` and `r2_per_channel`; `None` where the target does not vary."""
        about_mean = self.square - self.total**2 / np.maximum(self.count, 1)
        # Scaled by the training data, the training mean is 0.
        return {
            "r2": _share_explained(self.error.sum(), about_mean.sum()),
            "skill": _share_explained(self.error.sum(), self.square.sum()),
            "r2_per_channel": [
                _share_explained(*pair) for pair in zip(self.error, about_mean, strict=True)
            ],
        }


def _share_explained(error, total):
    return float(1 - error / total) if total > 0 else None
