"""One recording: what every reader gives and everything after it takes."""

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np

from ceneurovae.hints import JSON, Array


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Values of all channels over time, NaN where nothing was observed.

    Args:
        name: Unique among the recordings used together.
        values: `(T, C)`, raw units: an array, kept as float32, or `StoredValues`, which stay on
            disk until they are sliced.
        channels: `C` unique names.
        rate_hz: Samples per second, `None` where the file does not tell.
        breaks: Samples, ascending, at which a new uninterrupted stretch begins. No window
            crosses one.
        window_len: Length of the windows that the file holds, `None` if it holds recordings.
        path: File it was read from, `None` for an array in memory.
        labels: What the file says of the recording, such as its animal: one value per name, or
            one for each stretch.
        reach: Samples on each side that a sample was computed from, 0 unless it was resampled.
        filled_up: Whether stretches shorter than a window were filled up with NaN.
        reading: Arguments of `read_recordings` that give it again.

    Raises:
        ValueError: if shapes and names do not agree or a value is infinite.
    """

    name: str
    values: Any  # Array | StoredValues
    channels: tuple[str, ...]
    rate_hz: float | None = None
    breaks: Sequence[int] | Array = ()
    window_len: int | None = None
    path: Path | None = None
    labels: JSON = dataclasses.field(default_factory=dict)
    reach: int = 0
    filled_up: bool = False
    reading: JSON = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        values, channels = self.values, tuple(self.channels)
        if values.ndim != 2 or values.shape[1] != len(channels):
            raise ValueError(
                f"Recording '{self.name}' has values of shape {values.shape}, expected (T, C) "
                f"with C = {len(channels)} channels."
            )
        if isinstance(values, np.ndarray):
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(values, dtype="float32")
            check_finite(values, self.name, channels)
        if not isinstance(self.breaks, range):
            breaks = np.asarray(self.breaks, dtype="int64")
            if breaks.size and not (
                breaks[0] > 0 and breaks[-1] < len(values) and (np.diff(breaks) > 0).all()
            ):
                raise ValueError(
                    f"Recording '{self.name}' has breaks {breaks.tolist()}, expected ascending "
                    f"samples between 1 and {len(values) - 1}."
                )
            object.__setattr__(self, "breaks", breaks)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "channels", channels)

    @property
    def stretches(self) -> Array:
        """Uninterrupted stretches of time, `(n, 2)`: first sample, and one past the last."""
        edges = np.concatenate([[0], self.breaks, [len(self.values)]]).astype("int64")
        return np.stack([edges[:-1], edges[1:]], axis=1)

    @property
    def in_memory(self) -> bool:
        """Whether the values are an array, rather than on disk."""
        return isinstance(self.values, np.ndarray)

    def opened(self) -> AbstractContextManager[Any]:
        """A context in which the values can be sliced without opening a file for each slice."""
        return contextlib.nullcontext(self.values) if self.in_memory else self.values.opened()

    @classmethod
    def from_windows(cls, name: str, values: Array, channels: Sequence[str], **fields: Any) -> Self:
        """A recording out of windows `(N, T, C)`, each a stretch of its own."""
        count, steps = values.shape[:2]
        fields = window_fields(count, steps) | fields
        return cls(name, values.reshape(count * steps, -1), tuple(channels), **fields)


def window_fields(count: int, steps: int) -> JSON:
    """The fields of a `Recording` that say that it is `count` windows of `steps` samples."""
    return {"breaks": range(steps, count * steps, steps), "window_len": steps}


def check_finite(values: Array, name: str, channels: Sequence[str], first_sample: int = 0) -> None:
    """Raises a `ValueError` if any of `values` `(T, C)` is infinite."""
    infinite = np.isinf(values)
    if infinite.any():
        sample, channel = np.argwhere(infinite)[0]
        raise ValueError(
            f"Recording '{name}', channel '{channels[channel]}' is infinite in "
            f"{infinite[:, channel].sum()} samples, the first at {first_sample + sample}. Replace "
            "them by NaN, which means missing, or leave the channel out."
        )


def check_names(recordings: Iterable[Recording]) -> None:
    """Raises a `ValueError` if two recordings have the same name."""
    seen: dict[str, Recording] = {}
    for recording in recordings:
        other = seen.setdefault(recording.name, recording)
        if other is not recording:
            where = f" (from '{other.path}' and '{recording.path}')" if recording.path else ""
            raise ValueError(
                f"Several recordings are named '{recording.name}'{where}. Give each file once, or "
                "rename one."
            )


def as_recordings(data: Any) -> list[Recording]:
    """`data` as a list of recordings.

    Args:
        data: Recordings, or an array `(T, C)` or `(N, T, C)`, or a list of such arrays.

    Raises:
        ValueError: if an array has another rank.
    """
    if isinstance(data, (Recording, np.ndarray)):
        data = [data]
    return [
        item if isinstance(item, Recording) else _from_array(f"array {i}", np.asarray(item))
        for i, item in enumerate(data)
    ]


def _from_array(name: str, values: Array) -> Recording:
    channels = tuple(str(channel) for channel in range(values.shape[-1] if values.ndim else 0))
    if values.ndim == 2:
        return Recording(name, values, channels)
    if values.ndim == 3:
        return Recording.from_windows(name, values, channels)
    raise ValueError(
        f"Received an array of shape {values.shape}, expected a recording (T, C) or windows "
        "(N, T, C)."
    )
