"""Mutates files of every layout, and holds the command line to what it promises of bad ones.

Each file loads or gives a one-line error: no traceback, no hang, no crash. Run by itself, it
prints what came of each kind of mutation, and keeps the files that failed:

    python tests/fuzz_files.py --count 2000 --seed 0
"""

import argparse
import collections
import contextlib
import importlib.util
import io
import itertools
import multiprocessing
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np

from ceneurovae import cli
from ceneurovae.readers import open_sources, read_recordings

# What checking one file may take: seconds, and bytes.
SECONDS = 10
MEMORY = 1e9
LOADED, ERROR, TRACEBACK, CRASH, HANG = "loaded", "error", "TRACEBACK", "CRASH", "HANG"
OUTCOMES = (LOADED, ERROR, TRACEBACK, CRASH, HANG)
FAILURES = OUTCOMES[2:]
# What `cli.main` turns into one line.
EXPECTED = (ValueError, OSError, FloatingPointError, ImportError)


# Base files: one of every layout.


def write_arrays(path):
    with h5py.File(path, "w") as file:
        file["data"] = _numbers(60, 4)
        file["data"].attrs["channel_names"] = ["w", "x", "y", "z"]
        file["mask"] = np.ones((60, 4), "uint8")
        file["timestamps"] = np.arange(60) / 20
        file.attrs["sampling_rate"] = 20.0
        file.attrs["animal"] = "a"


def write_windows(path):
    with h5py.File(path, "w") as file:
        file["some/where/windows"] = _numbers(9, 12, 3)
        file["labels"] = np.arange(9)
        file["condition"] = [f"c{i}" for i in range(9)]
        file["sampling_rate"] = 50


def write_groups(path):
    with h5py.File(path, "w") as file:
        for name, samples in (("first", 40), ("second", 30)):
            file[f"{name}/neural"] = _numbers(samples, 3)
            file[f"{name}/speed"] = _numbers(samples)
            file[name].attrs["frame_rate"] = 4.0
            file[f"{name}/animal"] = name


def write_recordings(path):
    with h5py.File(path, "w") as file:
        for name, samples in (("one", 40), ("two", 50), ("three", 60)):
            file[name] = _numbers(samples, 3)
        file["channel_names"] = ["x", "y", "z"]


def write_flavell(path):
    with h5py.File(path, "w") as file:
        file["gcamp/trace_array_original"] = _numbers(80, 5)
        file["gcamp/trace_array"] = _numbers(80, 5)
        file["gcamp/idx_splits"] = [[1, 41], [40, 80]]
        for name in ("velocity", "head_angle", "pumping"):
            file[f"behavior/{name}"] = _numbers(80)
        file["timing/timestamp_confocal"] = np.arange(80) * 0.6


def write_traces(path):
    with h5py.File(path, "w") as file:
        file.attrs["layout"] = "traces"
        for name, samples in (("file/one", 40), ("file/two", 30)):
            file[f"{name}/values"] = _numbers(samples, 3)
            file[f"{name}/values"].attrs["channel_names"] = ["a/x", "a/y", "b"]
            file[f"{name}/observed"] = np.ones((samples, 3), bool)
            file[f"{name}/breaks"] = [10, 20]
            file[name].attrs["sampling_rate"] = 4.0


def write_lfads(path):
    with h5py.File(path, "w") as file:
        for split, trials in (("train", 6), ("valid", 3)):
            for kind in ("encod_data", "recon_data"):
                file[f"{split}_{kind}"] = _numbers(trials, 10, 4)


def write_sleap(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("tracks", data=_numbers(2, 2, 3, 50), compression="gzip")
        file["node_names"] = [b"head", b"body", b"tail"]
        file["track_names"] = [b"a", b"b"]


def write_compressed(path):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data",
            data=_numbers(400, 6).astype("float32"),
            chunks=(50, 3),
            compression="gzip",
            shuffle=True,
            fletcher32=True,
        )


def write_newest_format(path):
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("data", data=_numbers(300, 4), chunks=(20, 4), maxshape=(None, 4))
        file["deep/group"] = np.arange(3)
        for index in range(12):
            file.attrs[f"note {index}"] = "text" * 20


def write_deeplabcut(path, kind):
    import pandas

    columns = pandas.MultiIndex.from_product(
        [["net"], ["nose", "tail"], ["x", "y", "likelihood"]],
        names=["scorer", "bodyparts", "coords"],
    )
    table = pandas.DataFrame(np.abs(_numbers(40, 6)), columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are no identifiers
        table.to_hdf(path, key="df_with_missing", format=kind)


def write_nwb(path):
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile, TimeSeries

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = NWBFile("about", "id", datetime(2024, 1, 1, tzinfo=UTC), session_id="s")
        data = _numbers(60, 3)
        file.add_acquisition(TimeSeries("neural", data=data, unit="V", rate=20.0, conversion=0.5))
        with NWBHDF5IO(path, "w") as io_:
            io_.write(file)


def write_npz(path):
    np.savez_compressed(path, data=_numbers(60, 4), sampling_rate=20.0, channel_names=list("wxyz"))


def write_npy(path):
    np.save(path, _numbers(60, 4))


def write_csv(path):
    rows = [["scorer"] + ["net"] * 6, ["bodyparts"] + ["nose"] * 3 + ["tail"] * 3]
    rows.append(["coords", *(["x", "y", "likelihood"] * 2)])
    rows += [[str(i), *map(str, np.abs(row))] for i, row in enumerate(_numbers(30, 6))]
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


def write_ts(path):
    head = ["# notes", "@problemName p", "@timeStamps false", "@classLabel true a b", "@data"]
    lines = [
        ":".join(",".join(map(str, series)) for series in _numbers(2, 8)) + f":{'ab'[i % 2]}"
        for i in range(6)
    ]
    path.write_text("\n".join(head + lines) + "\n")


def write_bases(folder):
    """Writes one file of every layout whose packages are installed: their paths."""
    folder = Path(folder)
    writers = {
        "arrays.h5": write_arrays,
        "windows.h5": write_windows,
        "groups.h5": write_groups,
        "recordings.h5": write_recordings,
        "flavell.h5": write_flavell,
        "traces.h5": write_traces,
        "lfads.h5": write_lfads,
        "sleap.h5": write_sleap,
        "compressed.h5": write_compressed,
        "newest.h5": write_newest_format,
        "archive.npz": write_npz,
        "array.npy": write_npy,
        "pose.csv": write_csv,
        "series.ts": write_ts,
    }
    if importlib.util.find_spec("pandas") and importlib.util.find_spec("tables"):
        writers["fixed.h5"] = lambda path: write_deeplabcut(path, "fixed")
        writers["table.h5"] = lambda path: write_deeplabcut(path, "table")
    if importlib.util.find_spec("pynwb"):
        writers["session.nwb"] = write_nwb
    for name, write in writers.items():
        write(folder / name)
    return [folder / name for name in writers]


def _numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).round(4)


# Mutations of bytes: any file.


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def flipped_bits_anywhere(content, rng):
    return _flipped(content, rng.integers(len(content), size=rng.integers(1, 30)), rng)


def flipped_bits_of_metadata(content, rng):
    places = _metadata(content)
    place = places[rng.integers(len(places))]
    reach = min(len(content) - place, 128)
    return _flipped(content, place + rng.integers(reach, size=rng.integers(1, 6)), rng)


def flipped_bits_of_data(content, rng):
    half = len(content) // 2
    return _flipped(content, half + rng.integers(len(content) - half, size=20), rng)


def huge_number_in_metadata(content, rng):
    """An address, a size or a count of eight bytes is larger than any file."""
    places = _metadata(content)
    start = places[rng.integers(len(places))] + 8 * rng.integers(16)
    number = _choice([2**64 - 1, 2**63, 2**40, 2**32, 2**31 - 1], rng)
    return content[:start] + struct.pack("<Q", number) + content[start + 8 :]


def zeroed_block(content, rng):
    start = rng.integers(len(content))
    return content[:start] + bytes(len(content[start : start + 512])) + content[start + 512 :]


def garbage_block(content, rng):
    start = rng.integers(len(content))
    size = len(content[start : start + 256])
    return content[:start] + rng.bytes(size) + content[start + size :]


def repeated_block(content, rng):
    """A block stands where another was, as after a failed write."""
    source, target = rng.integers(len(content), size=2)
    block = content[source : source + 512]
    return (content[:target] + block + content[target + len(block) :])[: len(content)]


def removed_bytes(content, rng):
    start = rng.integers(len(content))
    return content[:start] + content[start + rng.integers(1, 64) :]


BYTES = (
    truncated,
    flipped_bits_anywhere,
    flipped_bits_of_metadata,
    flipped_bits_of_data,
    huge_number_in_metadata,
    zeroed_block,
    garbage_block,
    repeated_block,
    removed_bytes,
)

SIGNATURES = (b"\x89HDF", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"OCHK", b"BTHD", b"BTLF")
SIGNATURES += (
    b"FRHP",
    b"FHDB",
    b"FAHD",
    b"EAHD",
    b"EAIB",
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"\x93NUM",
)


def _metadata(content):
    """Where something begins that tells what a file holds; object headers are 96 bytes after 0."""
    found = [0, min(96, len(content) - 1), min(800, len(content) - 1)]
    for signature in SIGNATURES:
        place = content.find(signature)
        while place >= 0:
            found.append(place)
            place = content.find(signature, place + 1)
    return found


def _flipped(content, places, rng):
    changed = bytearray(content)
    for place in places:
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


# Mutations of one array: HDF5, NPZ and NPY.


def wrong_dtype(values, rng):
    kinds = ["?", "i1", "u8", ">i4", "f2", ">f8", "c16", "g", "S", "V8", "M8[s]", "enum", "bits"]
    kind = kinds[rng.integers(len(kinds))]
    if kind == "enum":
        return np.zeros(values.shape, h5py.enum_dtype({"a": 0, "b": 1}, basetype="i1"))
    if kind == "bits":
        return np.zeros(values.shape, h5py.opaque_dtype(np.dtype("M8[s]")))
    with np.errstate(all="ignore"):
        return np.zeros(values.shape, kind) if kind[0] in "VM" else values.astype(kind)


def wrong_rank(values, rng):
    shapes = [(), (-1,), (1, *values.shape), (*values.shape, 1), (1,) * 6 + values.shape, (1, -1)]
    shape = shapes[rng.integers(len(shapes))]
    return values.ravel()[0] if shape == () else values.reshape(shape)


def zero_length_axis(values, rng):
    if not values.ndim:
        return np.zeros((0, 0))
    axis = rng.integers(values.ndim)
    return np.take(values, [], axis=axis)


def strings(values, rng):
    texts = ["", "1.5", "nan", "caf\xe9", "x" * 5000, "a\nb", "a\tb"]
    chosen = np.array(texts, dtype=object)[rng.integers(len(texts), size=values.shape)]
    if rng.random() < 0.5:
        return np.array(rng.bytes(max(1, 8 * values.size)))
    return chosen.astype(h5py.string_dtype()) if values.ndim else texts[rng.integers(len(texts))]


def compound_dtype(values, rng):
    fields = [("x", "f8"), ("name", "S3"), ("pair", "i4", (2,))][: rng.integers(1, 4)]
    return np.zeros(values.shape, fields)


def other_length(values, rng):
    if not values.size or not values.ndim:
        return np.ones(3)
    axis = rng.integers(values.ndim)
    return np.take(values, range(max(1, values.shape[axis] - rng.integers(1, 30))), axis=axis)


def not_finite(values, rng):
    values = np.array(values, dtype="float64")
    places = rng.random(values.shape) < rng.choice([0.01, 1.0])
    values[places] = rng.choice([np.inf, -np.inf, np.nan, 1e300, -0.0])
    return values


def many_columns(values, rng):
    return np.zeros((2, int(rng.choice([99_999, 100_001]))), "int8")


ARRAYS = (
    wrong_dtype,
    wrong_rank,
    zero_length_axis,
    strings,
    compound_dtype,
    other_length,
    not_finite,
    many_columns,
)


# Mutations of what is linked to what: HDF5 alone.


def missing_group(file, rng):
    groups = [name for name in _names(file) if isinstance(file[name], h5py.Group)]
    del file[_choice(groups or list(_names(file)), rng)]


def missing_dataset(file, rng):
    del file[_choice(_dataset_names(file), rng)]


def renamed(file, rng):
    targets = [b"mask", b"timestamps", b"channel_names", b"sampling_rate", b"\xff\n", b"x" * 999]
    target = _choice(targets, rng)
    if not file.id.links.exists(target):
        file.id.move(_choice(_names(file), rng).encode(), target)


def group_for_dataset(file, rng):
    name = _choice(_dataset_names(file), rng)
    del file[name]
    file.create_group(name)


def dataset_for_group(file, rng):
    name = _choice(list(file), rng)
    del file[name]
    file[name] = rng.normal(size=rng.integers(1, 5, size=rng.integers(1, 4)))


def deep_links(file, rng):
    group = file
    for _ in range(int(rng.choice([20, 99, 101, 300, 1500]))):
        group = group.create_group("g")
    group["end"] = np.zeros((4, 2))


def cyclic_links(file, rng):
    kind = rng.integers(4)
    if kind == 0:
        file["self"] = file
    elif kind == 1:
        a, b = file.require_group("cycle a"), file.require_group("cycle b")
        a["b"], b["a"] = b, a
        a["values"] = np.zeros((5, 2))
    elif kind == 2:
        file["soft a"], file["soft b"] = h5py.SoftLink("/soft b"), h5py.SoftLink("/soft a")
    else:
        file["soft"] = h5py.SoftLink("/")
        file["dots"] = h5py.SoftLink("/soft/soft/soft/./soft")


def many_links(file, rng):
    """The same group many times in itself: as a tree it has more paths than atoms there are."""
    groups = [file.create_group(f"many {i}") for i in range(30)]
    for first, second in itertools.pairwise(groups):
        first["left"] = first["right"] = second


def dangling_links(file, rng):
    name = _choice(_dataset_names(file), rng)
    del file[name]
    links = [h5py.SoftLink("/nowhere"), h5py.SoftLink(name), h5py.ExternalLink("none.h5", "/x")]
    file[name] = _choice([*links, h5py.ExternalLink(file.filename, "/")], rng)


def values_elsewhere(file, rng):
    name = _choice(_dataset_names(file), rng)
    shape = file[name].shape or (5,)
    del file[name]
    if rng.random() < 0.5:
        where = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape, "u1", external=where)
        return
    target = str(_choice([".", "other.h5", "/proc/self/mem"], rng))
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource(target, _choice([name, "nothing"], rng), shape)
    file.create_virtual_dataset(name, layout)


def huge_claim(file, rng):
    name = _choice(_dataset_names(file), rng)
    shape = [max(1, n) for n in file[name].shape or (5,)]
    del file[name]
    axis = rng.integers(len(shape))
    shape[axis] = int(rng.choice([10**8, 10**10, 10**12, 2**58 // max(1, int(np.prod(shape)))]))
    large = int(rng.choice([100, 10**5, 10**6]))
    chunks = tuple(min(n, large if i == axis else 4) for i, n in enumerate(shape))
    kind = _choice(["f8", "i1", h5py.string_dtype()], rng)
    filters = {"compression": "gzip"} if rng.random() < 0.5 else {}
    dataset = file.create_dataset(name, shape, kind, chunks=chunks, **filters)
    if rng.random() < 0.5 and np.prod(chunks) < 1e6 and shape[axis] / chunks[axis] < 1e7:
        dataset[tuple([0] * len(shape))] = b"1" if kind not in ("f8", "i1") else 1


def wrong_attribute(file, rng):
    holders = [file, *(file[name] for name in _names(file))]
    holder = holders[rng.integers(len(holders))]
    names = ["sampling_rate", "frame_rate", "channel_names", "animal", "axis0_nlevels"]
    names += [
        "values_block_0_kind",
        "nwb_version",
        "namespace",
        "neurodata_type",
        "caf\xe9",
        *holder.attrs,
    ]
    values = [-1, 0, np.nan, np.inf, 2**63, "", b"\xff\xfe", "\x00"[:0], [], [1, 2], [[1.0]], ["a"]]
    values += [h5py.Empty("f8"), h5py.Empty("S1"), file.ref, np.zeros(3, [("x", "f8")]), True]
    values += [np.void(rng.bytes(20)), 1 + 2j, ["a"] * 4, rng.bytes(30).replace(b"\0", b"1")]
    values.append(b"cos\nsystem\n(S'echo'\ntR.")
    name, value = _choice(names, rng), values[rng.integers(len(values))]
    holder.attrs.pop(name, None)
    holder.attrs[name] = value


def unusual_storage(file, rng):
    """Types and layouts that HDF5 has and hardly anybody uses."""
    name = _choice(_dataset_names(file), rng)
    shape = file[name].shape or (1,)
    del file[name]
    kind = rng.integers(7)
    if kind == 0:
        file.create_dataset(name, data=h5py.Empty("f8"))
    elif kind == 1:
        file.create_dataset(name, shape, h5py.vlen_dtype("f8"))
    elif kind == 2:
        file.create_dataset(name, shape, _choice([h5py.ref_dtype, h5py.regionref_dtype], rng))
    elif kind == 3:
        file[name] = np.dtype("f8")
    elif kind == 4:
        file.create_dataset(name, shape, np.dtype(("f4", (2,))))
    else:
        space = h5py.h5s.create_simple(shape)
        types = [h5py.h5t.STD_B8LE, h5py.h5t.UNIX_D32LE, h5py.h5t.STD_B64BE]
        parent = file.require_group(name.rpartition("/")[0] or "/")
        h5py.h5d.create(parent.id, name.rpartition("/")[2].encode(), _choice(types, rng), space)


LINKS = (
    missing_group,
    missing_dataset,
    renamed,
    group_for_dataset,
    dataset_for_group,
    deep_links,
    cyclic_links,
    many_links,
    dangling_links,
    values_elsewhere,
    huge_claim,
    wrong_attribute,
    unusual_storage,
)


def _names(file):
    found = []
    file.visit(found.append)
    return sorted(found)


def _dataset_names(file):
    return [name for name in _names(file) if isinstance(file[name], h5py.Dataset)]


def _choice(items, rng):
    return items[rng.integers(len(items))]


# Mutating a file.


def mutate(base, path, rng, mutation):
    """Writes a mutated copy of `base` to `path`."""
    if mutation in BYTES:
        path.write_bytes(mutation(base.read_bytes(), rng))
        return
    shutil.copyfile(base, path)
    if path.suffix == ".npy":
        _save(path, mutation(np.load(path), rng))
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            arrays = dict(archive)
        name = _choice([n for n in arrays if arrays[n].dtype.kind == "f"], rng)
        _save(path, **(arrays | {name: _plain(mutation(arrays[name], rng))}))
    else:
        with h5py.File(path, "r+", track_order=None) as file:
            if mutation in LINKS:
                mutation(file, rng)
            else:
                _replace(file, rng, mutation)


def _replace(file, rng, mutation):
    names = [n for n in _dataset_names(file) if file[n].dtype.kind in "fiu" and file[n].size]
    name = _choice(names, rng)
    values = mutation(np.asarray(file[name][()]), rng)
    del file[name]
    kind = getattr(values, "dtype", None)
    if kind is not None and kind.kind == "M":
        values = values.astype(h5py.opaque_dtype(kind))
    file[name] = values


def _plain(values):
    values = np.asarray(values)
    return values.astype("U") if values.dtype.kind == "O" else values


def _save(path, *values, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays) if arrays else np.save(file, _plain(*values))


def kinds(path):
    """The mutations that a file of this kind can have."""
    if path.suffix in (".csv", ".ts"):
        return BYTES
    return BYTES + ARRAYS if path.suffix in (".npz", ".npy") else BYTES + ARRAYS + LINKS


def mutated_files(bases, folder, count, seed):
    """Writes `count` mutated files: pairs of the mutation's name and the path."""
    names = [mutation.__name__ for mutation in BYTES + ARRAYS + LINKS]
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        able = [base for base in bases if name in {m.__name__ for m in kinds(base)}]
        base = able[rng.integers(len(able))]
        mutation = next(m for m in kinds(base) if m.__name__ == name)
        path = Path(folder) / f"{number:05d}-{name}-{base.name}"
        mutate(base, path, rng, mutation)
        yield name, path


# Checking what comes of a file.


def check(path):
    """What the command line and `read_recordings` make of a file: an outcome, and what was said.

    Loaded means that both did.
    """
    try:
        message = _inspected(path)
        if message is None:
            message = _read(path)
    except Exception:
        return TRACEBACK, traceback.format_exc()
    if message is None:
        return LOADED, ""
    if len(message.splitlines()) != 1 or not message.strip():
        return TRACEBACK, f"not one line: {message!r}"
    return ERROR, message


def _inspected(path):
    """The error that `ceneurovae inspect` printed for a file, or `None`."""
    said, arguments = io.StringIO(), sys.argv
    sys.argv = ["ceneurovae", "inspect", str(path)]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            cli.main()
    except SystemExit as exit_:
        lines = [line for line in said.getvalue().splitlines() if not line.startswith("Warning: ")]
        return "\n".join(lines) if exit_.code else None
    finally:
        sys.argv = arguments
    return None


def _read(path):
    """The error of `read_recordings`, of all channels where they have to be named, or `None`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            try:
                read_recordings(path)
            except ValueError as error:
                if "Say which with channels" not in str(error):
                    raise
                with open_sources(path) as (_, sources):
                    first = sources[0].blocks[0].name
                read_recordings(path, [first])
        except EXPECTED as error:
            return " ".join(str(error).split())
    return None


class Checker:
    """Runs `check` in a child process, which is replaced if it crashes or hangs."""

    def __init__(self):
        self._child = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def __call__(self, path):
        """The outcome for a file, and what was said."""
        if self._child is None:
            self._start()
        self._pipe.send(path)
        try:
            if self._pipe.poll(SECONDS):
                return self._pipe.recv()
        except EOFError:
            self._child.join()
            status = self._child.exitcode
            self._stop()
            return CRASH, f"exit status {status}"
        self._stop()
        return HANG, f"not done after {SECONDS} s"

    def _start(self):
        # A fresh interpreter, so that whoever checks may have threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._child = context.Process(target=_serve, args=(other,))
        self._child.start()
        other.close()

    def _stop(self):
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._pipe.close()
        self._child = None


def _serve(pipe):
    if importlib.util.find_spec("pynwb"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pynwb  # noqa: F401
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        before = _most_memory()
        outcome = check(path)
        grown = _most_memory() - before
        pipe.send(outcome if grown < MEMORY else (TRACEBACK, f"took {grown / 1e9:.1f} GB"))


def _most_memory():
    """Bytes that this process had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(count, seed, folder):
    """Checks `count` files: a list of mutation, path, outcome, message and seconds.

    Files that did not fail are deleted.
    """
    folder = Path(folder)
    bases, mutated = folder / "bases", folder / "mutated"
    for place in (bases, mutated):
        place.mkdir()
    done = []
    with Checker() as checker:
        bases = write_bases(bases)
        for base in bases:
            outcome, message = checker(base)
            if outcome != LOADED:
                raise RuntimeError(f"{base}, which is sound: {outcome}: {message}")
        for name, path in mutated_files(bases, mutated, count, seed):
            start = time.perf_counter()
            outcome, message = checker(path)
            done.append((name, path, outcome, message, time.perf_counter() - start))
            if outcome not in FAILURES:
                path.unlink()
    return done


def table(done):
    """Which outcome each kind of mutation had how often, as lines of text."""
    counts = collections.Counter((name, outcome) for name, _, outcome, _, _ in done)
    names = list(dict.fromkeys(name for name, *_ in done))
    lines = [f"{'mutation':28}" + "".join(f"{outcome:>11}" for outcome in OUTCOMES)]
    for name in [*names, "all"]:
        row = [
            sum(n for (key, o), n in counts.items() if o == outcome and name in (key, "all"))
            for outcome in OUTCOMES
        ]
        lines.append(f"{name:28}" + "".join(f"{number:11}" for number in row))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--messages", action="store_true", help="list what was said of each file")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="fuzz-")
    start = time.perf_counter()
    done = fuzz(arguments.count, arguments.seed, folder)
    for _, path, outcome, message, seconds in done:
        if outcome in FAILURES:
            print(f"{outcome}: {path}\n{message}\n")
        elif arguments.messages and outcome == ERROR:
            print(f"{path.name} ({seconds:.2f} s): {message}")
    slowest = max(done, key=lambda item: item[-1])
    print(table(done))
    print(f"{time.perf_counter() - start:.0f} s; slowest {slowest[-1]:.1f} s, {slowest[1].name}")
    if any(outcome in FAILURES for _, _, outcome, _, _ in done):
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
