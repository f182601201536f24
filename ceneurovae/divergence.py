"""Which channel a training has diverged on."""

import itertools

import numpy as np

from ceneurovae.callbacks import DivergenceError
from ceneurovae.hints import Array, Data
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.scaler import iterate_batches


def worst_channel(model: NeuroBehaviorVAE, data: Data, error: DivergenceError) -> int | str:
    """Name or number of the channel with the largest error in the batch of a `DivergenceError`.

    The error is that of the reconstruction or of the channel's mean, whichever is larger: a linear
    model meets an outlier in one channel by being wrong in all that go along with it.
    """
    if getattr(data, "epoch", None) is not None:
        data.epoch.number = error.epoch
    x = next(itertools.islice(iterate_batches(data), error.batch, None))
    scaled = model.scaler.as_numpy(x)
    deviation = scaled - model.scaler.as_numpy(model.reconstruct(x))
    seen = ~np.isnan(x)

    def mean_square(values: Array) -> Array:
        values = np.where(seen, values.astype("float64"), 0)
        return np.square(values).sum(axis=(0, 1)) / np.maximum(seen.sum(axis=(0, 1)), 1)

    own = mean_square(scaled)
    squares = np.nan_to_num(np.maximum(mean_square(deviation), own), nan=np.inf, posinf=np.inf)
    index = int(np.lexsort((own, squares))[-1])
    channels = getattr(getattr(data, "source", None), "channels", None)
    return index if channels is None else f"'{channels[index]}'"
