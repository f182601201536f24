"""How much may be held in memory, and whether a file can be what it claims to be."""

import os
from pathlib import Path
from typing import Any

import h5py

from ceneurovae.hints import PathLike

SHARE = 0.25
# gzip packs 1032 bytes into one; nothing that was recorded comes near it.
DENSEST = 2000
# What a file may reserve for a dataset that is not there yet.
LAID_OUT = 1e12
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_budget(memory_gb: float | None = None) -> float:
    """Bytes that recordings may take: `memory_gb`, or a quarter of the memory there is.

    Raises:
        ValueError: if `memory_gb` is negative.
    """
    if memory_gb is not None:
        if not memory_gb >= 0:
            raise ValueError(f"memory_gb is {memory_gb!r}, expected a number of at least 0.")
        return memory_gb * 1e9
    return SHARE * _memory()


def _memory() -> int:
    """Bytes of memory, of the machine or of the control group that the process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in LIMITS:
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue
    return total


def check_claim(table: Any, name: str, path: PathLike, at_least: int = 0) -> None:
    """Raises a `ValueError` if a dataset claims to be much larger than its file could hold.

    Args:
        table: What may be a dataset of an HDF5 file on disk; anything else passes.
        name: What the message calls it.
        path: File, for the message.
        at_least: Bytes; smaller claims pass.
    """
    if not isinstance(table, h5py.Dataset):
        return
    claimed = (table.size or 0) * table.id.get_type().get_size()
    if claimed <= at_least or table.file.driver == "core":
        return
    size, held = _bytes_there(table)
    offset = table.id.get_offset()
    too_dense = claimed > DENSEST * held
    if offset is not None:  # in one piece, which may have been laid out before it is filled
        too_dense = too_dense and claimed > LAID_OUT
    if too_dense or (offset is not None and offset + claimed > size):
        raise ValueError(
            f"'{path}': the dataset '{name}' claims {claimed / 1e9:,.3g} GB, but the file has "
            f"{held / 1e9:,.3g} GB. It was never filled, or is damaged."
        )


def _bytes_there(dataset: Any) -> tuple[int, int]:
    """Bytes of the files that a dataset has its values in, and of the disk that they take.

    The latter is less where a file has holes.
    """
    own = Path(dataset.file.filename)
    others = {name for name, _, _ in dataset.external or ()}
    if dataset.is_virtual:
        others |= {source.file_name for source in dataset.virtual_sources()} - {"."}
    size = held = 0
    for path in {own, *(own.parent / name for name in others)}:
        if path.exists():
            there = path.stat()
            size += there.st_size
            # Some file systems count the blocks late, so few of them say nothing.
            blocks = max(512 * getattr(there, "st_blocks", 0), 1 << 20)
            held += min(there.st_size, blocks)
    return size, held
