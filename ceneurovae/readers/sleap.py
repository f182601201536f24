"""Analysis files of SLEAP: `tracks`, with the axes from last to first.

Pereira et al., "SLEAP: A deep learning system for multi-animal pose tracking", Nature Methods,
2022.
"""

from typing import Any

import h5py

from ceneurovae.readers.hdf5 import text
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source, find_rate, is_numeric
from ceneurovae.readers.table import Table

NAME = "sleap"
AXES = ("x", "y", "z")


def matches(file: h5py.Group) -> bool:
    """Whether there are tracks `(animals, coordinates, nodes, frames)` and names of nodes."""
    tracks, nodes = file.get("tracks"), file.get("node_names")
    return (
        is_numeric(tracks)
        and tracks.ndim == 4
        and tracks.shape[1] <= len(AXES)
        and getattr(nodes, "shape", None) == tracks.shape[2:3]
    )


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per animal, with the channels `node/x` and `node/y` of every node, in pixels.

    Points that were not found are NaN in the file already.
    """
    tracks, nodes = file["tracks"], text(file["node_names"][()])
    animals, axes = tracks.shape[:2]
    names = file.get("track_names")
    names = text(names[()]) if getattr(names, "shape", None) == (animals,) else range(animals)
    return [
        Source(
            f"{stem}/{name}",
            tuple(
                Block(node, _node(tracks, animal, i), tuple(f"{node}/{a}" for a in AXES[:axes]))
                for i, node in enumerate(nodes)
            ),
            rate_hz=find_rate(file),
            default=tuple(nodes),
            labels={"track": str(name)},
        )
        for animal, name in enumerate(names)
    ]


def _node(tracks: Any, animal: int, node: int) -> Table:
    shape = (tracks.shape[3], tracks.shape[1])
    return Table(shape, lambda start, stop: tracks[animal, :, node, start:stop].T)
