"""A bar for long work: the library says how far it is, the command line shows it."""

from contextlib import contextmanager
from contextvars import ContextVar

_track = ContextVar("track", default=None)


def tracked(items, total, title):
    """The same items, one after another; who is `showing` is told of each.

    Args:
        items: Iterable.
        total: How many there are, `None` where that is not known.
        title: What is done with them.
    """
    track = _track.get()
    return iter(items) if track is None else track(items, total, title)


@contextmanager
def working(title):
    """A context of work of which nobody knows how long it takes."""
    for _ in tracked([title], None, title):
        yield


@contextmanager
def showing(track):
    """A context in which `track(items, total, title)` takes the place of `tracked`."""
    token = _track.set(track)
    try:
        yield
    finally:
        _track.reset(token)
