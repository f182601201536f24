"""A recording on disk: what channels it has and where they are, before any value is read."""

import dataclasses
import difflib
from fnmatch import fnmatchcase
from pathlib import Path

import h5py
import numpy as np

from ceneurovae.recording import Recording

RATE_NAMES = ("sampling_rate", "frame_rate", "frameRate")
RESERVED_NAMES = ("mask", "labels", "latents", "timestamps", "channel_names", *RATE_NAMES)


@dataclasses.dataclass(frozen=True)
class Block:
    """A dataset whose columns are channels that were recorded together.

    Args:
        name: Its path inside the recording.
        dataset: `h5py.Dataset` of shape `(T,)`, `(T, C)` or `(N, T, C)`.
        channels: Names of its channels: `name` itself if it is the only one, else `name/column`.
    """

    name: str
    dataset: h5py.Dataset
    channels: tuple[str, ...]

    @classmethod
    def of(cls, name, dataset, column_names=None):
        """The block of a dataset; columns without a name are numbered."""
        if dataset.ndim == 1:
            return cls(name, dataset, (name,))
        if column_names is None or len(column_names) != dataset.shape[-1]:
            column_names = range(dataset.shape[-1])
        return cls(name, dataset, tuple(f"{name}/{column}" for column in column_names))


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
        mask: Dataset that is 0 where a value is missing, or `None`.
    """

    name: str
    blocks: tuple[Block, ...]
    rate_hz: float | None = None
    breaks: tuple[int, ...] = ()
    default: tuple[str, ...] | None = None
    mask: h5py.Dataset | None = None

    @property
    def channels(self):
        """Names of all channels of all blocks."""
        return tuple(channel for block in self.blocks for channel in block.channels)

    def read(self, channels=None):
        """Reads the chosen channels into a `Recording`.

        Args:
            channels: Names of channels or of whole blocks, or patterns such as `behavior/*`;
                `None` for the default of the layout.

        Raises:
            ValueError: if a name matches nothing or the chosen blocks differ in length.
        """
        chosen = self._choose(channels)
        blocks = {block.name: block for block, _ in chosen}
        shapes = {name: block.dataset.shape for name, block in blocks.items()}
        if len({shape[: max(1, len(shape) - 1)] for shape in shapes.values()}) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"The chosen channels of '{self.name}' differ in length: {listed}. "
                "Choose channels that were sampled together."
            )
        cached = {name: self.values_of(block) for name, block in blocks.items()}
        columns, names = [], []
        for block, picked in chosen:
            indices = [block.channels.index(channel) for channel in picked]
            columns.append(cached[block.name][..., indices])
            names += picked
        values = np.concatenate(columns, axis=-1)
        fields = {
            "rate_hz": self.rate_hz,
            "path": Path(chosen[0][0].dataset.file.filename).resolve(),
        }
        if values.ndim == 3:
            return Recording.from_windows(self.name, values, names, **fields)
        return Recording(self.name, values, names, breaks=self.breaks, **fields)

    def values_of(self, block):
        """Values of all channels of a block, `(T, C)` or `(N, T, C)`, NaN where masked."""
        values = np.asarray(block.dataset[()], dtype="float64")
        if self.mask is not None and self.mask.shape == values.shape:
            values[self.mask[()] == 0] = np.nan
        return values[:, None] if values.ndim == 1 else values

    def _choose(self, channels):
        """`(block, its chosen channels)` in the order of the request."""
        if channels is None:
            if self.default is None:
                raise ValueError(
                    f"'{self.name}' holds several sets of channels: {self._listed_blocks()}. "
                    "Say which with channels= or --channels."
                )
            channels = self.default
        chosen, taken = [], set()
        for request in channels:
            found = False
            for block in self.blocks:
                match = (
                    block.channels
                    if request == block.name
                    else [c for c in block.channels if c == request or fnmatchcase(c, request)]
                )
                found = found or bool(match)
                fresh = [channel for channel in match if channel not in taken]
                taken.update(fresh)
                if fresh:
                    chosen.append((block, fresh))
            if not found:
                raise ValueError(self._unknown(request))
        return chosen

    def _unknown(self, request):
        names = list(dict.fromkeys([*(block.name for block in self.blocks), *self.channels]))
        lowered = {name.lower(): name for name in names}
        near = difflib.get_close_matches(request.lower(), lowered, n=3, cutoff=0.5)
        near = [lowered[name] for name in near] or [
            name for name in names if request.lower().split("/")[-1] in name.lower()
        ][:3]
        hint = f"Did you mean {', '.join(near)}?" if near else f"It has {self._listed_blocks()}."
        return f"'{self.name}' has no channel '{request}'. {hint}"

    def _listed_blocks(self):
        listed = [f"{block.name} {block.dataset.shape}" for block in self.blocks]
        return ", ".join(listed[:12]) + (
            f" and {len(listed) - 12} more" if len(listed) > 12 else ""
        )


def is_numeric(item):
    """Whether `item` is a dataset of real numbers with at least one value."""
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" and item.size > 0


def find_rate(group):
    """Samples per second from an attribute or scalar dataset of `group`, else `None`.

    Raises:
        ValueError: if it is there but not a positive number.
    """
    for name in RATE_NAMES:
        value = group.attrs.get(name, group[name][()] if name in group else None)
        if value is not None:
            value = np.ravel(value)
            if value.dtype.kind not in "fiu" or len(value) != 1 or not 0 < value[0] < np.inf:
                raise ValueError(
                    f"{name} in '{group.name}' is {value.tolist()}, expected one positive number "
                    "of samples per second."
                )
            return float(value[0])
    return None


def find_channel_names(*holders):
    """Names in an attribute or dataset `channel_names` of the first holder that has one."""
    for holder in holders:
        names = holder.attrs.get("channel_names")
        if names is None and isinstance(holder, h5py.Group) and "channel_names" in holder:
            names = holder["channel_names"][()]
        if names is not None:
            return [n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(names)]
    return None
