"""Files on disk -> recordings. One module per layout, tried in the order of `LAYOUTS`.

A layout is a module with a `NAME`, `matches(file)`, which tells from the structure of an open
HDF5 file whether it has that layout, and `sources(file, stem)`, which lists its recordings.
"""

from contextlib import contextmanager
from pathlib import Path

import h5py

from ceneurovae.readers import arrays, flavell, groups

LAYOUTS = (flavell, groups, arrays)


@contextmanager
def open_sources(path):
    """Opens a file for reading: its layout's name, and its recordings as `Source`s.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as HDF5, or no layout fits.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    if path.is_dir():
        raise ValueError(f"'{path}' is a folder, expected an HDF5 file.")
    if not h5py.is_hdf5(path):
        raise ValueError(f"'{path}' is not an HDF5 file.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise ValueError(
                f"'{path}' is cut off: it is shorter than it says it is. Copy it again."
            ) from error
        raise ValueError(f"'{path}' cannot be opened as HDF5: {error}.") from error
    with file:
        layout = next((layout for layout in LAYOUTS if layout.matches(file)), None)
        if layout is None:
            raise ValueError(
                f"'{path}' holds no numeric dataset of one to three axes. Give recordings (T, C) "
                "or windows (N, T, C)."
            )
        yield layout.NAME, layout.sources(file, path.stem)


def read_recordings(paths, channels=None):
    """Reads every recording of one or several HDF5 files.

    Args:
        paths: A path or several.
        channels: Names of channels or of whole datasets, or patterns such as `behavior/*`, as
            `ceneurovae inspect` lists them. By default those of the layout.

    Returns:
        List of `Recording`.

    Raises:
        FileNotFoundError, ValueError: if a file or a channel cannot be used.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    channels = [channels] if isinstance(channels, str) else channels
    recordings = []
    for path in paths:
        with open_sources(path) as (_, sources):
            try:
                recordings += [source.read(channels) for source in sources]
            except OSError as error:
                raise ValueError(
                    f"'{path}' is damaged, a part of it cannot be read: {error}."
                ) from error
    return recordings
