"""Poses by DeepLabCut: CSV with three or four header rows, and the tables that pandas stores.

Mathis et al., "DeepLabCut: markerless pose estimation of user-defined body parts with deep
learning", Nature Neuroscience, 2018. Points whose likelihood is below `min_likelihood` are NaN.
"""

import csv
import io
import itertools
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import h5py
import numpy as np

from ceneurovae.hints import Array
from ceneurovae.readers.hdf5 import dtype_of, text
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import MOST_CHANNELS, Block, Source, is_numeric
from ceneurovae.readers.table import Table

# Function of the first row and one past the last that reads rows.
Rows: TypeAlias = Callable[[int, int], Array]
# Names of columns, what reads their rows, and how many rows there are.
StoredTable: TypeAlias = tuple[Sequence[tuple[str, ...]], Rows, int]

NAME = "deeplabcut"
LEVELS = {3: ("scorer", "bodyparts", "coords"), 4: ("scorer", "individuals", "bodyparts", "coords")}


def matches(file: h5py.Group) -> bool:
    """Whether a group holds a table of pandas whose columns end in `likelihood`."""
    return _stored_table(file) is not None


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per animal, with the channels `part/x` and `part/y`, in pixels."""
    found = _stored_table(file)
    return [] if found is None else _sources(*found, stem, options)


def _matches_csv(path: Path) -> bool:
    """Whether the header rows are those of DeepLabCut."""
    return _csv_header(path) is not None


def _csv_sources(path: Path, stem: str, options: ReadOptions) -> list[Source]:
    """As `sources`, of a CSV file."""
    header = _csv_header(path) or []
    try:
        values = np.genfromtxt(
            path, delimiter=",", skip_header=len(header), dtype="float32", ndmin=2, encoding="utf-8"
        )[:, 1:]
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"'{path}' has rows of different lengths: {reason[:200]}.") from error
    columns = list(zip(*(row[1:] for row in header), strict=True))
    if values.shape[1] != len(columns) or not len(values):
        raise ValueError(
            f"'{path}' has {values.shape[0]} rows of {values.shape[1]} values for "
            f"{len(columns)} named columns."
        )
    return _sources(columns, lambda start, stop: values[start:stop], len(values), stem, options)


csv_layout = SimpleNamespace(NAME=NAME, matches=_matches_csv, sources=_csv_sources)


def _csv_header(path: Path) -> list[list[str]] | None:
    """The header rows, lists of cells, or `None` where there are none."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        try:
            head = list(itertools.islice(csv.reader(file), 4))
        except csv.Error:
            return None
    for depth, names in LEVELS.items():
        rows = head[:depth]
        if tuple(row[0].strip() for row in rows if row) == names:
            return rows if len({len(row) for row in rows}) == 1 else None
    return None


def _sources(
    columns: Sequence[tuple[str, ...]], rows: Rows, length: int, stem: str, options: ReadOptions
) -> list[Source]:
    """Recordings out of columns `(scorer, [individual,] part, coordinate)`."""
    animals: dict[str | None, dict[str, dict[str, int]]] = {}
    for index, column in enumerate(columns):
        *before, part, axis = column
        animal = before[1] if len(before) > 1 else None
        animals.setdefault(animal, {}).setdefault(part, {})[axis] = index
    return [
        Source(
            stem if animal is None else f"{stem}/{animal}",
            tuple(
                _part(part, places, rows, length, options.min_likelihood)
                for part, places in parts.items()
            ),
            default=tuple(parts),
            labels={} if animal is None else {"individual": str(animal)},
        )
        for animal, parts in animals.items()
    ]


def _part(
    part: str, places: dict[str, int], rows: Rows, length: int, min_likelihood: float
) -> Block:
    axes = [axis for axis in places if axis != "likelihood"]
    columns = [places[axis] for axis in axes]
    likelihood = places.get("likelihood")

    def read(start: int, stop: int) -> Array:
        values = np.asarray(rows(start, stop))
        with np.errstate(over="ignore"):
            points = values[:, columns].astype("float32")
        if likelihood is not None:
            points[~(values[:, likelihood] >= min_likelihood)] = np.nan
        return points

    return Block(part, Table((length, len(axes)), read), tuple(f"{part}/{axis}" for axis in axes))


def _stored_table(file: h5py.Group) -> StoredTable | None:
    """`(columns, function that reads rows, number of rows)` of a table of pandas, or `None`."""
    for name in file:
        group = file.get(name)
        found = isinstance(group, h5py.Group) and (_appendable(group) or _fixed(group))
        if found and all(len(c) in LEVELS for c in found[0]) and found[0][-1][-1] == "likelihood":
            return found
    return None


def _appendable(group: h5py.Group) -> StoredTable | None:
    """As written with `format="table"`: one compound dataset, its columns named in a pickle."""
    table = group.get("table")
    if not isinstance(table, h5py.Dataset) or table.ndim != 1:
        return None
    field, dtype = "values_block_0", dtype_of(table)
    packed = table.attrs.get(f"{field}_kind")
    if field not in (dtype.names or ()) or not isinstance(packed, bytes):
        return None
    columns = _unpickled(packed)
    stored = dtype[field]
    if stored.shape != (len(columns),) or stored.base.kind not in "fiu" or not len(table):
        return None
    return columns, lambda start, stop: table[start:stop][field], len(table)


def _fixed(group: h5py.Group) -> StoredTable | None:
    """As written with `format="fixed"`: a matrix, and the levels of its columns."""
    values, depth = group.get("block0_values"), group.attrs.get("axis0_nlevels")
    if not is_numeric(values) or values.ndim != 2 or not isinstance(depth, np.integer):
        return None
    levels = [_level(group, i) for i in range(depth)] if depth in LEVELS else []
    columns = list(zip(*levels, strict=False))
    if {len(level) for level in levels} != {values.shape[1]}:
        return None
    return columns, lambda start, stop: values[start:stop], len(values)


def _level(group: h5py.Group, i: int) -> list[str]:
    """One level of the names of the columns: as many as there are columns; none if damaged."""
    names, places = group.get(f"block0_items_level{i}"), group.get(f"block0_items_label{i}")
    for item in (names, places):
        if not isinstance(item, h5py.Dataset) or item.ndim != 1 or item.size > MOST_CHANNELS:
            return []
    if dtype_of(places).kind not in "iu":
        return []
    names, places = text(names[()]), places[()].tolist()
    return [names[place] for place in places] if set(places) <= set(range(len(names))) else []


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles lists, tuples, texts and numbers; anything that needs a class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it needs {module}.{name}")


def _unpickled(packed: bytes) -> list[tuple[str, ...]]:
    """The names of the columns: a list of tuples of texts, or nothing where it is another."""
    try:
        columns = _PlainUnpickler(io.BytesIO(packed), encoding="utf-8").load()
    except Exception:  # a damaged pickle raises whatever its bytes happen to mean
        return []
    named = isinstance(columns, list) and all(
        isinstance(column, tuple) and all(isinstance(level, str) for level in column)
        for column in columns
    )
    return columns if named else []
