"""Cold start: from `ceneurovae train` to the end of the first training step, in parts.

    KERAS_BACKEND=jax python tests/benchmarks/cold_start.py

Trains on the simulated worm, each time in a process of its own that ends after the first step: with
an empty cache of JAX's compilations, then with the one that is left. A process before them, which
does not count, brings the libraries into memory. The other backends keep no such cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

PARTS = ("Python", "read", "import Keras", "build", "adapt", "compile, step")


def timed_start(started, marks_file, arguments):
    """Runs the command line until a step is done, and writes down when each part ended."""
    marks = [started]

    def mark():
        marks.append(time.time())

    def then(function, after):
        """`function`, and after it `after`."""

        def run(*args, **kwargs):
            result = function(*args, **kwargs)
            after()
            return result

        return run

    def ended():
        mark()
        Path(marks_file).write_text(json.dumps(marks))
        os._exit(0)

    from ceneurovae import cli, console, import_data

    mark()

    def watch_training():
        import ceneurovae.runs  # noqa: F401
        from ceneurovae import NeuroBehaviorVAE, callbacks

        mark()
        adapt = NeuroBehaviorVAE.adapt

        def timed_adapt(*args, **kwargs):
            mark()
            adapt(*args, **kwargs)
            mark()

        NeuroBehaviorVAE.adapt = timed_adapt
        # It has read the loss of the step when it returns.
        watch = callbacks.WatchLoss
        watch.on_train_batch_end = then(watch.on_train_batch_end, ended)

    import_data.load_splits = then(import_data.load_splits, mark)
    console.import_keras = then(console.import_keras, watch_training)
    sys.argv = ["ceneurovae", *arguments]
    cli.main()


def parts_of(folder, cache, name):
    """Seconds of each of `PARTS` in a new process."""
    marks = folder / f"{name}.json"
    command = ["train", str(folder / "worms.h5"), "--out", str(folder / name), "--seq-len", "20"]
    process = subprocess.run(
        [sys.executable, __file__, "--child", repr(time.time()), str(marks), *command],
        env={**os.environ, "XDG_CACHE_HOME": str(folder / cache)},
        capture_output=True,
        text=True,
    )
    if not marks.exists():
        raise RuntimeError(f"ceneurovae {' '.join(command)} failed:\n{process.stderr}")
    times = json.loads(marks.read_text())
    return [after - before for before, after in pairwise(times)]


def main():
    if sys.argv[1:2] == ["--child"]:
        timed_start(float(sys.argv[2]), sys.argv[3], sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write all to")
    arguments = parser.parse_args()
    from ceneurovae.simulation import simulate_worms

    found = {"empty": [], "filled": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        simulate_worms(folder / "worms.h5")
        parts_of(folder, "cache", "warm-up")
        for repeat in range(arguments.repeats):
            for cache, runs in found.items():
                runs.append(parts_of(folder, f"cache {repeat}", f"{cache} {repeat}"))
    print("seconds   " + "".join(f"{part:>15}" for part in (*PARTS, "sum")))
    sums = {}
    for cache, runs in found.items():
        medians = [statistics.median(part) for part in zip(*runs, strict=True)]
        sums[cache] = statistics.median(map(sum, runs))
        print(f"{cache:<10}" + "".join(f"{value:>15.2f}" for value in (*medians, sums[cache])))
    print(f"filled / empty: {sums['filled'] / sums['empty']:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"parts": PARTS, **found}, indent=1))


if __name__ == "__main__":
    main()
