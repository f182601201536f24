"""Files for LFADS: `train_encod_data`, `valid_encod_data` and their like, `(N, T, C)`.

The layout of LFADS (Pandarinath et al., "Inferring single-trial neural population dynamics using
sequential auto-encoders", Nature Methods, 2018) and of what grew out of it. The split of the file
is kept: each part becomes a recording, labelled with the split that it is for.
"""

import re
from collections.abc import Iterable
from typing import Any

import h5py

from ceneurovae.readers.arrays import prepared, usable
from ceneurovae.readers.hdf5 import datasets
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source, find_channel_names, find_rate

NAME = "lfads"
SPLITS = ("train", "valid", "test")
PATTERN = re.compile(rf"({'|'.join(SPLITS)})_(\w*data)")


def matches(file: h5py.Group) -> bool:
    """Whether there are data for training and validation, with the names of LFADS."""
    found = _found(file)
    return any(f"train_{kind}" in found and f"valid_{kind}" in found for kind in _kinds(found))


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per part; `encod_data`, or else `data`, is read by default."""
    found = prepared(_found(file), file, options)
    kinds = _kinds(found)
    default = next((kind for kind in ("encod_data", "data") if kind in kinds), kinds[0])
    return [
        Source(
            f"{stem}/{split}",
            tuple(
                Block.of(kind, found[f"{split}_{kind}"], find_channel_names(file))
                for kind in kinds
                if f"{split}_{kind}" in found
            ),
            rate_hz=find_rate(file),
            default=(default,),
            labels={"split": split},
        )
        for split in SPLITS
        if f"{split}_{default}" in found
    ]


def _found(file: h5py.Group) -> dict[str, Any]:
    found = usable(datasets(file))
    return {n: d for n, d in found.items() if PATTERN.fullmatch(n) and d.ndim == 3}


def _kinds(found: Iterable[str]) -> list[str]:
    return sorted({match[2] for match in map(PATTERN.fullmatch, found) if match})
