"""What `ceneurovae impute` and `ceneurovae reconstruct` write: whole recordings, by their names.

The root says `layout = "traces"`. Each recording is a group, at any depth, with `values` `(T, C)`,
whose attribute `channel_names`, or a dataset of that name beside it, has the names as they were
read; `breaks`, the samples at which a new uninterrupted stretch begins; and `sampling_rate`.
"""

from typing import Any

import h5py
import numpy as np

from ceneurovae.readers.hdf5 import text, walk
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source, find_channel_names, find_rate, is_numeric

NAME = "traces"


def matches(file: h5py.Group) -> bool:
    """Whether the file says so, and holds a recording."""
    return text(file.attrs.get("layout", "")) == NAME and could_be(file)


def could_be(file: h5py.Group) -> bool:
    """Whether any group holds `values`."""
    return bool(_groups(file))


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per group, named `file/group`; its channels have the names they had."""
    return [_source(f"{stem}/{name}", group) for name, group in _groups(file).items()]


def _groups(file: h5py.Group) -> dict[str, Any]:
    found = {name: item for name, _, item in walk(file) if isinstance(item, h5py.Group)}
    return {name: found[name] for name in sorted(found) if _is_table(found[name].get("values"))}


def _is_table(item: Any) -> bool:
    return is_numeric(item) and item.ndim == 2


def _source(name: str, group: h5py.Group) -> Source:
    table = group["values"]
    names = find_channel_names(table, group)
    if names is None or len(names) != table.shape[1] or len(set(names)) < len(names):
        block = Block.of("values", table)
    else:
        block = Block("values", table, tuple(names))
    return Source(
        name,
        (block,),
        rate_hz=find_rate(group),
        breaks=_breaks(name, group, len(table)),
        default=("values",),
    )


def _breaks(name: str, group: h5py.Group, samples: int) -> tuple[int, ...]:
    breaks = group.get("breaks")
    if breaks is None:
        return ()
    found = np.asarray(breaks[()] if is_numeric(breaks) and breaks.ndim == 1 else np.nan)
    whole = found.dtype.kind in "iu"
    if not (whole and found[0] > 0 and found[-1] < samples and (found[1:] > found[:-1]).all()):
        raise ValueError(
            f"'{name}' has breaks {found.tolist() if found.ndim else None}, expected ascending "
            f"whole numbers between 1 and {samples - 1}."
        )
    return tuple(found.tolist())
