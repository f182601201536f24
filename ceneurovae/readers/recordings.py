"""A file whose root holds one dataset `(T, C)` per recording, of different lengths."""

import h5py

from ceneurovae.readers.arrays import prepared, usable
from ceneurovae.readers.hdf5 import datasets
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source, find_channel_names, find_rate, is_numeric

NAME = "recordings"


def matches(file: h5py.Group) -> bool:
    """Whether the tables at the root have the same channels but not the same length."""
    found = usable(datasets(file))
    shapes = {dataset.shape for dataset in found.values()}
    widths = {shape[1:] for shape in shapes}
    groups = any(not is_numeric(file.get(name)) and name not in _known(file) for name in file)
    return len(found) > 1 and len(shapes) > 1 and len(widths) == 1 and widths != {()} and not groups


def could_be(file: h5py.Group) -> bool:
    """Whether there is a table at the root."""
    return any(dataset.ndim == 2 for dataset in usable(datasets(file)).values())


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per dataset, named `file/dataset`; the channels are numbered or named."""
    found = {n: d for n, d in usable(datasets(file)).items() if d.ndim == 2}
    tables = prepared(found, file, options)
    recordings = []
    for name, table in tables.items():
        names = find_channel_names(file[name], file)
        if names is None or len(names) != table.shape[-1]:
            names = [str(column) for column in range(table.shape[-1])]
        block = Block("data", table, tuple(names))
        rate = find_rate(file[name].parent) or find_rate(file)
        recordings.append(Source(f"{stem}/{name}", (block,), rate_hz=rate, default=("data",)))
    return recordings


def _known(file: h5py.Group) -> set[str]:
    return {name for name in file if isinstance(file.get(name), h5py.Dataset | h5py.Datatype)}
