"""A recording on disk: what channels it has and where they are, before any value is read."""

import dataclasses
import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Self

import h5py
import numpy as np

from ceneurovae.hints import JSON, Array
from ceneurovae.readers.hdf5 import datasets, dtype_of, text
from ceneurovae.readers.table import rows_per_chunk
from ceneurovae.recording import check_finite

RATE_NAMES = ("sampling_rate", "frame_rate", "frameRate")
RESERVED_NAMES = ("mask", "labels", "latents", "timestamps", "channel_names", *RATE_NAMES)
MOST_CHANNELS = 100_000
BYTES_AT_ONCE = 1 << 24
TIMES_AT_ONCE = 100_000


@dataclasses.dataclass(frozen=True)
class Block:
    """A table whose columns are channels that were recorded together.

    Args:
        name: Its path inside the recording.
        table: See `readers.table`: of shape `(T,)`, `(T, C)` or `(N, T, C)`.
        channels: Names of its channels: `name` itself if it is the only one, else `name/column`.
        rate_hz: Samples per second, where it is not that of the recording.
        timestamps: Table `(T,)` of times in seconds, where it is not that of the recording.
    """

    name: str
    table: Any
    channels: tuple[str, ...]
    rate_hz: float | None = None
    timestamps: Any = None

    @classmethod
    def of(
        cls, name: str, table: Any, column_names: Sequence[Any] | None = None, **fields: Any
    ) -> Self:
        """The block of a table; columns without a name are numbered."""
        if table.ndim == 1:
            return cls(name, table, (name,), **fields)
        if column_names is None or len(column_names) != table.shape[-1]:
            column_names = range(table.shape[-1])
        elif len(set(column_names)) < len(column_names):
            column_names = [f"{column}.{i}" for i, column in enumerate(column_names)]
        return cls(name, table, tuple(f"{name}/{column}" for column in column_names), **fields)

    @property
    def window_len(self) -> int | None:
        """Length of the windows it holds, or `None`."""
        return self.table.shape[1] if self.table.ndim == 3 else None

    @property
    def samples(self) -> int:
        """Samples in all its windows, or its length."""
        return self.table.shape[0] * (self.window_len or 1)

    @property
    def rows_per_chunk(self) -> int:
        """Samples that are best read together."""
        return rows_per_chunk(self.table) * (self.window_len or 1)

    def read_plain(self, out: Array, start: int, stop: int) -> None:
        """Reads samples `[start, stop)` of all channels of a float32 table into `out`, `(n, C)`."""
        steps = self.window_len or 1
        if isinstance(self.table, h5py.Dataset) and not (start % steps or stop % steps):
            rows = np.s_[start // steps : stop // steps]
            self.table.read_direct(out.reshape(-1, *self.table.shape[1:]), rows)
        else:
            out[:] = self.read(start, stop)

    def read(self, start: int, stop: int) -> Array:
        """Samples `[start, stop)` of all channels: `(n, C)`, float32 or float64."""
        steps = self.window_len or 1
        first = start // steps
        values = np.asarray(self.table[first : -(-stop // steps)])
        if values.dtype.kind != "f" or values.dtype.itemsize != 4:
            values = values.astype("float64")
        values = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        return values[start - first * steps : stop - first * steps]


@dataclasses.dataclass(frozen=True)
class Source:
    """One recording of a file, with the file still open.

    Args:
        name: Name of the recording.
        blocks: Its `Block`s; those that are read together have the same leading axes.
        rate_hz: Samples per second or `None`.
        breaks: See `Recording`.
        default: Names of the blocks that are read where no channels are chosen; `None` where
            that is for the user to say.
        short_names: Further names for sets of blocks.
        labels: See `Recording`.
        unmatched: Names of blocks whose columns, such as neurons that were not identified, mean
            something else in every recording.
        cautions: What to say where a block, by name, is chosen.
        timestamps: Table `(T,)` of times in seconds, or `None`.
    """

    name: str
    blocks: tuple[Block, ...]
    rate_hz: float | None = None
    breaks: tuple[int, ...] = ()
    default: tuple[str, ...] | None = None
    short_names: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    labels: JSON = dataclasses.field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    cautions: dict[str, str] = dataclasses.field(default_factory=dict)
    timestamps: Any = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all channels of all blocks."""
        return tuple(channel for block in self.blocks for channel in block.channels)

    def matching(self, request: str) -> list[str]:
        """Names of the channels that a name of a channel, of a block or a pattern means."""
        if request in self.short_names:
            wanted = self.short_names[request]
            return [c for block in self.blocks if block.name in wanted for c in block.channels]
        matches: list[str] = []
        for block in self.blocks:
            if request == block.name:
                matches += block.channels
            else:
                matches += [c for c in block.channels if c == request or fnmatchcase(c, request)]
        return matches

    def is_pattern(self, request: str) -> bool:
        """Whether a request stands for whatever fits, rather than for what it names."""
        return request in self.short_names or any(sign in request for sign in "*?[")

    def requests(self, channels: Sequence[str] | None = None) -> Sequence[str]:
        """`channels`, or the default of the layout.

        Raises:
            ValueError: if neither is there.
        """
        if channels is not None:
            return channels
        if self.default is None:
            short = f"; short names: {', '.join(self.short_names)}" if self.short_names else ""
            raise ValueError(
                f"'{self.name}' holds several sets of channels: {self._listed_blocks()}{short}. "
                "Say which with channels= or --channels."
            )
        return self.default

    def unknown(self, request: str) -> str:
        """The message for a request that matches nothing."""
        names = list(dict.fromkeys([*(block.name for block in self.blocks), *self.channels]))
        lowered = {name.lower(): name for name in names}
        near = difflib.get_close_matches(request.lower(), lowered, n=3, cutoff=0.5)
        near = [lowered[name] for name in near] or [
            name for name in names if request.lower().split("/")[-1] in name.lower()
        ][:3]
        hint = f"Did you mean {', '.join(near)}?" if near else f"It has {self._listed_blocks()}."
        return f"'{self.name}' has no channel '{request}'. {hint}"

    def select(self, channels: Sequence[str]) -> "Selection":
        """The chosen channels as one table; NaN for those that the recording does not have.

        Args:
            channels: Names of channels.

        Raises:
            ValueError: if the blocks they are in differ in length, kind or rate.
        """
        place = {name: index for index, name in enumerate(channels)}
        parts = []
        for block in self.blocks:
            pairs = [(i, place[name]) for i, name in enumerate(block.channels) if name in place]
            if pairs:
                columns, places = np.transpose(pairs)
                parts.append((block, columns, places))
        blocks = [block for block, _, _ in parts]
        if not blocks:
            raise ValueError(
                f"'{self.name}' has none of the channels {', '.join(list(channels)[:5])}. It has "
                f"{self._listed_blocks()}. Leave it out."
            )
        if len({(block.samples, block.window_len) for block in blocks}) > 1:
            listed = ", ".join(f"{block.name} {block.table.shape}" for block in blocks)
            raise ValueError(
                f"The chosen channels of '{self.name}' differ in length: {listed}. "
                "Choose channels that were sampled together."
            )
        rates = {block.name: block.rate_hz or self.rate_hz for block in blocks}
        known = [rate for rate in rates.values() if rate]
        if known and max(known) > 1.01 * min(known):
            listed = ", ".join(f"{name} {rate:.4g} Hz" for name, rate in rates.items() if rate)
            raise ValueError(
                f"The chosen channels of '{self.name}' differ in rate: {listed}. Choose channels "
                "that were sampled together."
            )
        return Selection(self, tuple(channels), parts, known[0] if known else None)

    def _listed_blocks(self) -> str:
        listed = [f"{block.name} {block.table.shape}" for block in self.blocks]
        return ", ".join(listed[:12]) + (
            f" and {len(listed) - 12} more" if len(listed) > 12 else ""
        )


class Selection:
    """Some channels of a `Source`, `(T, C)`, whose rows are read as float32 when sliced.

    Args:
        source: The `Source`.
        channels: Names of the `C` columns.
        parts: For each block, the block, its columns, and their places among the `C`.
        rate_hz: Samples per second or `None`.
    """

    def __init__(
        self,
        source: Source,
        channels: tuple[str, ...],
        parts: Sequence[tuple[Block, Array, Array]],
        rate_hz: float | None,
    ) -> None:
        self.source = source
        self.channels = channels
        self.rate_hz = rate_hz
        self.window_len = parts[0][0].window_len
        self.shape = (parts[0][0].samples, len(channels))
        self.blocks = [block for block, _, _ in parts]
        self.rows_per_chunk = max(block.rows_per_chunk for block in self.blocks)
        self._parts = [
            (block, _as_slice(columns), _as_slice(places)) for block, columns, places in parts
        ]
        self._is_plain = (
            len(parts) == 1
            and parts[0][0].channels == channels
            and np.array_equal(parts[0][1], parts[0][2])
            and getattr(parts[0][0].table, "dtype", None) == np.float32
        )
        self._is_complete = sum(len(columns) for _, columns, _ in parts) == len(channels)
        widest = max(block.table.shape[-1] for block, _, _ in parts)
        rows = max(1, BYTES_AT_ONCE // (8 * max(widest, len(channels))))
        self._rows_at_once = -(-rows // self.rows_per_chunk) * self.rows_per_chunk

    def __getitem__(self, rows: slice) -> Array:
        """Samples, `(n, C)`, NaN where nothing was observed.

        Raises:
            ValueError: if one is infinite.
        """
        start, stop, _ = rows.indices(self.shape[0])
        values = np.empty((max(0, stop - start), self.shape[1]), dtype="float32")
        self.read_into(values, start, stop)
        check_finite(values, self.source.name, self.channels, start)
        return values

    def read_into(self, out: Array, start: int, stop: int) -> None:
        """Reads samples `[start, stop)` into `out`, `(n, C)`, float32; infinite ones stay."""
        if self._is_plain:
            return self.blocks[0].read_plain(out, start, stop)
        if not self._is_complete:
            out[:] = np.nan
        step = self._rows_at_once
        with np.errstate(over="ignore"):
            for piece in range(start - start % step, stop, step):
                a, b = max(piece, start), min(piece + step, stop)
                for block, columns, places in self._parts:
                    out[a - start : b - start, places] = block.read(a, b)[:, columns]


def _as_slice(indices: Array) -> slice | Array:
    """Consecutive indices as a slice, which is faster."""
    if (np.diff(indices) == 1).all():
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices


def is_numeric(item: Any) -> bool:
    """Whether `item` is a dataset of real numbers with at least one value and a sane width."""
    return (
        isinstance(item, h5py.Dataset)
        and dtype_of(item).kind in "fiub"
        and bool(item.size)
        and (item.ndim < 2 or item.shape[-1] <= MOST_CHANNELS)
    )


def find_rate(group: h5py.Group) -> float | None:
    """Samples per second from an attribute or scalar dataset of `group`, else `None`.

    Raises:
        ValueError: if it is there but not a positive number.
    """
    for name in RATE_NAMES:
        value = group.attrs.get(name)
        if value is None and isinstance(group.get(name), h5py.Dataset):
            dataset = group[name]
            value = dataset[()] if dataset.size == 1 else np.zeros(0)
        if value is not None:
            value = np.ravel(value)
            if value.dtype.kind not in "fiu" or len(value) != 1 or not 0 < value[0] < np.inf:
                raise ValueError(
                    f"{name} in '{group.name}' of '{group.file.filename}' is {value.tolist()}, "
                    "expected one positive number of samples per second."
                )
            return float(value[0])
    return None


def find_timestamps(group: h5py.Group) -> Any:
    """The dataset `timestamps` `(T,)` of a group, in seconds, or `None`."""
    item = group.get("timestamps")
    return item if is_numeric(item) and item.ndim == 1 and item.size > 1 else None


def rate_of(timestamps: Any) -> float | None:
    """One over the median interval of timestamps in seconds, `None` where that is no rate."""
    if timestamps is None:
        return None
    interval = float(np.median(np.diff(np.asarray(timestamps[:TIMES_AT_ONCE], dtype="float64"))))
    return 1 / interval if 0 < interval < np.inf else None


def find_channel_names(*holders: Any) -> list[str] | None:
    """Names in an attribute or dataset `channel_names` of the first holder that has one."""
    for holder in holders:
        names = holder.attrs.get("channel_names")
        if names is None and isinstance(holder, h5py.Group):
            dataset = holder.get("channel_names")
            if isinstance(dataset, h5py.Dataset) and 0 < (dataset.size or 0) <= MOST_CHANNELS:
                names = dataset[()]
        if names is not None:
            return text(np.atleast_1d(names))
    return None


def find_labels(group: h5py.Group, stretches: int | None = None) -> dict[str, Any]:
    """What a group says of its recording: texts and whole numbers that stand beside the values.

    Args:
        group: HDF5 group.
        stretches: Number of windows, where the recording holds windows: datasets of that length
            label each of them.
    """
    labels = {
        name: text(value)
        for name, value in group.attrs.items()
        if np.ndim(value) == 0 and isinstance(value, (str, bytes, int, np.integer))
    }
    for name, item in datasets(group).items():
        if name in ("mask", "channel_names", *RATE_NAMES):
            continue
        dtype = dtype_of(item)
        textual = h5py.check_string_dtype(dtype) is not None
        if item.shape == () and (textual or dtype.kind in "iu"):
            labels[name] = text(item[()])
        elif stretches and item.shape == (stretches,) and (textual or dtype.kind in "iuf"):
            labels[name] = np.array(text(item[()]))
    return {name: value for name, value in labels.items() if name not in RATE_NAMES}
