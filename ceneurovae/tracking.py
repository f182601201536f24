"""A bar for long work: the library says how far it is, the command line shows it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_track: ContextVar[Callable[..., Iterator[Any]] | None] = ContextVar("track", default=None)


def tracked(items: Iterable[T], total: int | None, title: str) -> Iterator[T]:
    """The same items, one after another; who is `showing` is told of each.

    Args:
        items: Iterable.
        total: How many there are, `None` where that is not known.
        title: What is done with them.
    """
    track = _track.get()
    return iter(items) if track is None else track(items, total, title)


@contextmanager
def working(title: str) -> Iterator[None]:
    """A context of work of which nobody knows how long it takes."""
    for _ in tracked([title], None, title):
        yield


@contextmanager
def showing(track: Callable[..., Iterator[Any]]) -> Iterator[None]:
    """A context in which `track(items, total, title)` takes the place of `tracked`."""
    token = _track.set(track)
    try:
        yield
    finally:
        _track.reset(token)
