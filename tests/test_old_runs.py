"""Run folders of earlier versions are read by this one. They are never written anew."""

from pathlib import Path

import numpy as np
import pytest

from ceneurovae.recipe import Recipe
from ceneurovae.run_folder import RunFolder

OLD_RUNS = sorted((Path(__file__).parent / "old_runs").iterdir())


@pytest.mark.parametrize("path", OLD_RUNS, ids=lambda path: path.name)
def test_an_old_run_gives_what_it_gave(path):
    run = RunFolder(path)
    assert run.is_finished and run.training["seed"] == 0
    came_later = {"mixed_precision": False, "give_up": False}
    assert Recipe.from_dict(run.training).to_dict() == {**came_later, **run.training}
    assert [row["epoch"] for row in run.read_history()] == [0, 1, 2]
    assert run.read_metrics()["vae"]["r2"] == 0.5
    assert run.refine_steps() == run.choices["refine"]
    state = run.read_checkpoint()
    assert state.is_finite and state.rows[-1]["epoch"] == 2
    model = run.load_model()
    assert model.config == run.config
    with np.load(path / "expected.npz") as expected:
        mu, logvar = model.encode(expected["x"])
        np.testing.assert_allclose(mu, expected["mu"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(logvar, expected["logvar"], rtol=1e-3, atol=1e-4)
        # In float32, with covariances whose condition number is up to 1e4.
        filled, before = (
            model.scaler.as_numpy(x) for x in (model.impute(expected["x"]), expected["imputed"])
        )
        np.testing.assert_allclose(filled, before, atol=1e-2)
