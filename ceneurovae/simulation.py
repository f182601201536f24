"""A synthetic worm with known latents, for the demo, the tests and the notebooks.

Four latent variables drive everything: the command to crawl forward or backward, the sine and
cosine of the phase of the body wave, and a slow arousal. Neurons are nonlinear functions of them
seen through a calcium indicator; behaviour follows from them directly.
"""

import h5py
import numpy as np

from ceneurovae.hints import Array, PathLike
from ceneurovae.whole_file import whole_file
from ceneurovae.windows import Windows

RATE_HZ = 2.0
CALCIUM_DECAY_S = 1.5
LATENTS = ("command", "phase_sine", "phase_cosine", "arousal")
BEHAVIORS = ("velocity", "head_angle", "angular_velocity")


def simulate_worms(
    path: PathLike,
    recordings: int = 4,
    samples: int = 1200,
    neurons: int = 24,
    missing: float = 0.03,
    seed: int = 0,
) -> PathLike:
    """Writes an HDF5 file with one group per recording of the same simulated worm.

    Each group `worm_1`, `worm_2`, ... holds `neural` `(T, neurons)`, `behavior` `(T, 3)` (in mm/s,
    rad and rad/s), `latents` `(T, 4)`, and the attribute `sampling_rate` in Hz. NaN marks what is
    missing: single neural samples, and spans in which tracking of the behaviour was lost.

    Args:
        path: File to write.
        recordings: Number of recordings.
        samples: Length `T` of each.
        neurons: Number of neurons.
        missing: Share of the values that is missing.
        seed: Whole number; the same seed gives the same file.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(seed)
    tuning = rng.normal(size=(len(LATENTS), neurons)) * [[1.2], [1.0], [1.0], [0.8]]
    threshold = rng.normal(scale=0.7, size=neurons)
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["sampling_rate"] = RATE_HZ
        for index in range(recordings):
            latents = simulate_latents(samples, rng)
            neural = _neural(latents, tuning, threshold, rng)
            behavior = _behavior(latents, rng)
            neural[rng.random(neural.shape) < missing] = np.nan
            _lose_tracking(behavior, missing, rng)
            group = file.create_group(f"worm_{index + 1}")
            group["neural"] = neural.astype("float32")
            group["behavior"] = behavior.astype("float32")
            group["latents"] = latents.astype("float32")
            group["neural"].attrs["channel_names"] = [f"N{n + 1:02d}" for n in range(neurons)]
            group["behavior"].attrs["channel_names"] = list(BEHAVIORS)
            group["latents"].attrs["channel_names"] = list(LATENTS)
    return path


def simulate_latents(samples: int, rng: np.random.Generator) -> Array:
    """Latents `(T, 4)` in the order of `LATENTS`, each within about -1 and 1."""
    step = 1 / RATE_HZ
    # Forward runs last 15 s on average, reversals 5 s.
    leave = np.where(np.arange(2) == 0, step / 15, step / 5)
    backward = np.zeros(samples, dtype=int)
    for t in range(1, samples):
        backward[t] = backward[t - 1] ^ (rng.random() < leave[backward[t - 1]])
    command = _smooth(1.0 - 2.0 * backward, 1.0)
    arousal = _smooth(rng.normal(size=samples), 20.0)
    arousal = np.tanh(arousal / arousal.std())
    frequency = 0.12 * command * (1 + 0.4 * arousal)
    jitter = rng.normal(scale=0.08, size=samples)
    phase = rng.uniform(0, 2 * np.pi) + np.cumsum(2 * np.pi * frequency * step + jitter)
    return np.stack([command, np.sin(phase), np.cos(phase), arousal], axis=1)


def latents_at_center(path: PathLike, windows: Windows) -> Array:
    """The true latents at the middle of each window, `(n, 4)`.

    Args:
        path: File that `simulate_worms` wrote.
        windows: `Windows` of the recordings in it.
    """
    with h5py.File(path, "r") as file:
        latents = [file[r.name.split("/")[-1]]["latents"][()] for r in windows.recordings]
    center = windows.start + windows.seq_len // 2
    return np.stack(
        [latents[recording][t] for recording, t in zip(windows.recording, center, strict=True)]
    )


def _neural(latents: Array, tuning: Array, threshold: Array, rng: np.random.Generator) -> Array:
    drive = latents @ tuning - threshold
    rate = np.log1p(np.exp(3 * drive)) / 3
    fluorescence = _smooth(rate, CALCIUM_DECAY_S)
    return 1 + fluorescence + rng.normal(scale=0.2, size=rate.shape)


def _behavior(latents: Array, rng: np.random.Generator) -> Array:
    command, sine, cosine, arousal = latents.T
    velocity = 0.2 * command * (1 + 0.4 * arousal)
    head_angle = 0.6 * sine * (1 + 0.3 * command)
    angular_velocity = 0.4 * cosine * command
    clean = np.stack([velocity, head_angle, angular_velocity], axis=1)
    return clean + rng.normal(size=clean.shape) * 0.15 * clean.std(axis=0)


def _lose_tracking(behavior: Array, missing: float, rng: np.random.Generator) -> None:
    """Sets spans of 5 s on average to NaN, until a share of `missing` is reached on average."""
    mean_length = 5 * RATE_HZ
    for start in np.flatnonzero(rng.random(len(behavior)) < missing / mean_length):
        behavior[start : start + rng.geometric(1 / mean_length)] = np.nan


def _smooth(values: Array, seconds: float) -> Array:
    """Exponential moving average along time, with time constant `seconds`."""
    keep = np.exp(-1 / (RATE_HZ * seconds))
    smoothed = np.array(values, dtype="float64")
    for t in range(1, len(smoothed)):
        smoothed[t] = keep * smoothed[t - 1] + (1 - keep) * smoothed[t]
    return smoothed
