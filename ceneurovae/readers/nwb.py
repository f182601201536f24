"""Neurodata Without Borders: any TimeSeries, RoiResponseSeries or pose series, through pynwb.

Rübel et al., "The Neurodata Without Borders ecosystem for neurophysiological data science",
eLife, 2022. Blocks are named by their path in the file, such as
`processing/behavior/PoseEstimation/Nose`; values are in the unit that the file declares
(`data * conversion + offset`).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from ceneurovae.hints import Array
from ceneurovae.readers.hdf5 import walk
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source, rate_of
from ceneurovae.readers.table import Table

NAME = "nwb"
# Columns of a table of regions of interest that name the neuron, in NeuroPAL files among others.
LABEL_COLUMNS = ("ID_labels", "neuron_label", "neuropal_label", "NeuroPAL_ID", "label", "labels")


def matches(file: h5py.File) -> bool:
    """Whether the file says that it is NWB."""
    return "nwb_version" in file.attrs


def sources(file: h5py.File, stem: str, options: ReadOptions) -> list[Source]:
    """The file as one recording; its only series, or all poses, are read by default."""
    nwbfile = _loaded(file)
    series = _series(nwbfile, file)
    blocks = [block for block in (_block(p, s, options) for p, s in series.items()) if block]
    if not blocks:
        raise ValueError(f"'{file.filename}' holds no time series of numbers (T,) or (T, C).")
    poses = [block.name for block in blocks if hasattr(series[block.name], "confidence")]
    default: tuple[str, ...] | None = None
    if len(blocks) == 1:
        default = (blocks[0].name,)
    elif len(poses) == len(blocks):
        default = tuple(poses)
    subject = nwbfile.subject
    labels = {"subject": getattr(subject, "subject_id", None), "session": nwbfile.session_id}
    return [
        Source(
            stem,
            tuple(blocks),
            default=default,
            short_names=_short_names(blocks, series),
            labels={name: value for name, value in labels.items() if value},
        )
    ]


def _loaded(file: h5py.File) -> Any:
    try:
        from pynwb import NWBHDF5IO
    except ImportError as error:
        raise ImportError(
            f"'{file.filename}' is an NWB file, which needs pynwb: pip install 'ceneurovae[nwb]'."
        ) from error
    _refuse_circles(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of extensions and old versions, not of the data
            return NWBHDF5IO(file=file, mode="r", load_namespaces=True).read()
    except Exception as error:  # pynwb raises whatever a schema that is not met leads to
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"pynwb cannot read '{file.filename}': {reason}.") from error


def _refuse_circles(file: h5py.File) -> None:
    """Raises a `ValueError` if pynwb, which follows links, would go round and round."""
    for name, link, item in walk(file):
        group = None if isinstance(link, h5py.ExternalLink) or item is not None else file.get(name)
        if not isinstance(group, h5py.Group):
            continue
        above = [file[name.rsplit("/", depth)[0]] for depth in range(1, name.count("/") + 1)]
        if isinstance(link, h5py.HardLink) or group in [file["/"], *above]:
            raise ValueError(
                f"'{file.filename}' has the group '{name}' in several places, or in itself, which "
                "an NWB file never has: it is damaged."
            )


def _series(nwbfile: Any, file: h5py.File) -> dict[str, Any]:
    """Every time series of the file by its path."""
    from pynwb import TimeSeries

    groups = {name: item for name, _, item in walk(file) if isinstance(item, h5py.Group)}
    # Not where its data are: a series may take those of another one.
    paths = {str(group.attrs.get("object_id")): name for name, group in groups.items()}
    found = {}
    for item in nwbfile.objects.values():
        if isinstance(item, TimeSeries):
            found[paths.get(item.object_id) or _path(item)] = item
    return dict(sorted(found.items()))


def _path(item: Any) -> str:
    """Where the data of a series are, in this file or another, without the group around all."""
    return item.data.parent.name.strip("/") if isinstance(item.data, h5py.Dataset) else item.name


def _block(path: str, series: Any, options: ReadOptions) -> Block | None:
    """The block of a series, or `None` if it holds no numbers over time."""
    data = series.data
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub" or not data.size:
        return None
    if data.ndim not in (1, 2):
        return None
    timestamps = series.timestamps
    rate = series.rate
    if timestamps is not None and len(timestamps) > 1:
        rate = rate_of(timestamps)
    table = _physical(data, series)
    confidence = getattr(series, "confidence", None)
    if confidence is not None and len(confidence) == len(data):
        table = _likely(table, confidence, options.min_likelihood)
    return Block.of(path, table, _column_names(series), rate_hz=rate, timestamps=timestamps)


def _physical(data: Any, series: Any) -> Any:
    """`data` in the unit that the series declares."""
    conversion, offset = series.conversion or 1.0, series.offset or 0.0
    per_channel = getattr(series, "channel_conversion", None)
    if conversion == 1 and offset == 0 and per_channel is None:
        return data
    factor = conversion if per_channel is None else conversion * np.asarray(per_channel[()])

    def read(start: int, stop: int) -> Array:
        return data[start:stop] * factor + offset

    return Table(data.shape, read, data.chunks)


def _likely(table: Any, confidence: Any, minimum: float) -> Table:
    """`table` with NaN where a point is less likely than `minimum`."""

    def read(start: int, stop: int) -> Array:
        values = np.array(table[start:stop], dtype="float64")
        values[~(np.asarray(confidence[start:stop]) >= minimum)] = np.nan
        return values

    return Table(table.shape, read, getattr(table, "chunks", None))


def _column_names(series: Any) -> Sequence[str] | None:
    """Names of the columns: the labels of the neurons, or the axes of a pose."""
    if hasattr(series, "confidence"):
        return ("x", "y", "z")[: series.data.shape[-1]]
    rois = getattr(series, "rois", None)
    if rois is None:
        return None
    for name in LABEL_COLUMNS:
        if name in rois.table.colnames:
            labels = [str(rois.table[name][index]) for index in rois.data[:]]
            return _unique(labels)
    return None


def _unique(labels: Sequence[str]) -> list[str]:
    """Labels told apart: those that are empty or repeated get their number."""
    blank = {"", "nan", "none"}
    return [
        label
        if label.strip().lower() not in blank and labels.count(label) == 1
        else f"{label.strip() if label.strip().lower() not in blank else 'unlabelled'}.{index}"
        for index, label in enumerate(labels)
    ]


def _short_names(blocks: Sequence[Block], series: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """`neural` for the one response of regions of interest, `behavior` for all of that module."""
    neural = tuple(block.name for block in blocks if hasattr(series[block.name], "rois"))
    behavior = tuple(b.name for b in blocks if b.name.startswith("processing/behavior/"))
    names = {"neural": neural if len(neural) == 1 else (), "behavior": behavior}
    return {name: found for name, found in names.items() if found}
