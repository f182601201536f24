"""How the C library hands out memory, and takes it back."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Of <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8
# What glibc arrives at where large arrays come and go, and what it has for the rest.
USUAL = {
    M_TRIM_THRESHOLD: 1 << 26,
    M_TOP_PAD: 1 << 17,
    M_MMAP_THRESHOLD: 1 << 25,
    M_MMAP_MAX: 1 << 16,
}
# Nothing goes back to the system, but for arrays that have pages of their own.
KEEPING = {**USUAL, M_TRIM_THRESHOLD: (1 << 31) - 1, M_TOP_PAD: 1 << 26}


def share_one_arena() -> bool:
    """Lets all threads of the process allocate from one arena, where the C library is glibc's.

    By default each has its own, in which a thread that compiles leaves holes that no other fills:
    a training on JAX then takes a fifth more memory at its peak. To be called before the threads
    begin.

    Returns:
        Whether it is so.
    """
    return _set({M_ARENA_MAX: 1})


@contextmanager
def keeping_memory(large: bool = True) -> Iterator[None]:
    """A context in which memory that is freed stays with the process, on glibc.

    A training step allocates and frees what the step before did, tens of megabytes. Where these go
    back to the system in between, which hands them out empty, page by page, that alone takes as
    long as the step. At the end all goes back that is free.

    Args:
        large: Whether arrays of more than 32 MB stay too, which have pages of their own otherwise.
            Where they leave holes that are a little too small for the next, a process takes up to
            three times the memory of a step.
    """
    _set({**KEEPING, M_MMAP_MAX: 0} if large else KEEPING)
    try:
        yield
    finally:
        if _set(USUAL):
            ctypes.CDLL(None).malloc_trim(0)


def _set(options: dict[int, int]) -> bool:
    """Whether the C library took them all."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(option, value) for option, value in options.items()])
    except (OSError, AttributeError, TypeError):  # another C library
        return False
