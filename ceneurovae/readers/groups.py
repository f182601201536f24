"""A file with one group per recording, each with its blocks of channels inside.

The blocks of a group have the same number of samples. `sampling_rate` may stand at the group or
at the root, `channel_names` at the dataset, or at the group if it holds one table; `mask`,
`timestamps` and labels, such as an attribute `animal`, at the group.
"""

from typing import Any

import h5py

from ceneurovae.readers.arrays import prepared, usable
from ceneurovae.readers.hdf5 import datasets
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import (
    Block,
    Source,
    find_channel_names,
    find_labels,
    find_rate,
    find_timestamps,
    is_numeric,
    rate_of,
)

NAME = "groups"


def matches(file: h5py.Group) -> bool:
    """Whether there is no dataset at the root, but a group with a table of numbers in it."""
    items = [file.get(name) for name in file]
    return not any(is_numeric(item) for item in items) and any(map(_has_table, items))


def could_be(file: h5py.Group) -> bool:
    """Whether any group holds a table."""
    return any(_has_table(file.get(name)) for name in file)


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per group, named `file/group`; all its blocks are read by default."""
    groups = {name: file.get(name) for name in file}
    return [
        _source(file, f"{stem}/{name}", group, options)
        for name, group in groups.items()
        if _has_table(group)
    ]


def _source(file: h5py.Group, name: str, group: h5py.Group, options: ReadOptions) -> Source:
    found = prepared(usable(datasets(group)), group, options)
    steps = max((table.shape[:-1] or table.shape for table in found.values()), key=len)
    longest = max(found.values(), key=lambda table: (table.ndim, table.shape[0])).shape[0]
    wide = [key for key, table in found.items() if table.ndim > 1]
    blocks = []
    for key, table in found.items():
        if table.shape[0] == longest:
            holders = (group[key], group) if wide == [key] else (group[key],)
            blocks.append(Block.of(key, table, find_channel_names(*holders)))
    # Numbers of windows are labels, not channels.
    labelled = longest if len(steps) == 2 else None
    if labelled:
        blocks = [block for block in blocks if block.table.ndim == 3]
    return Source(
        name,
        tuple(blocks),
        rate_hz=find_rate(group) or find_rate(file) or rate_of(find_timestamps(group)),
        default=tuple(block.name for block in blocks),
        labels=find_labels(file) | find_labels(group, labelled),
        timestamps=find_timestamps(group),
    )


def _has_table(item: Any) -> bool:
    return isinstance(item, h5py.Group) and any(d.ndim > 1 for d in usable(datasets(item)).values())
