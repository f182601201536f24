"""One search: trials that run in another process, and the files that say how they went."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import time
from pathlib import Path

import keras_tuner
from keras_tuner.errors import FailedTrialError

from ceneurovae.hypermodel import describe
from ceneurovae.search_folder import FOLDERS, KERAS_TUNER
from ceneurovae.search_oracle import BEAT_EVERY_S, LOOK_EVERY_S, serve
from ceneurovae.trial_process import TrialProcess, run_trial
from ceneurovae.whole_file import whole_file


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


class Search(keras_tuner.Tuner):
    """A `keras_tuner.Tuner` whose trials run in another process.

    Args:
        task: As for `TrialProcess`.
        out: Folder of the search.
        oracle: As of `make_oracle`.
    """

    def __init__(self, task, out, oracle):
        self.task, self.out = task, out
        self.running, self.outcomes = {}, {}
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it reloads
            super().__init__(
                oracle,
                task["hypermodel"],
                directory=str(out.resolve()),
                project_name=FOLDERS[KERAS_TUNER],
            )

    def listen(self, report, isolate):
        """Tells a function of each change, and decides where trials run."""
        self.report = report
        self.process = None
        if (isolate or self._is_worker()) and role_of_process() != "chief":
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
        if role_of_process() == "chief":
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
                outcome = self._outcome(name, trial.message)
            values = visible(trial.hyperparameters.values)
            score = None if trial.score is None else float(trial.score)
            trials.append(Trial(number, values, status, score, **outcome))
        return tuple(trials)

    def _outcome(self, name, message):
        """What the folder of a trial that has ended says of how it went."""
        if name not in self.outcomes:
            try:
                file = Path(self.get_trial_dir(name)) / "outcome.json"
                self.outcomes[name] = json.loads(file.read_text())
            except FileNotFoundError:
                self.outcomes[name] = {"message": message}
        return self.outcomes[name]

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


def write_trials(out, trials, name="trials"):
    """Writes trials, or others like them, as `trials.json` and `trials.csv`."""
    rows = [dataclasses.asdict(trial) for trial in trials]
    with whole_file(out / f"{name}.json") as file:
        file.write_text(json.dumps(rows, indent=2) + "\n")
    names = list(dict.fromkeys(name for row in rows for name in row["hyperparameters"]))
    others = [name for row in rows[:1] for name in row if name not in ("number", "hyperparameters")]
    with whole_file(out / f"{name}.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["number", *names, *others])
        writer.writeheader()
        for row in rows:
            writer.writerow({**row.pop("hyperparameters"), **row})


def visible(values):
    """Hyperparameters without those that Keras Tuner has for itself."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def role_of_process():
    """`"chief"`, `"worker"`, or `None` for a process that searches alone."""
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return None
    for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"):
        if name not in os.environ:
            raise ValueError(f"KERASTUNER_ORACLE_IP is set, but {name} is not. Set both.")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"
