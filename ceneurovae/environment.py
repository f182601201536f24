"""What a result depends on beside the settings: versions, devices, the command, the data."""

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ceneurovae.hints import JSON, PathLike

PACKAGES = ("ceneurovae", "keras", "tensorflow", "jax", "torch", "numpy", "h5py", "scikit-learn")
# Files beyond so many bytes in all are told by their size alone: reading them takes minutes.
HASHED_BYTES = 1 << 34


def describe_environment() -> JSON:
    """Command, backend, devices, versions and git revision, as JSON types."""
    import keras

    try:
        devices = keras.distribution.list_devices()
    except (AttributeError, NotImplementedError):  # PyTorch has no list in Keras
        devices = None
    return {
        "command": sys.argv,
        "backend": keras.backend.backend(),
        "devices": devices,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: _version(package) for package in PACKAGES},
        "git": git_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision(folder: PathLike = ".") -> str | None:
    """Revision of the repository a folder is in, with `+` where files differ; `None` without."""
    revision, changes = (
        _git(folder, *command) for command in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    return revision and revision + ("+" if changes else "")


def _git(folder: PathLike, *command: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def describe_files(paths: Iterable[PathLike | None]) -> list[JSON]:
    """`path`, `bytes` and `sha256` of each file, once; no hash beyond 16 GiB in all."""
    files: list[JSON] = []
    total = 0
    for path in dict.fromkeys(path for path in paths if path is not None):
        if not Path(path).is_file():
            files.append({"path": str(path), "bytes": None, "sha256": None})
            continue
        size = Path(path).stat().st_size
        total += size
        files.append({"path": str(path), "bytes": size, "sha256": None})
        if total <= HASHED_BYTES:
            with open(path, "rb") as file:
                files[-1]["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return files
