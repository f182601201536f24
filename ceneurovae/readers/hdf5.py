"""Opening an HDF5 file that nobody vouches for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ceneurovae.hints import PathLike
from ceneurovae.readers.memory import check_claim

DEEPEST = 100
# Bytes that a dataset may claim to have without being asked where they are.
CREDIT = 1 << 28
BEING_WRITTEN = ("unable to lock file", "already open for write", "already open for SWMR write")


@contextmanager
def open_hdf5(path: PathLike, allow_external: bool = False) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading, that fetches nothing from other files unless allowed.

    Raises:
        ValueError: if it cannot be opened, another process is writing it, it leads outside, or a
            dataset of it claims to be much larger than the file.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        message = str(error)
        if "truncated" in message:
            raise ValueError(
                f"'{path}' is cut off: it is shorter than it says it is. Copy it again."
            ) from error
        if any(text in message for text in BEING_WRITTEN):
            raise ValueError(
                f"'{path}' is being written by another process. Wait until it is done, or read a "
                "copy. If its writer died, `h5clear -s` of the HDF5 tools sets it right."
            ) from error
        raise ValueError(f"'{path}' cannot be opened as HDF5: {message}.") from error
    with file:
        _check(file, path, allow_external)
        yield file


def _check(file: h5py.File, path: PathLike, allow_external: bool) -> None:
    """Raises a `ValueError` if `file` leads to another file, or a dataset claims too much."""
    own = {".", str(path), Path(path).name}
    for name, link, item in walk(file):
        outside = None
        if isinstance(link, h5py.ExternalLink):
            outside = "a link", link.filename
        elif isinstance(item, h5py.Dataset) and item.external:
            outside = "external storage", item.external[0][0]
        elif isinstance(item, h5py.Dataset) and item.is_virtual:
            others = {source.file_name for source in item.virtual_sources()} - own
            outside = ("a virtual dataset", min(others)) if others else None
        if outside and not allow_external:
            raise ValueError(
                f"'{path}' leads outside: '{name}' is {outside[0]} to '{outside[1]}'. If you trust "
                "both files, pass allow_external=True (--allow-external)."
            )
        check_claim(item, name, path, CREDIT)


def walk(file: h5py.Group) -> Iterator[tuple[str, Any, Any]]:
    """Every link of `file`: its path, the link, and what is there.

    What is there is `None` for links that are followed only when asked for, and for what was met
    before.

    Raises:
        ValueError: if groups are nested more than 100 deep.
    """
    met = {_address(file)}
    pending = [("", file)]
    while pending:
        prefix, group = pending.pop()
        if prefix.count("/") > DEEPEST:
            raise ValueError(
                f"'{file.filename}' nests groups more than {DEEPEST} deep: it is damaged."
            )
        for key in group:
            name = prefix + text(key)  # bytes where it is no UTF-8, which `get` refuses
            link = group.get(key, getlink=True)
            item = group.get(key) if isinstance(link, h5py.HardLink) else None
            if item is not None:
                address = _address(item)
                item = None if address in met else item
                met.add(address)
            yield name, link, item
            if isinstance(item, h5py.Group):
                pending.append((f"{name}/", item))


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def datasets(group: h5py.Group, deep: bool = False) -> dict[str, Any]:
    """Datasets in a group by name, and with `deep` in all groups within, in order of name."""
    if deep:
        items = (
            (name, group.get(name) if isinstance(link, h5py.ExternalLink) else item)
            for name, link, item in walk(group)
        )
    else:
        items = ((name, group.get(name)) for name in group)
    return dict(sorted((n, i) for n, i in items if isinstance(i, h5py.Dataset)))


def dtype_of(dataset: Any) -> np.dtype[Any]:
    """The type of a dataset's values; that of objects where NumPy has none, as for bit fields."""
    try:
        return dataset.dtype
    except (TypeError, ValueError):
        return np.dtype(object)


def text(value: Any) -> Any:
    """A string, or a list of them, that HDF5 may hold as bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if getattr(value, "ndim", 0):
        items = value.ravel().tolist()
        return [text(item) if isinstance(item, bytes) else str(item) for item in items]
    return str(value)
