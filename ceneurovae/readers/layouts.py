"""Which layout a file has, found by looking inside.

A layout is a module with a `NAME`, `matches`, which tells from an open file whether it has that
layout, and `sources`, which lists its recordings. Where `matches` guesses, `could_be` says
whether the layout is possible when it is named. A layout gets an open HDF5 file (an NPZ archive is
made into one), or, where it is a layout of another kind of file, the path.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import h5py

from ceneurovae.hints import PathLike
from ceneurovae.readers import (
    arrays,
    deeplabcut,
    flavell,
    groups,
    lfads,
    npy,
    npz,
    nwb,
    recordings,
    sktime,
    sleap,
    traces,
)
from ceneurovae.readers.hdf5 import open_hdf5
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Source

# A module as described above, or what stands for one.
Layout: TypeAlias = Any

# Of those that fit, the first counts.
HDF5_LAYOUTS = (nwb, flavell, lfads, sleap, deeplabcut, traces, groups, recordings, arrays)
OTHER_LAYOUTS = (npy, deeplabcut.csv_layout, sktime)
NAMES = tuple(dict.fromkeys(layout.NAME for layout in (*HDF5_LAYOUTS, *OTHER_LAYOUTS)))
# How MATLAB files begin that are not HDF5.
OLD_MATLAB = b"MATLAB 5.0"
# What a damaged file makes h5py and its layouts raise.
DAMAGE = (OSError, RuntimeError, KeyError, UnicodeError, MemoryError, OverflowError, TypeError)


@contextmanager
def open_sources(
    path: PathLike, options: ReadOptions | None = None
) -> Iterator[tuple[str, list[Source]]]:
    """Opens a file for reading: its layout's name, and its recordings as `Source`s.

    Args:
        path: File.
        options: `ReadOptions`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or no layout fits.
        ImportError: if its layout needs a package that is not installed.
    """
    path, options = Path(path), options or ReadOptions()
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    if path.is_dir():
        raise ValueError(f"'{path}' is a folder, expected a file.")
    if options.layout not in (None, *NAMES):
        raise ValueError(f"layout is '{options.layout}', expected one of {', '.join(NAMES)}.")
    try:
        with _opened(path, options) as (file, candidates):
            layout = next((layout for layout in candidates if _fits(layout, file, options)), None)
            if layout is None:
                raise ValueError(_no_layout(path, options))
            yield layout.NAME, layout.sources(file, path.stem, options)
    except DAMAGE as error:
        if not _is_about_content(error):
            raise
        raise ValueError(f"'{path}' is damaged, a part of it cannot be read: {error}.") from error


@contextmanager
def _opened(path: Path, options: ReadOptions) -> Iterator[tuple[Any, Sequence[Layout]]]:
    """What the layouts look at, and those to try."""
    if h5py.is_hdf5(path):
        with open_hdf5(path, options.allow_external) as file:
            # What a run wrote says so, whatever layout its own files have.
            yield file, (traces,) if traces.matches(file) else _named(HDF5_LAYOUTS, options)
    elif npz.is_npz(path):
        with npz.as_hdf5(path) as file:
            yield file, _named(HDF5_LAYOUTS, options)
    else:
        yield path, _named(OTHER_LAYOUTS, options)


def _fits(layout: Layout, file: Any, options: ReadOptions) -> bool:
    """Whether a file has a layout; less is asked of one that was named."""
    named = options.layout is not None
    return getattr(layout, "could_be", layout.matches)(file) if named else layout.matches(file)


def _named(layouts: Sequence[Layout], options: ReadOptions) -> list[Layout]:
    return [layout for layout in layouts if options.layout in (None, layout.NAME)]


def _is_about_content(error: Exception) -> bool:
    """Whether an error is about the file, not its folder (no permission) or a mistake of ours."""
    if isinstance(error, TypeError):
        return "NumPy equivalent" in str(error)
    return not isinstance(error, OSError) or error.errno is None


def _no_layout(path: Path, options: ReadOptions) -> str:
    if options.layout is not None:
        return f"'{path}' does not have the layout '{options.layout}'."
    if not h5py.is_hdf5(path) and not npz.is_npz(path):
        with open(path, "rb") as file:
            old_matlab = file.read(len(OLD_MATLAB)) == OLD_MATLAB
        advice = (
            "It is of MATLAB: save it with the flag '-v7.3', as HDF5"
            if old_matlab
            else "Save what it holds as HDF5 or NPY"
        )
        return (
            f"'{path}' is not a file that can be read: neither HDF5, NPZ or NPY, nor a CSV file of "
            f"DeepLabCut, nor a .ts file. {advice}: recordings (T, C) or windows (N, T, C)."
        )
    return (
        f"'{path}' holds no numeric dataset of one to three axes. Give recordings (T, C) or "
        "windows (N, T, C)."
    )
