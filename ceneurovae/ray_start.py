"""The connection to Ray: on this machine, or to a cluster."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ceneurovae.trial_process import ENVIRONMENT

# For the processes of Ray: paths of data are those of the caller, and nobody is told of the use.
SETTINGS = {
    **ENVIRONMENT,
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # which is not as quiet as it is told to be
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


def require_ray() -> None:
    """Raises an `ImportError` that says how to install Ray, where it is not there."""
    try:
        import ray.tune  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"The engine ray needs Ray Tune ({error}): pip install 'ceneurovae[ray]'"
        ) from error


@contextlib.contextmanager
def ray_running(address: str | None = None) -> Iterator[None]:
    """A context with a connection to Ray: the one there is, a cluster, or one that ends with it.

    Args:
        address: Of a cluster; `RAY_ADDRESS` by default, and Ray on this machine without either.

    Raises:
        ValueError: if it is the address of a Ray client, through which nothing is told on the way.
        ConnectionError: if there is none at that address.
    """
    import ray

    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise ValueError(
            f"The address is '{address}', of a Ray client. Run the search on a machine of the "
            "cluster, and give the address of its head, such as 192.168.0.1:6379."
        )
    if ray.is_initialized():
        yield
        return
    folders = [str(Path(__file__).parent.parent), *filter(None, sys.path)]
    variables = {name: os.environ[name] for name in SETTINGS}
    local: dict[str, Any] = {}
    if address == "local":
        local["include_dashboard"] = False
        variables["PYTHONPATH"] = os.pathsep.join(folders)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level=logging.ERROR,
            **local,
        )
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}. Check the address; where the cluster asks for a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
