"""How much may be held in memory, and whether a file can be what it claims to be."""

import os
from pathlib import Path

import h5py

SHARE = 0.25
# gzip packs 1032 bytes into one; nothing that was recorded comes near it.
DENSEST = 2000
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_budget(memory_gb=None):
    """Bytes that recordings may take: `memory_gb`, or a quarter of the memory there is.

    Raises:
        ValueError: if `memory_gb` is negative.
    """
    if memory_gb is not None:
        if not memory_gb >= 0:
            raise ValueError(f"memory_gb is {memory_gb!r}, expected a number of at least 0.")
        return memory_gb * 1e9
    return SHARE * _memory()


def _memory():
    """Bytes of memory, of the machine or of the control group that the process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in LIMITS:
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue
    return total


def check_claim(table, name, path):
    """Raises a `ValueError` if a dataset claims to be much larger than its file could hold."""
    if not isinstance(table, h5py.Dataset):
        return
    claimed, there = table.size * table.dtype.itemsize, os.path.getsize(path)
    offset = table.id.get_offset()
    if claimed > DENSEST * there or (offset is not None and offset + claimed > there):
        raise ValueError(
            f"'{path}': the dataset '{name}' claims {claimed / 1e9:,.3g} GB, but the file has "
            f"{there / 1e9:,.3g} GB. It was never filled, or is damaged."
        )
