"""What training is doing: a bar that moves with every batch, or lines without a terminal."""

import time
from typing import TYPE_CHECKING, Any, Self

import keras

from ceneurovae.console import say

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds between lines.
LINE_EVERY_S = 5


class FitProgress(keras.callbacks.Callback):
    """Moves a task of a `rich` progress bar forward, and tells the figures of each epoch.

    Where the bar has no terminal to show itself on, it says a line every few seconds instead.
    Unlike other callbacks it is called in the refit too, as `for_refit`.

    Args:
        progress: That of `progress_bar`.
        batch_size: Windows in a batch, to tell the speed.
        title: What the fit is for.
    """

    async_safe = True  # it moves a bar, and reads no number of the training step

    def __init__(self, progress: "Progress", batch_size: int, title: str = "Training") -> None:
        super().__init__()
        self.title = title
        self.progress = progress
        self.batch_size = batch_size
        self.lines = progress.disable
        self.said_at = float(-LINE_EVERY_S)
        self.begun: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.task = self.progress.add_task(self.title, total=self.params["epochs"], note="")
        self.begun = None

    def for_refit(self) -> Self:
        """The same for the last fit, to training and validation data."""
        return FitProgress(self.progress, self.batch_size, "Refitting")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        if self.begun is None:
            self.begun = epoch, time.monotonic()
            self.progress.update(self.task, completed=epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        share = self.epoch + (batch + 1) / self.params["steps"]
        self.progress.update(self.task, completed=share)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        note = self._figures(epoch, logs)
        self.progress.update(self.task, completed=epoch + 1, note=note)
        if self.lines and (last or time.monotonic() - self.said_at >= LINE_EVERY_S):
            what = "Epoch" if self.title == "Training" else f"{self.title}, epoch"
            say(f"{what} {epoch + 1}/{self.params['epochs']}  {note}")
            self.said_at = time.monotonic()

    def _figures(self, epoch: int, logs: Any) -> str:
        first, begun = self.begun
        seconds, epochs = time.monotonic() - begun, epoch + 1 - first
        speed = epochs * self.params["steps"] * self.batch_size / seconds
        parts = [f"loss {logs['loss']:.4g}"]
        if "val_elbo" in logs:
            parts.append(f"validation ELBO {logs['val_elbo']:.4g}")
        parts.append(f"active latents {logs['active_latents']:.0f}")
        if "kl_weight" in logs:
            parts.append(f"KL weight {logs['kl_weight']:.2g}")
        parts.append(f"{speed:.0f} windows/s")
        if self.model.stop_training:
            parts.append("no further gain: this is the last epoch")
        elif self.lines:
            left = (self.params["epochs"] - epoch - 1) * seconds / epochs
            parts.append(f"{left:.0f} s left")
        return "  ".join(parts)
