"""The data sets of the quality benchmark: real recordings, and the simulated worm, as `Splits`.

The last 20 % of the time of every recording is test, the 12 % before a gap of one window is
validation, the rest before another gap is train; windows are one sample apart. Short sessions and
trials are held out whole.

The recordings are not part of the project: `CENEUROVAE_TEST_DATA` names the folder they are in.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ceneurovae.import_data import load_splits
from ceneurovae.readers import read_recordings
from ceneurovae.recording import Recording
from ceneurovae.simulation import simulate_worms
from ceneurovae.splits import split_datasets

TEST_FRACTION = 0.2  # for validation, the 12 % that are the default
WORMS = "worm_flavell/*-data.h5"
BEHAVIORS = ("behavior/velocity", "behavior/head_angle", "behavior/angular_velocity")
TRACES = "gcamp/trace_array_original"  # `trace_array` was scaled with knowledge of the test data
TRIALS_SEED = 0


class DataSet(NamedTuple):
    """One line of the benchmark.

    Args:
        name: What `--data` calls it.
        files: Pattern in the data folder, `None` where nothing is read.
        load: `load(files, seed)` gives the `Splits`.
        folds: Whether each seed holds out other recordings.
        counts: Whether it holds counts, for which there is the Poisson likelihood.
        decoded: Channels to predict from the others, by the start of their names.
    """

    name: str
    files: str | None
    load: Callable
    folds: bool = False
    counts: bool = False
    decoded: str | None = None

    def splits(self, seed):
        """The `Splits`, or `None` where the recordings are missing."""
        if self.files is None:
            return self.load([], seed)
        folder = os.environ.get("CENEUROVAE_TEST_DATA")
        files = sorted(Path(folder).glob(self.files)) if folder else []
        return self.load(files, seed) if files else None


def worm_behavior(files, seed):
    """Three behaviours of seven worms, `(60, 3)`, 100 s or so; frames as they were taken.

    One worm was recorded at 1.36 Hz, the others at 1.67 Hz. They are read apart, for to resample
    would put computed samples among the measured.
    """
    recordings = [r for file in files for r in read_recordings(file, BEHAVIORS)]
    return split_datasets(recordings, 60, test_fraction=TEST_FRACTION)


def worm_neurons(files, seed):
    """Some 140 neurons of one worm, `(60, C)`.

    Recordings of 800 samples have room for a gap of one window: 424 samples train.
    """
    return load_splits(files, TRACES, 60, test_fraction=TEST_FRACTION)


def worm_posture(files, seed):
    """Four eigenworm coefficients, `(60, 4)`, 6 s; 2 of 12 sessions of 20 s test, 1 validation."""
    return load_splits(files, None, 60, test_fraction=TEST_FRACTION, by="recording", seed=seed)


def fly_pose(files, seed):
    """13 body parts of each of two flies, x and y, `(60, 26)`."""
    return load_splits(files, None, 60, test_fraction=TEST_FRACTION)


def mouse_pose(files, seed):
    """6 body parts of one mouse, x and y, `(40, 12)`; unlikely points are missing."""
    return load_splits(files, None, 40, test_fraction=TEST_FRACTION)


def macaque_counts(files, seed):
    """Spike counts of 24 neurons in 212 trials, `(35, 24)`; trials drawn at random.

    The file is sorted by the condition of the trials: its last fifth would be conditions that
    training never saw. Hence each trial becomes a recording, and the same ones are always drawn.
    """
    [trials] = read_recordings(files, "X")
    recordings = [
        Recording(f"trial {index}", trials.values[start:stop], trials.channels)
        for index, (start, stop) in enumerate(trials.stretches)
    ]
    return split_datasets(
        recordings, 35, test_fraction=TEST_FRACTION, by="recording", seed=TRIALS_SEED
    )


def simulated_worm(files, seed):
    """24 neurons and 3 behaviours of four simulated worms, `(20, 27)`, 10 s."""
    with tempfile.TemporaryDirectory() as folder:
        path = simulate_worms(Path(folder) / "worms.h5")
        return load_splits(path, ["neural", "behavior"], 20, test_fraction=TEST_FRACTION)


# In the order of the table; one worm at a time for the neurons, which differ between worms.
WORM_NAMES = (
    "2022-01-16-01",
    "2022-05-02-01",
    "2022-07-26-31",
    "2022-07-26-38",
    "2022-07-27-31",
    "2022-07-27-38",
    "2022-08-02-31",
)
DATA_SETS = (
    DataSet("behavior", WORMS, worm_behavior),
    DataSet("posture", "worm_posture/worm_tseries.h5", worm_posture, folds=True),
    DataSet("fly", "fly_pose_sleap/predictions.analysis.h5", fly_pose),
    DataSet("mouse", "mouse_pose_dlc/cropped_video.csv", mouse_pose),
    DataSet("macaque", "macaque_reach/*.h5", macaque_counts, counts=True),
    DataSet("simulated", None, simulated_worm, decoded="behavior"),
    *(
        DataSet(f"neurons-{name}", f"worm_flavell/{name}-data.h5", worm_neurons)
        for name in WORM_NAMES
    ),
)


def named(names=()):
    """The data sets called `names`, all by default; `neurons` stands for those of every worm.

    Raises:
        ValueError: if there is no data set of a name.
    """
    chosen = []
    for name in names or [data.name for data in DATA_SETS]:
        found = [d for d in DATA_SETS if d.name == name or d.name.startswith(f"{name}-")]
        if not found:
            known = ", ".join(data.name for data in DATA_SETS)
            raise ValueError(f"There is no data set '{name}'. Known are {known}, and neurons.")
        chosen += found
    return list(dict.fromkeys(chosen))
