"""Windows -> batches of `(B, T, C)` as a `tf.data.Dataset`, which feeds every backend."""

import numpy as np
import tensorflow as tf

PREFETCHED_BATCHES = 16


def stream(splits, batch_size=32, shuffle=True, seed=0, masks=False):
    """The datasets of `Splits`, `(train, valid, test)`; only `train` is ever shuffled.

    The attribute `splits` of `train` is the splits, so that a run can write down its data.
    """
    train = make_dataset(splits.train, batch_size, shuffle, seed, masks)
    train.splits = splits
    valid, test = (
        make_dataset(windows, batch_size, masks=masks) for windows in (splits.valid, splits.test)
    )
    return train, valid, test


def make_dataset(windows, batch_size=32, shuffle=False, seed=0, masks=False):
    """Streams windows in batches; each recording is held once, whatever the overlap.

    Args:
        windows: `Windows`.
        batch_size: Windows in a batch; the last batch of an epoch may be smaller.
        shuffle: Whether each epoch has a new order, drawn from `seed`.
        seed: Whole number.
        masks: Whether to yield `(x, mask)`, with 0 for missing and a boolean mask that is true
            where a value was observed, instead of `x` with NaN for missing.

    Returns:
        Dataset of `x` or `(x, mask)`, float32 `(B, T, C)`. Its attribute `source` is `windows`.
    """
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}, expected a whole number of at least 1.")
    with tf.device("CPU"):
        values = tf.constant(np.concatenate([r.values for r in windows.recordings]))
    lengths = [len(recording.values) for recording in windows.recordings]
    first_row = np.cumsum([0, *lengths[:-1]])[windows.recording] + windows.start
    steps = tf.range(windows.seq_len, dtype="int64")

    def gather(rows):
        x = tf.gather(values, rows[:, None] + steps)
        if not masks:
            return x
        observed = ~tf.math.is_nan(x)
        return tf.where(observed, x, 0.0), observed

    dataset = tf.data.Dataset.from_tensor_slices(first_row.astype("int64"))
    if shuffle:
        dataset = dataset.shuffle(len(windows), seed=seed, reshuffle_each_iteration=True)
    dataset = dataset.batch(batch_size).map(gather).prefetch(PREFETCHED_BATCHES)
    dataset = dataset.with_options(_one_thread())
    dataset.source = windows
    return dataset


def _one_thread():
    """Options that leave the cores to the training step: gathering a batch is cheap."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return options


def rebatched(dataset, batch_size):
    """A dataset in batches of `batch_size`: itself if it has them already.

    Its examples are counted once, so that Keras knows the length of an epoch.
    """

    def size(batch):
        return tf.nest.flatten(batch)[0].shape[0]

    if all(size(batch) == batch_size for batch in dataset.take(1)):
        return dataset
    batches = -(-sum(map(size, dataset)) // batch_size)
    dataset = dataset.rebatch(batch_size)
    return dataset.apply(tf.data.experimental.assert_cardinality(batches))
