"""Windows -> batches of `(B, T, C)` as a `tf.data.Dataset`, which feeds every backend."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import tensorflow as tf

from ceneurovae.buffers import Buffers
from ceneurovae.hints import Array, Data
from ceneurovae.model.scaler import iterate_batches
from ceneurovae.recording import as_recordings
from ceneurovae.shuffling import window_batches
from ceneurovae.splits import Splits
from ceneurovae.windows import Windows, all_windows

PREFETCHED_BATCHES = 16
PREFETCHED_BYTES = 1 << 25
# Python hands windows to TensorFlow this many bytes at a time, whatever the size of a batch.
BYTES_AT_ONCE = 1 << 22
# Batches of validation data are so many times as large as others at most.
VALIDATION_FACTOR = 8


class Epoch:
    """Which epoch the next pass through a data set is; each pass moves it on by one.

    Args:
        number: From 0.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.failure: Exception | None = (
            None  # what went wrong in a pass, which TensorFlow would wrap
        )

    def begin(self) -> int:
        """The number of the pass that begins now."""
        self.number += 1
        return self.number - 1


def stream(
    splits: Splits, batch_size: int = 32, shuffle: bool = True, seed: int = 0, masks: bool = False
) -> tuple[tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]:
    """The datasets of `Splits`, `(train, valid, test)`; only `train` is ever shuffled.

    The attribute `splits` of `train` is the splits, so that a run can write down its data.
    """
    train = make_dataset(splits.train, batch_size, shuffle, seed, masks)
    train.splits = splits
    valid, test = (
        make_dataset(windows, batch_size, masks=masks) for windows in (splits.valid, splits.test)
    )
    return train, valid, test


def make_dataset(
    windows: Windows,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int = 0,
    masks: bool = False,
) -> tf.data.Dataset:
    """Streams windows in batches, from memory or from disk; none is held more than once.

    Args:
        windows: `Windows`.
        batch_size: Windows in a batch; the last batch of an epoch may be smaller.
        shuffle: Whether each epoch has a new order, a function of `seed` and the epoch.
        seed: Whole number of at least 0.
        masks: Whether to yield `(x, mask)`, with 0 for missing and a boolean mask that is true
            where a value was observed, instead of `x` with NaN for missing.

    Returns:
        Dataset of `x` or `(x, mask)`, float32 `(B, T, C)`. Its attribute `source` is `windows`,
        `shuffle_seed` the seed if it is shuffled;
        setting `epoch.number` decides which epoch the next pass is.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}.")
    epoch, buffers = Epoch(), Buffers()
    shape = (windows.seq_len, len(windows.channels))
    batch_bytes = batch_size * 4 * shape[0] * shape[1]
    together = max(1, BYTES_AT_ONCE // batch_bytes)

    def generate() -> Iterator[Array]:
        size = together * batch_size
        try:
            yield from window_batches(windows, size, shuffle, seed, epoch.begin(), buffers)
        except Exception as error:
            epoch.failure = error
            raise

    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=tf.TensorSpec((None, *shape), "float32")
    )
    if together > 1:
        dataset = dataset.rebatch(batch_size)
    if masks:
        dataset = dataset.map(_with_mask)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-len(windows) // batch_size)))
    dataset = dataset.prefetch(min(PREFETCHED_BATCHES, PREFETCHED_BYTES // batch_bytes + 1))
    dataset = dataset.with_options(_one_thread())
    dataset.source, dataset.epoch, dataset.batch_size = windows, epoch, batch_size
    dataset.shuffle_seed = seed if shuffle else None
    return dataset


class PackedData:
    """Data on its way to another process: windows, or an array with NaN for missing.

    Args:
        content: `Windows` or `(N, T, C)`.
        batch_size: Windows in a batch of the dataset that it was; `None` for an array.
        shuffle: Whether each epoch has its own order.
    """

    def __init__(
        self, content: Any, batch_size: int | None = None, shuffle: int | None = False
    ) -> None:
        self.content, self.batch_size, self.shuffle = content, batch_size, shuffle

    @classmethod
    def of(cls, data: Data) -> Self:
        """Packs a dataset, an array `(N, T, C)`, or `(x, mask)`."""
        source = getattr(data, "source", None)
        if source is not None:
            return cls(source, data.batch_size, getattr(data, "shuffle_seed", None))
        return cls(np.concatenate(list(iterate_batches(data))))

    def unpacked(self) -> Data:
        """The data as it was."""
        if self.batch_size is None:
            return self.content
        shuffle = self.shuffle is not None
        return make_dataset(self.content, self.batch_size, shuffle, self.shuffle or 0)


def is_dataset(data: Data) -> bool:
    """Whether `data` comes in batches of its own, as a `tf.data.Dataset` does."""
    return hasattr(data, "rebatch")


def shuffled(arrays: Data, batch_size: int, seed: int = 0) -> tf.data.Dataset:
    """Windows in memory as a dataset, shuffled by the seed and the epoch.

    Args:
        arrays: `(N, T, C)`, `(x, mask)`, or an iterable of batches of them.
        batch_size: Windows in a batch.
        seed: Whole number.
    """
    return in_batches(arrays, batch_size, shuffle=True, seed=seed)


def in_batches(
    arrays: Data, batch_size: int, shuffle: bool = False, seed: int = 0
) -> tf.data.Dataset:
    """As `shuffled`, in the order in which the windows are unless they are to be shuffled."""
    values = np.concatenate(list(iterate_batches(arrays)))
    windows = all_windows(as_recordings(values), values.shape[1])
    return make_dataset(windows, batch_size, shuffle, seed)


def whole_batches(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A shuffled dataset without the windows of an epoch that are left over and fill no batch.

    Which ones those are, changes with the epoch. A batch of another size would have the training
    step compiled a second time, and TensorFlow runs faster where it knows the size. Datasets that
    are not of `make_dataset`, or not shuffled, and those of one small batch, are left as they are.
    """
    if getattr(dataset, "shuffle_seed", None) is None:
        return dataset
    whole = len(dataset.source) // dataset.batch_size
    if not whole:
        return dataset
    same_size = dataset.rebatch(dataset.batch_size, drop_remainder=True)
    return _made_from(dataset, same_size, whole, dataset.batch_size)


def steps_per_epoch(data: Data, batch_size: int) -> int:
    """Training steps: batches of a dataset, or of `batch_size` windows of an array."""
    if not is_dataset(data):
        first = data[0] if isinstance(data, tuple) else data
        return max(1, len(first) // batch_size)
    data = whole_batches(data)
    steps = int(data.cardinality())
    return steps if steps > 0 else sum(1 for _ in data)


def for_validation(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """A dataset in batches of one size, which are compiled once, if there is such a size.

    Args:
        dataset: Of `make_dataset`; others are left as they are.
        batch_size: Windows in a batch of it. As many at least, and `VALIDATION_FACTOR` times as
            many at most, are in one afterwards.
    """
    count = len(getattr(dataset, "source", ()))
    for size in range(min(count, VALIDATION_FACTOR * batch_size), batch_size, -1):
        if count % size == 0:
            return rebatched(dataset, size)
    return dataset


def joined(train: Data, valid: Data, batch_size: int = 32) -> tf.data.Dataset:
    """Training and validation data as one shuffled dataset of `x`, NaN for missing.

    Args:
        train, valid: Datasets of `make_dataset`, or anything else that `fit` takes.
        batch_size: Windows in a batch.
    """
    splits = getattr(train, "splits", None)
    if splits is not None and getattr(valid, "source", None) is splits.valid:
        return make_dataset(splits.joined(), batch_size, shuffle=True)
    return shuffled([x for data in (train, valid) for x in iterate_batches(data)], batch_size)


def _with_mask(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    observed = ~tf.math.is_nan(x)
    return tf.where(observed, x, 0.0), observed


def _one_thread() -> tf.data.Options:
    """Options that leave the cores to the training step: gathering a batch is cheap."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return options


def rebatched(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """A dataset in batches of `batch_size`: itself if it has them already.

    Its examples are counted once, so that Keras knows the length of an epoch, unless it is of
    `make_dataset`.
    """

    def size(batch: Any) -> int:
        return tf.nest.flatten(batch)[0].shape[0]

    known = getattr(dataset, "batch_size", None)
    if known is None:
        known = next((size(batch) for batch in dataset.take(1)), batch_size)
    if known == batch_size:
        return dataset
    source = getattr(dataset, "source", None)
    count = sum(map(size, dataset)) if source is None else len(source)
    batches = -(-count // batch_size)
    return _made_from(dataset, dataset.rebatch(batch_size), batches, batch_size)


def divisible(
    dataset: tf.data.Dataset, count: int, part: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """A dataset without the last windows of a batch whose number is no multiple of `count`.

    Args:
        dataset: Dataset of batches.
        count: Devices that share a batch.
        part: `(number, parts)`: the part of each batch that is kept, from 0, and how many equal
            ones there are.

    Raises:
        ValueError: if its batches are too small for `count` devices.
    """
    steps = int(dataset.cardinality())
    size = getattr(dataset, "batch_size", None) or next(len(x) for x in iterate_batches(dataset))
    if size < count:
        raise ValueError(f"A batch of {size} windows cannot be shared between {count} devices.")
    source = getattr(dataset, "source", None)
    left = size if source is None else len(source) - (steps - 1) * size

    number, parts_of_batch = part

    def cut(*parts: tf.Tensor) -> Any:
        kept = tf.shape(parts[0])[0] // count * count // parts_of_batch
        kept_parts = tuple(part[number * kept : (number + 1) * kept] for part in parts)
        return kept_parts if len(kept_parts) > 1 else kept_parts[0]

    whole = steps if left >= count else steps - 1
    return _made_from(dataset, dataset.take(whole).map(cut), whole, size)


def _made_from(
    dataset: tf.data.Dataset, anew: tf.data.Dataset, batches: int, batch_size: int
) -> tf.data.Dataset:
    """A dataset of so many batches with what is known of the one that it was made from."""
    anew = anew.apply(tf.data.experimental.assert_cardinality(batches))
    anew.batch_size = batch_size
    for name in ("source", "splits", "epoch", "shuffle_seed"):
        if hasattr(dataset, name):
            setattr(anew, name, getattr(dataset, name))
    return anew
