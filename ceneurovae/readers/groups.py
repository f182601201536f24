"""A file with one group per recording, each with its blocks of channels inside."""

import h5py

from ceneurovae.readers.source import (
    RESERVED_NAMES,
    Block,
    Source,
    find_channel_names,
    find_rate,
    is_numeric,
)

NAME = "groups"


def matches(file):
    """Whether there is no dataset at the root, but a group with a table of numbers in it."""
    items = list(file.values())
    return not any(is_numeric(item) for item in items) and any(map(_has_table, items))


def sources(file, stem):
    """One recording per group, named `file/group`; all its blocks are read by default.

    The blocks of a group have the same number of samples. `sampling_rate` may stand at the group
    or at the root; `channel_names` at the dataset, or at the group if it holds one table.
    """
    return [
        _source(file, f"{stem}/{name}", group) for name, group in file.items() if _has_table(group)
    ]


def _source(file, name, group):
    datasets = _datasets(group)
    largest = max(datasets.values(), key=lambda dataset: dataset.size)
    tables = [dataset for dataset in datasets.values() if dataset.ndim > 1]
    blocks = []
    for key, dataset in datasets.items():
        if dataset.shape[0] == largest.shape[0]:
            holders = (dataset, group) if tables == [dataset] else (dataset,)
            blocks.append(Block.of(key, dataset, find_channel_names(*holders)))
    mask = group.get("mask")
    return Source(
        name,
        tuple(blocks),
        rate_hz=find_rate(group) or find_rate(file),
        default=tuple(block.name for block in blocks),
        mask=mask if is_numeric(mask) else None,
    )


def _datasets(group):
    return {
        name: item
        for name, item in group.items()
        if is_numeric(item) and 1 <= item.ndim <= 3 and name not in RESERVED_NAMES
    }


def _has_table(item):
    return isinstance(item, h5py.Group) and any(d.ndim > 1 for d in _datasets(item).values())
