"""The settings of a training, and what a run folder records of them."""

import dataclasses
import json

import pytest

from ceneurovae.recipe import Recipe, batch_size_for, default_epochs

OWN = Recipe(
    epochs=3, lr=1e-2, batch_size=8, kl_schedule="cyclical", warmup_epochs=1, kl_weight=0.5, seed=7
)


@pytest.mark.once
@pytest.mark.parametrize("schedule", ["cyclical", None])
def test_a_recipe_is_the_same_after_a_trip_through_a_run_folder(schedule: str | None) -> None:
    recipe = dataclasses.replace(OWN, kl_schedule=schedule, patience=2, refit=True)
    recorded = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(recorded) == recipe
    # What a run can be resumed with is not recorded.
    other = dataclasses.replace(recipe, retries=2, jit_compile=False)
    assert other.to_dict() == recorded


@pytest.mark.once
def test_a_schedule_that_was_a_function_cannot_be_had_again() -> None:
    def schedule(epoch: int) -> float:
        return 0.1 * epoch

    recipe = dataclasses.replace(OWN, kl_schedule=schedule)
    assert recipe.annealing().weight_at(3) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="The KL schedule is '<function"):
        Recipe.from_dict(recipe.to_dict())


@pytest.mark.once
def test_what_is_left_to_the_data() -> None:
    assert default_epochs(150) == 10 and default_epochs(1500) == 10 and default_epochs(3) == 500
    assert batch_size_for([0.0]) == 64 and batch_size_for([0.0], 8) == 8
