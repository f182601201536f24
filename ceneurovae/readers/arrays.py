"""A file whose datasets are one recording `(T, C)`, or windows `(N, T, C)`, at any path.

Beside the values the root may hold, as datasets or attributes, `sampling_rate` in Hz,
`channel_names`, `timestamps` in seconds, which give the rate where it is not said, `mask`, 0 where
a value is missing, and `labels` of the windows or of the recording. Where there is one dataset of
two or three axes, it is what is read by default; several are channels that were recorded together,
and are chosen by name.
"""

from typing import Any

import h5py

from ceneurovae.readers.hdf5 import datasets
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import (
    RESERVED_NAMES,
    Block,
    Source,
    find_channel_names,
    find_labels,
    find_rate,
    find_timestamps,
    is_numeric,
    rate_of,
)
from ceneurovae.readers.table import masked, transposed

NAME = "arrays"


def matches(file: h5py.Group) -> bool:
    """Whether the file holds a numeric dataset anywhere."""
    return bool(usable(datasets(file, deep=True)))


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """The file as one recording, named after it."""
    tables = prepared(usable(datasets(file, deep=True)), file, options)
    blocks = tuple(
        Block.of(name, table, find_channel_names(*_holders(file, name)))
        for name, table in tables.items()
    )
    wide = [block.name for block in blocks if block.table.ndim > 1]
    chosen = wide if len(wide) == 1 else [block.name for block in blocks][:2]
    counts = {block.table.shape[0] for block in blocks if block.window_len}
    return [
        Source(
            stem,
            blocks,
            rate_hz=find_rate(file) or rate_of(find_timestamps(file)),
            default=tuple(chosen) if len(chosen) == 1 else None,
            labels=find_labels(file, counts.pop() if len(counts) == 1 else None),
            timestamps=find_timestamps(file),
        )
    ]


def usable(found: dict[str, Any]) -> dict[str, Any]:
    """Those of the datasets that can be channels."""
    return {
        name: item
        for name, item in found.items()
        if is_numeric(item) and 1 <= item.ndim <= 3 and name.split("/")[-1] not in RESERVED_NAMES
    }


def prepared(found: dict[str, Any], group: h5py.Group, options: ReadOptions) -> dict[str, Any]:
    """The datasets as tables with time first, NaN where the `mask` of their group is 0."""
    mask = group.get("mask")
    tables = {}
    for name, dataset in found.items():
        table = transposed(dataset) if options.transpose else dataset
        if is_numeric(mask) and mask.shape == dataset.shape:
            table = masked(table, transposed(mask) if options.transpose else mask)
        elif is_numeric(mask) and mask.shape == table.shape[:-1]:
            table = masked(table, mask)
        tables[name] = table
    return tables


def _holders(file: h5py.Group, name: str) -> tuple[Any, Any]:
    dataset = file[name]
    return dataset, dataset.parent
