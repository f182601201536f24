"""Files on disk -> recordings: one module per layout, and what they have in common."""

import dataclasses
import glob
import itertools
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ceneurovae.hints import JSON, Paths
from ceneurovae.readers.align import ALIGN, align_channels
from ceneurovae.readers.layouts import open_sources
from ceneurovae.readers.memory import check_claim, memory_budget
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Source
from ceneurovae.readers.stored import StoredValues
from ceneurovae.recording import Recording, check_names, window_fields
from ceneurovae.resample import resampled

__all__ = ["ReadOptions", "expand_paths", "open_sources", "read_alike", "read_recordings"]

SUFFIXES = (".h5", ".hdf5", ".nwb", ".npz", ".npy", ".csv", ".ts", ".mat")


def read_recordings(
    paths: Paths,
    channels: Sequence[str] | str | None = None,
    align: str = "error",
    resample_hz: float | None = None,
    memory_gb: float | None = None,
    **options: Any,
) -> list[Recording]:
    """Reads every recording of one or several files.

    Args:
        paths: Files, folders and patterns such as `data/*.h5`, one or several. Of a folder, the
            files in it that have a suffix of a layout are read.
        channels: Names of channels or of whole datasets, short names such as `behavior`, or
            patterns such as `behavior/*`, as `ceneurovae inspect` lists them. By default those of
            the layout.
        align: What to do where recordings have different channels: `"error"`, `"union"` takes
            those that any has, with NaN where one lacks it, `"intersection"` those that all have.
        resample_hz: Rate to resample all recordings to; by default they must have the same.
        memory_gb: How much may be held in memory; a quarter of what there is by default. What is
            larger stays on disk and is read where it is needed.
        **options: Fields of `ReadOptions`: `layout`, `transpose`, `min_likelihood`,
            `allow_external`.

    Returns:
        List of `Recording`, all with the same channels.

    Raises:
        FileNotFoundError, ValueError: if a file or a channel cannot be used.
    """
    if align not in ALIGN:
        raise ValueError(f"align is {align!r}, expected one of {', '.join(ALIGN)}.")
    return _read(paths, channels, align, resample_hz, memory_gb, ReadOptions(**options))


def read_alike(
    paths: Paths, channels: Sequence[str] | str, reading: JSON, memory_gb: float | None = None
) -> list[Recording]:
    """Reads recordings with the channels, and in the way, of others that were read before.

    Args:
        paths: As for `read_recordings`.
        channels: Names of channels, in their order.
        reading: The `reading` of such a `Recording`.
        memory_gb: As for `read_recordings`.
    """
    reading = dict(reading)
    align = "fill" if reading.pop("align") == "union" else "error"
    rate = reading.pop("resample_hz")
    return _read(paths, channels, align, rate, memory_gb, ReadOptions(**reading))


def _read(
    paths: Paths,
    channels: Sequence[str] | str | None,
    align: str,
    resample_hz: float | None,
    memory_gb: float | None,
    options: ReadOptions,
) -> list[Recording]:
    channels = [channels] if isinstance(channels, str) else channels
    budget = memory_budget(memory_gb)
    recordings, named = _on_disk(expand_paths(paths), channels, align, options)
    if sum(4 * np.prod(r.values.shape, dtype="float64") for r in recordings) <= budget:
        recordings = _without_empty(_loaded(recordings), named)
    if resample_hz is None:
        _check_rates(recordings)
    else:
        recordings = [resampled(recording, resample_hz) for recording in recordings]
    how = {"align": align, "resample_hz": resample_hz, **dataclasses.asdict(options)}
    return [dataclasses.replace(recording, reading=how) for recording in recordings]


def expand_paths(paths: Paths) -> list[Path]:
    """Files, folders and patterns as a list of files.

    Args:
        paths: One of them, or several.

    Raises:
        FileNotFoundError: if a pattern or a folder holds no file.
    """
    found = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        if Path(path).is_dir():
            inside = sorted(p for p in Path(path).iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise FileNotFoundError(
                    f"The folder '{path}' holds no file that ends in {', '.join(SUFFIXES)}."
                )
            found += inside
        elif glob.has_magic(str(path)) and not Path(path).exists():
            inside = sorted(map(Path, glob.glob(str(path), recursive=True)))
            if not inside:
                raise FileNotFoundError(f"No file matches '{path}'.")
            found += inside
        else:
            found.append(Path(path))
    return found


def _on_disk(
    paths: Sequence[Path], channels: Sequence[str] | None, align: str, options: ReadOptions
) -> tuple[list[Recording], set[str]]:
    """The recordings, their values still on disk, and the channels that were asked for by name."""
    found = []
    for path in paths:
        with open_sources(path, options) as (_, sources):
            found += sources
    columns, named = align_channels(found, channels, align)
    recordings = []
    for path in paths:
        with open_sources(path, options) as (_, sources):
            recordings += [_described(path, source, columns, options) for source in sources]
    check_names(recordings)
    return recordings, named


def _described(
    path: Path, source: Source, columns: Sequence[str], options: ReadOptions
) -> Recording:
    """A source as a `Recording` whose values stay on disk."""
    selection = source.select(columns)
    for block in selection.blocks:
        check_claim(block.table, block.name, path)
    path = Path(path).resolve()
    stored = StoredValues(
        path, options, source.name, tuple(columns), selection.shape, selection.rows_per_chunk
    )
    windows = selection.window_len
    fields: JSON = {"breaks": source.breaks}
    if windows:
        fields |= window_fields(len(stored) // windows, windows)
    return Recording(
        source.name,
        stored,
        tuple(columns),
        rate_hz=selection.rate_hz,
        path=path,
        labels=source.labels,
        **fields,
    )


def _loaded(recordings: Sequence[Recording]) -> list[Recording]:
    """The recordings with their values in memory; each file is opened once."""
    loaded = []
    for path, members in itertools.groupby(recordings, key=lambda r: r.values.path):
        group = list(members)
        with open_sources(path, group[0].values.options) as (_, sources):
            named = {source.name: source for source in sources}
            for recording in group:
                values = recording.values.select(named)[:]
                loaded.append(dataclasses.replace(recording, values=values))
    return loaded


def _without_empty(recordings: list[Recording], named: Collection[str]) -> list[Recording]:
    """The recordings without channels that are missing throughout and matched only a pattern."""
    channels = recordings[0].channels
    seen = np.any([~np.isnan(r.values).all(axis=0) for r in recordings], axis=0)
    drop = [i for i, name in enumerate(channels) if not seen[i] and name not in named]
    if not drop or len(drop) == len(channels):
        return recordings
    names = ", ".join(channels[i] for i in drop[:5]) + (" ..." if len(drop) > 5 else "")
    warnings.warn(
        f"Left out, since missing (NaN) throughout: {names}.",
        stacklevel=4,
    )
    return [
        dataclasses.replace(
            r,
            values=np.delete(r.values, drop, axis=1),
            channels=tuple(np.delete(channels, drop).tolist()),
        )
        for r in recordings
    ]


def _check_rates(recordings: Sequence[Recording]) -> None:
    rates = {r.name: r.rate_hz for r in recordings if r.rate_hz is not None}
    if rates and max(rates.values()) > 1.01 * min(rates.values()):
        slow, fast = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
        raise ValueError(
            f"Recordings have different rates: '{slow}' {rates[slow]:.4g} Hz, '{fast}' "
            f"{rates[fast]:.4g} Hz. Choose one with resample_hz= (--resample-hz), or read them "
            "apart."
        )
