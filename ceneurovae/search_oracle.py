"""What decides on the next trial: Keras Tuner's oracles, for searches that are cut off.

They write their files whole or not at all, leave a search in which all fails, and give the trial of
a worker that is lost to another one.
"""

import json
import os
import time
import warnings
from concurrent import futures
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from ceneurovae.hints import JSON
from ceneurovae.hypermodel import OBJECTIVES
from ceneurovae.whole_file import whole_file

# A worker that was not heard of for so long is lost; it tells of itself more often.
LOST_AFTER_S, BEAT_EVERY_S = 120, 10
# In this many seconds the chief looks at its workers again, and an idle worker asks again.
LOOK_EVERY_S = 0.5
COMPLETED, FAILED, RUNNING = "COMPLETED", "FAILED", "RUNNING"


class SurvivingOracle(keras_tuner.Oracle):
    """What the three oracles below have in common.

    Attributes:
        most_failures: Trials that may fail in a row.
        on_change: Function without arguments that is called when a trial begins or ends.
    """

    most_failures = 10

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, max_consecutive_failed_trials=None, **settings)
        self.on_change = lambda: None
        self.verbose = 0
        self.seen: dict[str, float] = {}
        self.lost_once: set[str] = set()

    @property
    def all_fails(self) -> bool:
        """Whether the last trials have all failed."""
        last = [self.trials[name].status for name in self.end_order[-self.most_failures :]]
        return len(last) == self.most_failures and set(last) == {FAILED}

    def populate_space(self, trial_id: str) -> JSON:
        if self.all_fails:
            return {"status": "STOPPED"}
        return super().populate_space(trial_id)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        self.seen[tuner_id] = time.monotonic()
        self.forget_lost_workers()
        trial = super().create_trial(tuner_id)
        if trial.status == "STOPPED" and self.ongoing_trials:
            # Another worker may be lost, and its trial be left to do.
            trial.status = "IDLE"
            self.tuner_ids.add(tuner_id)
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:
        if trial.trial_id in {ongoing.trial_id for ongoing in self.ongoing_trials.values()}:
            super().end_trial(trial)
            self.on_change()

    @keras_tuner.synchronized
    def forget_lost_workers(self) -> None:
        """Has the trials of lost workers run again, once: the second time they have failed."""
        for tuner_id in list(self.tuner_ids):
            if time.monotonic() - self.seen.setdefault(tuner_id, time.monotonic()) < LOST_AFTER_S:
                continue
            self.tuner_ids.remove(tuner_id)
            trial = self.ongoing_trials.pop(tuner_id, None)
            if trial is not None and trial.trial_id not in self.lost_once:
                self.lost_once.add(trial.trial_id)
                self._retry_queue.append(trial.trial_id)
            elif trial is not None:
                trial.status, trial.message = FAILED, "Two workers were lost in this trial."
                self.end_order.append(trial.trial_id)
                self._save_trial(trial)
            self.save()

    @keras_tuner.synchronized
    def is_over(self) -> bool:
        """Whether no worker is left."""
        return not self.ongoing_trials and not self.tuner_ids

    def save(self) -> None:
        with whole_file(self._get_oracle_fname()) as file:
            file.write_text(json.dumps(self.get_state()))
        self.on_change()

    def _save_trial(self, trial: Any) -> None:
        with whole_file(Path(self._get_trial_dir(trial.trial_id)) / "trial.json") as file:
            file.write_text(json.dumps(trial.get_state()))


class RandomOracle(SurvivingOracle, RandomSearchOracle):
    """Hyperparameters at random."""


class BayesianOracle(SurvivingOracle, BayesianOptimizationOracle):
    """Hyperparameters where a Gaussian process of the scores hopes for most."""

    def populate_space(self, trial_id: str) -> JSON:
        with warnings.catch_warnings():
            # Of a few scores it cannot be told how smooth they are.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


class HalvingOracle(SurvivingOracle, HyperbandOracle):
    """Many short trials, and longer ones of the best (Hyperband)."""


ORACLES: dict[str, type[SurvivingOracle]] = {
    "random": RandomOracle,
    "bayesian": BayesianOracle,
    "hyperband": HalvingOracle,
}


def make_oracle(tuner: str, max_trials: int, epochs: int, objective: str, seed: int) -> Any:
    """The oracle of a kind of search."""
    common = {"objective": OBJECTIVES[objective], "seed": seed + 1}  # Keras Tuner draws for 0
    if tuner == "bayesian":
        common["num_initial_points"] = max(3, max_trials // 3)
    elif tuner == "hyperband":
        common["max_epochs"] = epochs
    oracle = ORACLES[tuner](**common)
    oracle.max_trials = max_trials
    return oracle


def serve(oracle: Any) -> None:
    """What the chief does: answers its workers until all trials are done and they have left."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    servicer = OracleServicer(oracle)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    server.add_insecure_port(address)
    server.start()
    while not (servicer.stop_triggered and oracle.is_over()):
        time.sleep(LOOK_EVERY_S)
        oracle.forget_lost_workers()
    server.stop(grace=1).wait()
