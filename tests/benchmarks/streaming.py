"""Streaming: windows per second from memory and from disk, beside what others would write.

    KERAS_BACKEND=jax python tests/benchmarks/streaming.py [windows|recording|memory|training|all]

`windows`: a file of 200,000 windows (100, 3); `recording`: one of 2,000,000 samples of 100
channels, windows of 100 with stride 1; float32, in the page cache, shuffled. In turns: from memory,
streamed from a contiguous and from a gzip dataset, raw `h5py` slabs of the same datasets, a
generator that reads one window at a time, and a PyTorch `DataLoader` over h5py in process. Rates
are medians over turns, ratios medians of ratios within a turn. Also how many distinct regions of
the file the windows of a batch come from.

`memory`: peak memory of a pass over sparse files of 1, 3 and 10 GB, in processes of their own.
`training`: epochs on the current backend from the stream and from memory, in turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

SLAB = 4096  # windows that raw h5py reads at a time
SECONDS = 2.0  # of each measurement
SHAPES = {"windows": (200_000, 100, 3), "recording": (2_000_000, 100)}


def write(folder, kind, compression=None):
    """A file with random numbers; the first channel is the number of the row."""
    shape = SHAPES[kind]
    path = folder / f"{kind}_{compression}.h5"
    rng = np.random.default_rng(0)
    chunks = (64, *shape[1:]) if len(shape) == 3 else (2048, shape[1])
    with h5py.File(path, "w") as file:
        settings = {"chunks": chunks, "compression": compression} if compression else {}
        data = file.create_dataset("data", shape, "float32", **settings)
        step = max(1, shape[0] // 20)
        for first in range(0, shape[0], step):
            count = min(step, shape[0] - first)
            rows = rng.normal(size=(count, *shape[1:])).astype("float32")
            rows[..., 0] = np.arange(first, first + count).reshape(-1, *[1] * (len(shape) - 2))
            data[first : first + count] = rows
    return path


def counted(batches):
    """Windows per second of an iterable of batches, for `SECONDS` after the first ones."""
    batches = iter(batches)
    for _ in range(3):
        next(batches, None)
    count, start = 0, time.perf_counter()
    for batch in batches:
        count += len(batch)
        if time.perf_counter() - start > SECONDS:
            break
    return count / (time.perf_counter() - start)


def ours(path, batch_size, memory_gb=None):
    """A shuffled dataset of this package, from memory or streamed (`memory_gb=0`)."""
    from ceneurovae import import_h5

    data, _ = import_h5(
        path, seq_len=100, batch_size=batch_size, memory_gb=memory_gb, valid_fraction=0.05
    )
    return data.repeat()


def raw(path):
    """Slabs of windows, one after the other; of a recording, the windows that a slab holds."""
    with h5py.File(path) as file:
        data = file["data"]
        while True:
            for first in range(0, len(data) - SLAB, SLAB):
                yield data[first : first + SLAB]


def naive(path, batch_size):
    """A generator of single windows at random places, batched by TensorFlow."""
    import tensorflow as tf

    file = h5py.File(path)
    data = file["data"]

    def windows():
        rng = np.random.default_rng(0)
        while True:
            yield _window(data, int(rng.integers(len(data) - 100)))

    shape = (100, data.shape[-1])
    return tf.data.Dataset.from_generator(
        windows, output_signature=tf.TensorSpec(shape, "float32")
    ).batch(batch_size)


def loader(path, batch_size):
    """A shuffled PyTorch `DataLoader` that reads one window at a time, in this process."""
    import torch

    class Windows(torch.utils.data.Dataset):
        def __init__(self):
            self.data = h5py.File(path)["data"]

        def __len__(self):
            return len(self.data) - (0 if self.data.ndim == 3 else 100)

        def __getitem__(self, index):
            return torch.from_numpy(_window(self.data, index))

    return torch.utils.data.DataLoader(Windows(), batch_size=batch_size, shuffle=True)


def _window(data, index):
    return data[index] if data.ndim == 3 else data[index : index + 100]


def rates(kind, turns):
    """Prints windows per second of everything, and the ratios that matter."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = (write(Path(folder), kind, c) for c in (None, "gzip"))
        made = {("raw h5py slabs", SLAB): lambda: raw(plain)}
        made["raw h5py slabs, gzip", SLAB] = lambda: raw(packed)
        for size in (32, 1024):
            made["in memory", size] = lambda size=size: ours(plain, size)
            made["streamed", size] = lambda size=size: ours(plain, size, 0)
            made["streamed gzip", size] = lambda size=size: ours(packed, size, 0)
            made["DataLoader", size] = lambda size=size: loader(plain, size)
        made["one window at a time", 32] = lambda: naive(plain, 32)
        found = {name: [] for name in made}
        for _ in range(turns):
            for name, make in made.items():
                found[name].append(counted(make()))
        regions(plain)
    print(f"\n{kind} {SHAPES[kind]}, windows per second, median of {turns} turns")
    for (name, size), values in found.items():
        print(f"  {name:<24} B={size:<5} {statistics.median(values):>12,.0f}")
    if kind == "recording":
        print("  (a window is 100 samples; raw slabs count samples, each of which begins one)")
    pairs = [
        (("streamed", 32), ("DataLoader", 32), 2.0),
        (("streamed", 32), ("one window at a time", 32), 25.0),
    ]
    if kind == "windows":  # a slab of a recording holds a hundredth of the bytes of its windows
        pairs += [
            (("streamed", 1024), ("raw h5py slabs", SLAB), 0.25),
            (("streamed gzip", 1024), ("raw h5py slabs, gzip", SLAB), 0.8),
        ]
    for one, other, target in pairs:
        ratio = statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))
        print(f"  {one[0]} B={one[1]} / {other[0]}: {ratio:.2f} (target {target})")


def regions(path):
    """Prints from how many of 400 equal parts of the file a batch of 32 comes."""
    total = h5py.File(path)["data"].shape[0]
    for name, memory_gb in (("in memory", None), ("streamed", 0)):
        parts = [
            len(np.unique(batch.numpy()[:, 0, 0] // (total / 400)))
            for batch in ours(path, 32, memory_gb).take(2000)
        ]
        print(f"  {name}: a batch of 32 comes from {np.mean(parts):.1f} of 400 parts of the file")


def sparse(path, gigabytes):
    """A file of zeros `(N, 100, 3)` that takes no room on a disk that keeps holes."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    shape = (int(gigabytes * 1e9) // 1200, 100, 3)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, space, settings)


PASS = """
import json, sys, time

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))

import tensorflow as tf
tf.zeros(())
before = peak()
from ceneurovae import import_h5
data, _ = import_h5(sys.argv[1], batch_size=256, memory_gb=0, valid_fraction=0.01)
start, count = time.perf_counter(), 0
for batch in data:
    count += len(batch)
print(json.dumps([before, peak(), count, time.perf_counter() - start]))
"""


def memory():
    """Prints the peak memory of a shuffled pass over files of 1, 3 and 10 GB."""
    print("\npeak memory of a shuffled pass, above the interpreter with TensorFlow imported")
    with tempfile.TemporaryDirectory() as folder:
        for gigabytes in (1, 3, 10):
            path = Path(folder) / "sparse.h5"
            sparse(path, gigabytes)
            done = subprocess.run(
                [sys.executable, "-c", PASS, str(path)], capture_output=True, text=True, check=True
            )
            before, after, count, seconds = json.loads(done.stdout)
            print(
                f"  {gigabytes:>2} GB: {after - before:.0f} MB above {before:.0f} MB, "
                f"{count:,} windows in {seconds:.0f} s"
            )


def training(turns):
    """Prints how long an epoch takes from the stream and from memory."""
    import keras

    from ceneurovae import NeuroBehaviorVAE, VAEConfig, import_h5

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        rng = np.random.default_rng(0)
        with h5py.File(path, "w") as file:
            file["data"] = rng.normal(size=(8000, 100, 3)).astype("float32")
        fits = {}
        for name, memory_gb in (("memory", None), ("stream", 0)):
            data, _ = import_h5(path, memory_gb=memory_gb)
            model = NeuroBehaviorVAE(VAEConfig(seq_len=100, channels=3, hidden_dim=32))
            model.adapt(data)
            model.compile(optimizer="adam")
            fits[name] = lambda model=model, data=data: model.fit(data, epochs=2, verbose=0)
            fits[name]()
        seconds = {name: [] for name in fits}
        for _ in range(turns):
            for name, fit in fits.items():
                start = time.perf_counter()
                fit()
                seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["memory"], seconds["stream"], strict=True)]
    print(
        f"\ntraining on {keras.backend.backend()}, conv H=32, B=32: speed from the stream / from "
        f"memory: {statistics.median(ratios):.3f} (turns {min(ratios):.3f} to {max(ratios):.3f}, "
        "target 0.97)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ("windows", "recording", "memory", "training")
    parser.add_argument("part", nargs="?", default="all", choices=[*parts, "all"])
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    chosen = parts if arguments.part == "all" else [arguments.part]
    for kind in ("windows", "recording"):
        if kind in chosen:
            rates(kind, arguments.turns)
    if "memory" in chosen:
        memory()
    if "training" in chosen:
        training(arguments.turns)


if __name__ == "__main__":
    main()
