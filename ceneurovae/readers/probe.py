"""Files are read once in a process of their own, since a damaged one can kill the one it is in.

libhdf5 dies of some files, and never returns from others. The command line therefore lets a child
process go first.
"""

import faulthandler
import importlib.util
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ceneurovae.hints import PathLike
from ceneurovae.readers.layouts import open_sources
from ceneurovae.readers.memory import DENSEST, check_claim, memory_budget
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block

# Seconds that reading may take, and bytes for each of which there is more.
PATIENCE = 8
BYTES_PER_SECOND = 20e6
# Of what is larger, only both ends are read.
READ_WHOLE = 1 << 28
BYTES_AT_ONCE = 1 << 24
# Bytes that reading may take however small a file is.
ROOM = 1 << 30
# Exit status of a child that ran out of memory, rather than of luck.
OUT_OF_MEMORY = 3
# A process with the threads of one of these must not be forked.
THREADED = {"tensorflow", "jax", "torch"}


def probe(paths: Sequence[PathLike], options: ReadOptions | None = None) -> None:
    """Reads files in a child process, so that a file that kills its reader is found out first.

    Whatever else is wrong with a file is left for the caller to meet.

    Args:
        paths: Files.
        options: `ReadOptions`.

    Raises:
        ValueError: if reading a file kills the child, does not end in 8 s and 1 s for every 20 MB,
            or takes more memory than the densest file of its size could.
    """
    if any(Path(path).suffix.lower() == ".nwb" for path in paths):
        _import_pynwb()
    for path in paths:
        _probe(Path(path), options)


def _probe(path: Path, options: ReadOptions | None) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        return
    limit = PATIENCE + size / BYTES_PER_SECOND
    memory = min(2 * memory_budget(), ROOM + 2 * DENSEST * size)
    context: Any = multiprocessing.get_context(_way())
    child = context.Process(target=_read_or_die, args=(path, options, memory))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads that are idle
            child.start()
        child.join(limit)
        if child.is_alive():
            raise ValueError(
                f"'{path}' cannot be read: it was not done after {limit:.0f} s. It is damaged, or "
                "its disk does not answer. Restore it from a copy."
            )
    finally:
        if child.is_alive():
            child.kill()
            child.join()
    if child.exitcode == OUT_OF_MEMORY:
        raise ValueError(
            f"'{path}' is damaged: reading it takes more than {memory / 1e9:,.3g} GB of memory, "
            f"but it has {size / 1e9:,.3g} GB. Restore it from a copy."
        )
    if child.exitcode:
        raise ValueError(
            f"'{path}' is damaged: reading it crashed the HDF5 library ({_cause(child.exitcode)}). "
            "Restore it from a copy."
        )


def _way() -> str:
    """How to start the child: a fork takes milliseconds, but some processes do not survive it."""
    if sys.platform == "linux" and not THREADED & set(sys.modules):
        return "fork"
    return "spawn"


def _cause(exitcode: int) -> str:
    if exitcode > 0:
        return f"exit status {exitcode}"
    try:
        return f"signal {-exitcode}, {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"signal {-exitcode}"


def _import_pynwb() -> None:
    """Imports it, where it is installed, for the child and the parent at once."""
    if importlib.util.find_spec("pynwb"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pynwb  # noqa: F401


def _read_or_die(path: Path, options: ReadOptions | None, memory: float) -> None:
    """What the child does: silently, and without what a Python process does at its end."""
    faulthandler.disable()
    with open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
        sys.stdout = sys.stderr = nowhere
        _limit_memory(memory)
        os._exit(_read_status(path, options))


def _read_status(path: Path, options: ReadOptions | None) -> int:
    """0 if reading comes to its end, or to an exception that is not about memory."""
    try:
        _read(path, options)
    except BaseException as error:
        return OUT_OF_MEMORY if _is_about_memory(error) else 0
    return 0


def _limit_memory(more: float) -> None:
    """Lets this process have so many bytes more than it has, where the system can do that."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    most = int(pages * resource.getpagesize() + more)
    for what, limit in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(what, (limit, hard))


def _is_about_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came from, says that there is no memory."""
    while error is not None:
        if isinstance(error, MemoryError) or "memory allocation failed" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _read(path: Path, options: ReadOptions | None) -> None:
    """Reads all of a file, or both ends of what is large in it, a bounded part at a time."""
    with open_sources(path, options) as (_, sources):
        blocks = [block for source in sources for block in source.blocks]
        for block in blocks:
            check_claim(block.table, block.name, path)
        whole = sum(8 * block.samples * len(block.channels) for block in blocks) <= READ_WHOLE
        for block in blocks:
            _read_block(block, whole)
        for source in sources:
            for times in (source.timestamps, *(block.timestamps for block in source.blocks)):
                if times is not None:
                    _ = times[:1], times[-1:]


def _read_block(block: Block, whole: bool) -> None:
    step = max(1, BYTES_AT_ONCE // (8 * max(1, len(block.channels))))
    step = -(-step // block.rows_per_chunk) * block.rows_per_chunk
    starts = range(0, block.samples, step)
    for start in starts if whole else {0, starts[-1]}:
        block.read(start, min(start + step, block.samples))
