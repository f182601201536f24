"""All that a report shows, gathered once from a run folder as numbers and names: no drawing."""

import dataclasses
from pathlib import Path

import numpy as np

from ceneurovae.import_data import reload_splits
from ceneurovae.labels import find_labels
from ceneurovae.report.colourings import colourings
from ceneurovae.report.timeline import describe_recordings
from ceneurovae.results import VERSION
from ceneurovae.run_folder import RunFolder
from ceneurovae.tracking import working

LATENTS_DRAWN = 8


@dataclasses.dataclass(frozen=True)
class ReportData:
    """What the functions of `ceneurovae.report` draw.

    Args:
        path: Run folder.
        metrics: What `evaluate_run` found.
        null, decoding, seeds: What the controls found, `None` for those that were not run.
        history: Rows of `history.csv`.
        settings: What `config.json` holds: `model` and `training`.
        choices: What was chosen on validation data, or `None`.
        environment: What `environment.json` holds.
        channels: Names of the `C` channels.
        recordings: A `RecordingTimeline` for each.
        seq_len: Length of a window, in samples.
        windows: `ShownWindows`.
        colourings: `Colouring`s of these windows.
        trajectory: `Trajectory`.
        loss_unit: Unit of losses, `nats` where the likelihood is one.
        value_unit: Unit of scaled values.
    """

    path: Path
    metrics: dict
    null: dict | None
    decoding: dict | None
    seeds: dict | None
    history: list
    settings: dict
    choices: dict | None
    environment: dict
    channels: tuple
    recordings: tuple
    seq_len: int
    windows: object
    colourings: tuple
    trajectory: object
    loss_unit: str
    value_unit: str

    @property
    def name(self):
        """Name of the run."""
        return self.path.resolve().name

    @property
    def rate_hz(self):
        """Samples per second; 1 where no rate is known, so that seconds are samples."""
        return self.recordings[0].rate_hz or 1.0

    @property
    def time_label(self):
        """What an axis of time says."""
        return "time (s)" if self.recordings[0].rate_hz else "time (samples)"

    @property
    def latent_order(self):
        """Indices of the latents, the one with the most KL divergence first, `(Z,)`."""
        return np.argsort(-np.array(self.metrics["test"]["kl_per_latent"]), kind="stable")

    @property
    def colour(self):
        """The `Colouring` that is shown first: behaviour where there is any, else time."""
        best = self.trajectory.behaviours[:1]
        return next((c for c in self.colourings if c.name in best), self.colourings[0])


def gather(run, model=None, splits=None):
    """Reads, encodes and decodes all that a report shows.

    Evaluates the run first if it was not, or by another version.

    Args:
        run: Run folder.
        model: Its model; by default it is loaded.
        splits: Its `Splits`; by default its files are read again.

    Returns:
        `ReportData`.

    Raises:
        FileNotFoundError, ValueError: if there is no run or no model in it, or its files are not
            what they were.
    """
    from ceneurovae.report.shown_windows import show_windows
    from ceneurovae.report.trajectory import follow_latents

    run = RunFolder(run)
    splits = reload_splits(run.manifest) if splits is None else splits
    model = run.load_model() if model is None else model
    metrics = current_metrics(run, splits)
    held_out = getattr(splits, metrics["split"])
    with working("Looking at held-out windows"):
        labels = find_labels(splits)
        windows = show_windows(model, held_out)
        trajectory = follow_latents(model, held_out, labels)
    units = {"channel": "z-scored", "group": "scaled by group", "none": "centred, raw units"}
    return ReportData(
        path=run.path,
        metrics=metrics,
        null=run.read_control("null"),
        decoding=run.read_control("decoding"),
        seeds=run.read_control("seeds"),
        history=run.read_history() if run.has_history else [],
        settings={"model": run.config.to_dict(), "training": run.training},
        choices=run.choices,
        environment=run.environment,
        channels=tuple(splits.train.channels),
        recordings=describe_recordings(splits),
        seq_len=splits.train.seq_len,
        windows=windows,
        colourings=colourings(windows, held_out.recordings, labels),
        trajectory=trajectory,
        loss_unit="nats" if model.likelihood.in_nats else "units of the loss",
        value_unit=units[run.config.scale],
    )


def current_metrics(run, splits):
    """The metrics of a `RunFolder`; it is evaluated if they are missing or of another version."""
    if run.has_metrics:
        metrics = run.read_metrics()
        if metrics.get("version") == VERSION:
            return metrics
    from ceneurovae.evaluation import evaluate_run

    evaluate_run(run.path, splits)
    return run.read_metrics()
