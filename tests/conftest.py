"""Shared by all tests: small data, small models, and where real recordings may be found."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Many tests compile the same small model: let JAX find it again.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax-cache-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests compile for longer than they compute.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import h5py
import hypothesis  # noqa: F401  warns of what selenium brings, if it comes after `collected`
import numpy as np
import pytest

from ceneurovae.config import VAEConfig

ROOT = Path(__file__).parent.parent
WORM_FILES = "worm_flavell/*-data.h5"


@pytest.fixture(scope="module", autouse=True)
def collected():
    """What backends keep of the models of a module is not looked through again and again."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_worms():
    """Whole-brain files of the Flavell lab, where there are any."""
    given = os.environ.get("CENEUROVAE_TEST_DATA")
    places = [Path(given)] if given else ROOT.parent.glob("*/data")
    files = sorted(file for place in places for file in place.glob(WORM_FILES))
    if not files:
        pytest.skip(f"no real recordings: set CENEUROVAE_TEST_DATA to a folder with {WORM_FILES}")
    return files


@pytest.fixture(scope="session")
def real_data(real_worms):
    """The folder with a folder of real recordings for each layout, where there is one."""
    return real_worms[0].parent.parent


@pytest.fixture(scope="session")
def simulated_worms(tmp_path_factory):
    """Two short simulated recordings in one file."""
    from ceneurovae.simulation import simulate_worms

    path = tmp_path_factory.mktemp("simulated") / "worms.h5"
    return simulate_worms(path, recordings=2, samples=200, neurons=4)


@pytest.fixture
def make(tmp_path):
    """Writes an HDF5 file from a dictionary of paths and values; `path@name` is an attribute."""

    def write(content, name="file.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            for path, value in content.items():
                if "@" in path:
                    holder, attribute = path.split("@")
                    file.require_group(holder or "/") if holder not in file else None
                    file[holder or "/"].attrs[attribute] = value
                else:
                    file[path] = value
        return tmp_path / name

    return write


@pytest.fixture
def windows():
    """`(50, 12, 3)` windows of sines at very different scales, a tenth of them missing."""
    return make_windows(50)


def make_windows(count, seed=0):
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, size=(count, 1, 1))
    time = np.linspace(0, np.pi, 12)[:, None]
    x = np.sin(phase + time + np.arange(3)) + 0.1 * rng.normal(size=(count, 12, 3))
    x = x * [1.0, 100.0, 0.01] + [0.0, 1000.0, 0.05]
    x[rng.random(x.shape) < 0.1] = np.nan
    return x.astype("float32")


def tiny_config(**fields):
    defaults = {
        "seq_len": 12,
        "channels": 3,
        "latent_dim": 2,
        "hidden_dim": 8,
        "num_heads": 2,
        "dropout": 0.0,
        # What these do is tested where they are; they compile slowly.
        "encoder_steps": 0,
        "augment": False,
    }
    return VAEConfig(**{**defaults, **fields})
