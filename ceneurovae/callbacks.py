"""What `train` has Keras call while it fits: best weights, checkpoints, and ways to end early."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import keras
import numpy as np

from ceneurovae.checkpoint import FitState, weights_of
from ceneurovae.hints import Data

OBJECTIVE = "val_elbo"
# Seconds between the checkpoints of short epochs.
SAVE_EVERY_S = 20
# A loss so many times the least one so far, or so much per value of a window where that is more:
# with a noise level of a thousandth, an error of a few deviations is thousands of nats.
EXPLODED = 1e6


class DivergenceError(FloatingPointError):
    """The loss is no longer finite, or has exploded, in a `batch` of an `epoch`, from 0."""

    def __init__(self, epoch: int, batch: int, loss: float) -> None:
        super().__init__(f"The loss became {loss:.4g} in epoch {epoch + 1}, batch {batch + 1}")
        self.epoch, self.batch, self.loss = epoch, batch, loss


class Interrupted(KeyboardInterrupt):
    """Training was asked to end, by Ctrl-C or by a signal, whose `number` it has."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class FollowEpoch(keras.callbacks.Callback):
    """Makes all that is random a function of the seed and the epoch that training is in.

    The data is shuffled for it, whatever passes came before. Under PyTorch, where dropout draws
    from one random state for all layers, that is set. Elsewhere layers have states of their own,
    which are in the checkpoint; and TensorFlow would prepare all its functions anew, for seconds.

    Args:
        data: The training data; datasets of `make_dataset` have an `epoch`.
        seed: Whole number.
    """

    def __init__(self, data: Data, seed: int) -> None:
        super().__init__()
        self.epoch = getattr(data, "epoch", None)
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.epoch is not None:
            self.epoch.number = epoch
        if keras.backend.backend() == "torch":
            seed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
            keras.utils.set_random_seed(int(seed[0]))


class KeepBest(keras.callbacks.Callback):
    """Notes the history, and the weights with the best validation ELBO once the KL ramp is over.

    Args:
        state: `FitState` to note them in.
        start_from: The first epoch that can be the best one.
        patience: Epochs without a better one before training stops; `None` for no limit.
    """

    def __init__(self, state: FitState, start_from: int = 0, patience: int | None = None) -> None:
        super().__init__()
        self.state = state
        self.start_from = start_from
        self.patience = patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        state = self.state
        state.rows.append({"epoch": epoch, **logs})
        objective = logs.get(OBJECTIVE)  # an epoch that was not validated cannot be the best
        if epoch < self.start_from:
            return
        if state.improves(objective):
            state.best, state.best_epoch = objective, epoch
            state.best_weights = weights_of(self.model)
        since = epoch - max(self.start_from, state.best_epoch or 0)
        if self.patience is not None and since >= self.patience:
            state.over = self.model.stop_training = True


class Checkpoints(keras.callbacks.Callback):
    """Takes the state of the training after each epoch, and hands it over now and then.

    Args:
        state: `FitState`.
        write: Function without arguments that writes it, called at most every 20 s and at the end.
    """

    def __init__(self, state: FitState, write: Callable[[], None]) -> None:
        super().__init__()
        self.state = state
        self.write = write
        self.written_at = -math.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.state.take(self.model)
        if not self.state.is_finite:
            raise DivergenceError(epoch, self.params["steps"] - 1, math.nan)
        self.state.epoch = epoch + 1
        if time.monotonic() - self.written_at >= SAVE_EVERY_S:
            self.write()
            self.written_at = time.monotonic()

    def on_train_end(self, logs: Any = None) -> None:
        self.write()


class WatchLoss(keras.callbacks.Callback):
    """Ends a training whose loss is no longer finite, or explodes, with `DivergenceError`.

    It reads the loss in a thread of Keras' own, where the backend allows, so that the accelerator
    need not wait.

    Args:
        state: `FitState`, for the least loss so far: that of the first batch may be the one that
            is wrong.
        values: Values in a window, `T * C`.
    """

    async_safe = True

    def __init__(self, state: FitState, values: int) -> None:
        super().__init__()
        self.state = state
        self.values = values

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = logs["loss"]
        least = self.state.least_loss
        # Before there is one, any finite loss may be what this data has.
        known = math.isfinite(loss) if least is None else loss <= EXPLODED * max(least, self.values)
        if not known:
            raise DivergenceError(self.epoch, batch, loss)
        self.state.least_loss = abs(loss) if least is None else min(least, abs(loss))


class Interruption(keras.callbacks.Callback):
    """Ends training at its next step once a signal has come, with `Interrupted`.

    Args:
        how_to_go_on: A sentence for who interrupts.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, how_to_go_on: str) -> None:
        super().__init__()
        self.how_to_go_on = how_to_go_on
        self.number: int | None = None
        self.epoch: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.check()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.check()

    def check(self) -> None:
        """Raises `Interrupted` if a signal has come."""
        if self.number is not None:
            where = "" if self.epoch is None else f" in epoch {self.epoch + 1}"
            raise Interrupted(self.number, f"Interrupted{where}. {self.how_to_go_on}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A context in which a first signal is noted; a second one does what it always did."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in self.SIGNALS}

        def note(number: int, frame: FrameType | None) -> None:
            self.number = number
            for each, handler in before.items():
                signal.signal(each, handler)

        for number in self.SIGNALS:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
