"""Ray Tune's scheduler of population-based training, in generations that survive a failure."""

import random
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining


class Generations(PopulationBasedTraining):
    """`ray.tune.schedulers.PopulationBasedTraining` in synchronous generations.

    What Ray has in its synchronous mode waits for ever for a member that has failed, and forgets
    its generation when a search is restored. Here all members wait until the last of a generation
    is done or has failed, then the worst take over from the best; what is drawn then is a function
    of the seed and the generation, so that a generation that is compared twice, because the search
    was cut off in between, is compared with the same outcome.

    Args:
        seed: Whole number.
        first_compared: The first generation after which members are compared.
        **settings: As for `PopulationBasedTraining`.
    """

    def __init__(self, seed: int, first_compared: int, **settings: Any) -> None:
        super().__init__(
            time_attr="training_iteration",
            metric="score",
            mode="max",
            perturbation_interval=1,
            synch=True,
            log_config=False,
            **settings,
        )
        self.seed, self.first_compared = seed, first_compared

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        if trial.checkpoint is None:
            return
        # A trial of a search that goes on.
        result = trial.last_result
        self._save_trial_state(
            self._trial_state[trial], result["training_iteration"], result, trial
        )
        times = [state.last_train_time for state in self._trial_state.values()]
        self._next_perturbation_sync = max(times)
        if not trial.is_finished():
            trial.set_status(Trial.PAUSED)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        self._save_trial_state(
            self._trial_state[trial], result["training_iteration"], result, trial
        )
        return self.PAUSE

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        live = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        if live and all(self._waits(trial) for trial in live):
            self._compare(tune_controller, live)
        return super().choose_trial_to_run(tune_controller)

    def _waits(self, trial: Trial) -> bool:
        done = self._trial_state[trial].last_train_time >= self._next_perturbation_sync
        return bool(done and trial.status == Trial.PAUSED)

    def _compare(self, tune_controller: Any, live: list[Trial]) -> None:
        """Has the worst members take over from the best, and begins the next generation."""
        generation = self._next_perturbation_sync
        if generation >= self.first_compared:
            before = random.getstate()  # from which Ray draws
            random.seed(f"{self.seed} {generation}")
            lower, upper = self._quantiles()
            for trial in (*upper, *lower):
                self._checkpoint_or_exploit(trial, tune_controller, upper, lower)
                tune_controller._mark_trial_to_checkpoint(trial)
            random.setstate(before)
        self._next_perturbation_sync = 1 + max(
            self._trial_state[trial].last_train_time for trial in live
        )
        tune_controller.checkpoint(force=True)
