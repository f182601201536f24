"""Fixed patterns of what is hidden from a model, to evaluate how well it fills it in."""

import numbers
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from ceneurovae.config import HIDDEN as KINDS
from ceneurovae.hints import Array, Shape

_WITH_SPAN, _WITH_WHICH = ("spans", "end"), ("channels", "groups")


def hide_pattern(
    shape: Shape,
    kind: str,
    share: float = 0.2,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    span: int | None = None,
    which: Any = None,
) -> Array:
    """Which entries of windows to hide: the kinds of `Hiding`, the same for the same arguments.

    Args:
        shape: `(N, T, C)` of the windows.
        kind: `"entries"`, `"spans"`, `"channels"`, `"groups"` or `"end"`; see `Hiding`.
        share: Share of a window that is hidden on average, above 0 and below 1, where neither
            `span` nor `which` says what is hidden.
        groups: For `"groups"`: the group of each channel, `C` names or whole numbers.
        seed: Whole number that the pattern is a function of.
        span: For `"spans"`: one stretch of `span` samples in each channel, each at a place of its
            own. For `"end"`: the last `span` samples.
        which: For `"channels"`: the channel to hide in all windows, `0 ... C - 1`; for
            `"groups"`: the group. Or a tuple of them. Without it they are drawn for each window.

    Returns:
        `(N, T, C)`, bool, True where hidden. No window is hidden completely.

    Raises:
        ValueError: if an argument cannot be used, or would leave nothing to see.

    Example:

    >>> hide_pattern((1, 5, 2), "end", span=2)[0, :, 0].astype(int)
    array([0, 0, 0, 1, 1])
    """
    _check(kind, share, span, which)
    windows, steps, channels = shape
    rng = np.random.default_rng(seed)
    if kind == "entries":
        hidden = rng.random(shape) < share
    elif kind == "channels":
        _require_two(channels, "channel", kind)
        hidden = _channels(windows, channels, share, which, rng)
    elif kind == "groups":
        hidden = _groups(windows, channels, groups, which, rng)
    else:
        _require_two(steps, "sample", kind)
        hidden = _stretches(shape, kind, share, span, rng)
    hidden = np.broadcast_to(hidden, shape)
    return hidden & ~hidden.all(axis=(1, 2), keepdims=True)


def _stretches(
    shape: Shape, kind: str, share: float, span: int | None, rng: np.random.Generator
) -> Array:
    windows, steps, channels = shape
    if span is None:
        length = np.round(2 * share * steps * rng.random((windows, 1, channels)))
        length = np.clip(length, 1, steps - 1).astype(int)
    elif isinstance(span, numbers.Integral) and 0 < span < steps:
        length = np.full((windows, 1, channels), span)
    else:
        raise ValueError(
            f"span is {span!r}, but the windows have {steps} samples. "
            f"Use a whole number of 1 to {steps - 1}, so that something is left to see."
        )
    time = np.arange(steps)[:, None]
    if kind == "end":
        return time >= steps - length[..., :1]
    start = rng.integers(0, steps - length + 1)
    if span is None:
        alike = rng.random((windows, 1, 1)) < 0.5
        start = np.where(alike, start[..., :1], start)
        length = np.where(alike, length[..., :1], length)
    return (time >= start) & (time < start + length)


def _channels(
    windows: int, channels: int, share: float, which: Any, rng: np.random.Generator
) -> Array:
    if which is not None:
        return _chosen(range(channels), list(range(channels)), which)
    draw = rng.random((windows, 1, channels))
    lowest, highest = draw.min(axis=-1, keepdims=True), draw.max(axis=-1, keepdims=True)
    return ((draw < share) | (draw == lowest)) & (draw < highest)


def _groups(
    windows: int,
    channels: int,
    groups: Sequence[Hashable] | None,
    which: Any,
    rng: np.random.Generator,
) -> Array:
    given = () if groups is None else groups
    names = list(dict.fromkeys(given))
    if len(names) < 2:
        raise ValueError(
            f"groups is {groups!r}, but to hide one group and leave another takes at least 2. "
            "Name the group of each channel, or use another kind."
        )
    if len(given) != channels:
        raise ValueError(
            f"groups has {len(given)} entries, but the windows have {channels} channels. "
            "Name the group of each channel."
        )
    if which is not None:
        return _chosen(given, names, which)
    of_channel = np.array([names.index(name) for name in given])
    return rng.integers(0, len(names), size=(windows, 1, 1)) == of_channel


def _chosen(of_channel: Iterable[Hashable], names: Sequence[Hashable], which: Any) -> Array:
    """Whether what each channel is or belongs to is one of `which`, `(C,)`."""
    chosen = which if isinstance(which, (tuple, list)) else (which,)
    if not chosen or not set(chosen) < set(names):
        raise ValueError(
            f"which is {which!r}, expected one or more of {', '.join(map(str, names))}, "
            "but not all, so that something is left to see."
        )
    return np.array([name in chosen for name in of_channel])


def _check(kind: str, share: float, span: int | None, which: Any) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}.")
    if not 0 < share < 1:
        raise ValueError(f"share is {share!r}, expected a number above 0 and below 1.")
    for name, value, kinds in (("span", span, _WITH_SPAN), ("which", which, _WITH_WHICH)):
        if value is not None and kind not in kinds:
            raise ValueError(
                f"{name} is {value!r}, but hiding {kind!r} has no {name}. "
                f"Leave it out, or use one of {', '.join(kinds)}."
            )


def _require_two(count: int, of_what: str, kind: str) -> None:
    if count < 2:
        raise ValueError(
            f"The windows have {count} {of_what}, and hiding {kind!r} would leave none to see. "
            f"Use windows of at least 2 {of_what}s or another kind."
        )
