"""NPZ archives: the same as an HDF5 file with the same names, and read as one."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

MAGIC = b"PK\x03\x04"
LARGEST = 1 << 32


def is_npz(path: Path) -> bool:
    """Whether the file is a ZIP archive of NPY files."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


@contextmanager
def as_hdf5(path: Path) -> Iterator[h5py.File]:
    """The arrays of an archive as the datasets of an HDF5 file in memory.

    Raises:
        ValueError: if they cannot be read, or are too large to be held in memory.
    """
    with h5py.File.in_memory() as file:
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size <= LARGEST:
                _unpack(path, file)
        except Exception as error:  # damaged headers raise whatever they happen to mean
            raise ValueError(f"'{path}' is damaged, it cannot be unpacked: {error}.") from error
        if size > LARGEST:
            raise ValueError(
                f"'{path}' unpacks to {size / 1e9:.1f} GB, more than the {LARGEST / 1e9:.1f} "
                "that an NPZ archive may. Store it as HDF5 or NPY, which can be streamed."
            )
        yield file


def _unpack(path: Path, file: h5py.File) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        for name, array in arrays.items():
            if array.dtype.kind == "U":
                array = np.char.encode(array, "utf-8")
            if array.dtype.kind in "fiubS":
                file[name] = array
