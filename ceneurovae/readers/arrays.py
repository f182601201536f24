"""A file whose datasets are one recording `(T, C)`, or windows `(N, T, C)`, at any path."""

import h5py

from ceneurovae.readers.source import (
    RESERVED_NAMES,
    Block,
    Source,
    find_channel_names,
    find_rate,
    is_numeric,
)

NAME = "arrays"


def matches(file):
    """Whether the file holds a numeric dataset anywhere."""
    return bool(_datasets(file))


def sources(file, stem):
    """The file as one recording, named after it.

    Beside the values, the root may hold `sampling_rate`, `channel_names` and `mask`, as datasets
    or attributes. Where there is one dataset of two or three axes, it is what is read by default.
    """
    datasets = _datasets(file)
    blocks = tuple(
        Block.of(name, dataset, find_channel_names(dataset, dataset.parent))
        for name, dataset in datasets.items()
    )
    tables = [block.name for block in blocks if block.dataset.ndim > 1]
    default = tables if len(tables) == 1 else [b.name for b in blocks] if len(blocks) == 1 else None
    mask = file.get("mask")
    return [
        Source(
            stem,
            blocks,
            rate_hz=find_rate(file),
            default=None if default is None else tuple(default),
            mask=mask if is_numeric(mask) else None,
        )
    ]


def _datasets(file):
    found = {}

    def visit(name, item):
        usable = is_numeric(item) and 1 <= item.ndim <= 3
        if usable and name.split("/")[-1] not in RESERVED_NAMES:
            found[name] = item

    if isinstance(file, h5py.Group):
        file.visititems(visit)
    return found
