"""Tells of each epoch of a trial."""

from collections.abc import Callable
from typing import Any

import keras


class Report(keras.callbacks.Callback):
    """Calls a function of the number of epochs that are over and of the last validation ELBO.

    Args:
        function: It.
    """

    def __init__(self, function: Callable[[int, float], None]) -> None:
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.function(epoch + 1, float(logs.get("val_elbo", float("nan"))))
