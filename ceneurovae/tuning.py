"""`tune`: a search for hyperparameters, in a folder, and a run with the best of them."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import shutil
import time
import warnings
from pathlib import Path

import keras
import keras_tuner
import numpy as np
from keras_tuner.errors import FailedTrialError

from ceneurovae.config import VAEConfig
from ceneurovae.hypermodel import OBJECTIVES, VAEHyperModel, describe
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.scaler import iterate_batches
from ceneurovae.pipeline import make_dataset, steps_per_epoch
from ceneurovae.run_folder import RunFolder, check_free
from ceneurovae.search_oracle import (
    BEAT_EVERY_S,
    LOOK_EVERY_S,
    BayesianOracle,
    HalvingOracle,
    RandomOracle,
    serve,
)
from ceneurovae.training import BATCH_SIZE, default_epochs, fitted_to, train
from ceneurovae.trial_process import TrialProcess, run_trial
from ceneurovae.whole_file import whole_file

TUNERS = ("random", "bayesian", "hyperband")
SEARCH, BEST = "search", "best"


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is known of a trial.

    Args:
        number: From 1, in the order in which they began.
        hyperparameters: Values by name.
        status: `"running"`, `"waiting"` to be run again, `"completed"` or `"failed"`.
        score: Its ELBO or R2, `None` unless it is completed.
        epochs: Those gone through.
        seconds: Those it took.
        message: Why it failed.
    """

    number: int
    hyperparameters: dict
    status: str
    score: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    message: str | None = None


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """What `tune` gives.

    Args:
        best: Hyperparameters of the best trial, values by name; `None` for a worker.
        trials: Tuple of `Trial`.
        run_dir: Run folder of the model that was trained with them; `None` without a refit.
    """

    best: dict | None
    trials: tuple
    run_dir: Path | None


def tune(
    train_ds,
    valid_ds,
    out,
    config=None,
    space=None,
    tuner="bayesian",
    max_trials=20,
    epochs=None,
    objective="elbo",
    patience=10,
    seed=0,
    resume=True,
    overwrite=False,
    refit=True,
    isolate=True,
    callbacks=(),
    report=None,
    verbose=0,
    **settings,
):
    """Searches for the hyperparameters with the best validation score, and trains with them.

    A search that was interrupted goes on when it is called again with the same arguments; a trial
    that was running then is run again. A trial that fails is noted with its message, and the search
    goes on, unless 10 fail in a row. All trials run in a process of their own, whose memory does
    not grow. `trials.csv` and `trials.json` in `out` list them.

    Several processes share a search where the environment variables of Keras Tuner
    `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` are set, and `out` is
    one folder for all: the one with `chief` in its ID hands out trials, and trains with the best in
    the end; the others run them. The trial of a worker that was not heard of for 2 minutes goes to
    another.

    Args:
        train_ds, valid_ds: Training and validation data, as for `train`.
        out: Folder of the search.
        config: `VAEConfig` with what is not searched; length and channels are those of the data.
        space: What is searched, as for `VAEHyperModel`, where it also says what can be compared.
        tuner: `"random"`, `"bayesian"` (a third of the trials at random, then where a Gaussian
            process hopes for most) or `"hyperband"` (many short trials, longer ones of the best).
        max_trials: Trials at most. It may be raised to go on with a search that is over.
        epochs: Of a trial, as for `train`; with `"hyperband"`, of the longest.
        objective: `"elbo"`, with KL weight 1, or `"r2"`, both on validation data.
        patience: Epochs without a better ELBO, after the ramp, before a trial ends.
        seed: Decides the trials, their weights, and the order of the windows.
        resume: Whether to go on with a search in `out`.
        overwrite: Whether to replace a search in `out`.
        refit: Whether to train on training and validation data together in the end.
        isolate: Whether to run trials in a process of their own, as workers always do; `False` runs
            them in this one, where memory may grow.
        callbacks: Further Keras callbacks, copied for each trial.
        report: Function of the list of `Trial`s, called whenever something has changed.
        verbose: As for `train`, for the training in the end.
        **settings: Settings of `train` that are not searched.

    Returns:
        `TuningResult`; its `run_dir` is `out/best`, an ordinary run folder.

    Raises:
        ValueError: if an argument cannot be used, the search in `out` is another, or no trial
            was completed.
        FileExistsError: if `out` holds a search, and `resume` and `overwrite` are false.
        BlockingIOError: if another process searches in `out`.
    """
    if tuner not in TUNERS:
        raise ValueError(f"tuner is {tuner!r}, expected one of {', '.join(TUNERS)}.")
    for name, value in (("max_trials", max_trials), ("patience", patience)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1.")
    out = Path(out)
    config = _config_for(config or VAEConfig(), train_ds)
    hypermodel = VAEHyperModel(config, space, objective, patience, seed, **settings)
    size = hypermodel.settings["batch_size"] or getattr(train_ds, "batch_size", BATCH_SIZE)
    epochs = epochs or default_epochs(steps_per_epoch(train_ds, size))
    splits = getattr(train_ds, "splits", None)
    recorded = {
        "model": config.to_dict(),
        "space": hypermodel.space,
        "settings": {name: repr(value) for name, value in hypermodel.settings.items()},
        "tuner": tuner,
        "epochs": epochs,
        "objective": objective,
        "patience": patience,
        "seed": seed,
        "backend": keras.backend.backend(),
        "data": splits and splits.manifest(),
    }
    role = _role()
    with contextlib.ExitStack() as stack:
        if role != "worker":
            _check_folder(out, recorded, resume, overwrite)
            stack.enter_context(RunFolder.held(out))
            _begin(out, recorded, overwrite)
        stack.enter_context(warnings.catch_warnings())
        # Keras Tuner's names of threads.
        warnings.filterwarnings("ignore", r"(currentThread|getName)\(\)", DeprecationWarning)
        task = {
            "hypermodel": hypermodel,
            "data": tuple(PackedData.of(data) for data in (train_ds, valid_ds)),
            "epochs": epochs,
            "callbacks": list(callbacks),
        }
        search = Search(task, out, make_oracle(tuner, max_trials, epochs, objective, seed))
        search.listen(report, isolate)
        search.search(verbose=0)
        if role == "worker":
            return TuningResult(None, (), None)
        trials = search.results()
    best = search.best_hyperparameters(trials)
    run_dir = out / BEST
    model_config, training = hypermodel.chosen(best)
    keras.utils.set_random_seed(seed)
    train(
        NeuroBehaviorVAE(model_config),
        train_ds,
        valid_ds,
        epochs=epochs,
        patience=patience,
        refit=refit,
        seed=seed,
        run_dir=run_dir,
        overwrite=overwrite or not _is_same(run_dir, model_config),
        resume=not overwrite and _is_same(run_dir, model_config),
        verbose=verbose,
        **training,
    )
    return TuningResult(_visible(best.values), trials, run_dir)


class PackedData:
    """Data on its way to another process: windows, or an array with NaN for missing.

    Args:
        content: `Windows` or `(N, T, C)`.
        batch_size: Windows in a batch of the dataset that it was; `None` for an array.
        shuffle: Whether each epoch has its own order.
    """

    def __init__(self, content, batch_size=None, shuffle=False):
        self.content, self.batch_size, self.shuffle = content, batch_size, shuffle

    @classmethod
    def of(cls, data):
        """Packs a dataset, an array `(N, T, C)`, or `(x, mask)`."""
        source = getattr(data, "source", None)
        if source is not None:
            return cls(source, data.batch_size, getattr(data, "shuffle_seed", None))
        return cls(np.concatenate(list(iterate_batches(data))))

    def unpacked(self):
        """The data as it was."""
        if self.batch_size is None:
            return self.content
        shuffle = self.shuffle is not None
        return make_dataset(self.content, self.batch_size, shuffle, self.shuffle or 0)


class Search(keras_tuner.Tuner):
    """A `keras_tuner.Tuner` whose trials run in another process.

    Args:
        task: As for `TrialProcess`.
        out: Folder of the search.
        oracle: As of `make_oracle`.
    """

    def __init__(self, task, out, oracle):
        self.task, self.out = task, out
        self.running = {}
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it reloads
            super().__init__(
                oracle, task["hypermodel"], directory=str(out.resolve()), project_name=SEARCH
            )

    def listen(self, report, isolate):
        """Tells a function of each change, and decides where trials run."""
        self.report = report
        self.process = None
        if (isolate or self._is_worker()) and _role() != "chief":
            log = self.out / f"{self.tuner_id}.log"
            self.process = TrialProcess(self.task, log)
        self.oracle.on_change = self._changed

    def _populate_initial_space(self):
        hp = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(hp)
        self.oracle.update_space(hp)

    def save(self):
        if not self._is_worker():
            self.oracle.save()
        with whole_file(self._get_tuner_fname()) as file:
            file.write_text("{}")

    def search(self, *arguments, **settings):
        if _role() == "chief":
            self.save()
            serve(self.oracle)
            return
        try:
            super().search(*arguments, **settings)
        finally:
            if self.process is not None:
                self.process.stop()

    def pre_create_trial(self):
        if self._is_worker():
            time.sleep(LOOK_EVERY_S)

    def run_trial(self, trial, *arguments, **settings):
        begun = time.monotonic()
        outcome = {"epochs": 0, "message": None}

        def on_epoch(epochs, elbo):
            outcome["epochs"] = epochs
            self.running[trial.trial_id] = epochs
            self._changed(write=False)

        values = trial.hyperparameters.get_config()
        try:
            if self.process is None:
                found = run_trial(self.task, values, on_epoch)
            else:
                beat = self._beat if self._is_worker() else None
                found = self.process.run(values, on_epoch, beat, BEAT_EVERY_S)
        except Exception as error:
            if isinstance(error, keras_tuner.errors.FatalError):
                raise
            failed = isinstance(error, (RuntimeError, FailedTrialError))
            outcome["message"] = str(error) if failed else describe(error)
            raise FailedTrialError(outcome["message"]) from error
        finally:
            outcome["seconds"] = round(time.monotonic() - begun, 1)
            self.running.pop(trial.trial_id, None)
            with whole_file(Path(self.get_trial_dir(trial.trial_id)) / "outcome.json") as file:
                file.write_text(json.dumps(outcome))
        return found

    def _beat(self):
        """Tells the chief that this worker is there: it answers with the trial that is running."""
        self.oracle.create_trial(self.tuner_id)

    def _changed(self, write=True):
        if self._is_worker():
            return
        trials = self.results()
        if write:
            write_trials(self.out, trials)
        if self.report is not None:
            self.report(trials)

    def results(self):
        """The `Trial`s so far, a tuple."""
        oracle = self.oracle
        ongoing = {trial.trial_id for trial in oracle.ongoing_trials.values()}
        trials = []
        for number, name in enumerate(list(oracle.start_order), 1):
            trial, outcome = oracle.trials[name], {}
            status = trial.status.lower()
            if name in ongoing and status == "running":
                outcome = {"epochs": self.running.get(name)}
            elif status == "running":
                status = "waiting"
            else:
                outcome = _outcome(Path(self.get_trial_dir(name)), trial.message)
            values = _visible(trial.hyperparameters.values)
            score = None if trial.score is None else float(trial.score)
            trials.append(Trial(number, values, status, score, **outcome))
        return tuple(trials)

    def best_hyperparameters(self, trials):
        """Those of the best trial that was completed.

        Raises:
            ValueError: if none was.
        """
        if not any(trial.status == "completed" for trial in trials):
            messages = [trial.message for trial in trials if trial.message]
            raise ValueError(
                f"None of {len(trials)} trials was completed; of the last one: "
                f"{messages[-1] if messages else 'nothing is known'}"
            )
        return self.oracle.get_best_trials(1)[0].hyperparameters


def make_oracle(tuner, max_trials, epochs, objective, seed):
    """The oracle of a kind of search."""
    common = {"objective": OBJECTIVES[objective], "seed": seed + 1}  # Keras Tuner draws for 0
    if tuner == "hyperband":
        oracle = HalvingOracle(max_epochs=epochs, **common)
        oracle.max_trials = max_trials
        return oracle
    if tuner == "random":
        return RandomOracle(max_trials=max_trials, **common)
    first = max(3, max_trials // 3)
    return BayesianOracle(max_trials=max_trials, num_initial_points=first, **common)


def write_trials(out, trials):
    """Writes `trials.json` and `trials.csv`."""
    rows = [dataclasses.asdict(trial) for trial in trials]
    with whole_file(out / "trials.json") as file:
        file.write_text(json.dumps(rows, indent=2) + "\n")
    names = list(dict.fromkeys(name for row in rows for name in row["hyperparameters"]))
    with whole_file(out / "trials.csv") as path, open(path, "w", newline="") as file:
        columns = ["number", *names, "status", "score", "epochs", "seconds", "message"]
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({**row.pop("hyperparameters"), **row})


def _outcome(folder, message):
    """What a trial's folder says of how it went."""
    try:
        return json.loads((folder / "outcome.json").read_text())
    except FileNotFoundError:
        return {"message": message}


def _visible(values):
    """Hyperparameters without those that Keras Tuner has for itself."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def _role():
    """`"chief"`, `"worker"`, or `None` for a process that searches alone."""
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return None
    for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"):
        if name not in os.environ:
            raise ValueError(f"KERASTUNER_ORACLE_IP is set, but {name} is not. Set both.")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def _config_for(config, data):
    if hasattr(data, "source"):
        return fitted_to(config, data.source)
    _, steps, channels = next(iterate_batches(data)).shape
    return dataclasses.replace(config, seq_len=steps, channels=channels)


def _check_folder(out, recorded, resume, overwrite):
    """Raises an error unless a search can begin, or go on, in a folder."""
    check_free(out)
    file = out / "search.json"
    if overwrite or not file.exists():
        return
    if not resume:
        raise FileExistsError(
            f"'{out}' holds a search already. Choose another folder, or pass resume=True or "
            "overwrite=True (--overwrite)."
        )
    before = json.loads(file.read_text())
    for name, value in json.loads(json.dumps(recorded)).items():
        if before.get(name) != value:
            told = "" if name == "data" else f": {before.get(name)!r}, received {value!r}"
            raise ValueError(
                f"The search in '{out}' has another {name}{told}. Go on with its own, or search in "
                "another folder."
            )


def _begin(out, recorded, overwrite):
    if overwrite:
        shutil.rmtree(out / SEARCH, ignore_errors=True)
        for name in ("search.json", "trials.json", "trials.csv"):
            (out / name).unlink(missing_ok=True)
    with whole_file(out / "search.json") as file:
        file.write_text(json.dumps(recorded, indent=2) + "\n")


def _is_same(run_dir, config):
    """Whether a run folder has a run of a config, which was perhaps interrupted."""
    try:
        return RunFolder(run_dir).config == config
    except (FileNotFoundError, ValueError):
        return False
