"""Population-based training without what runs it: a generation, what may change, what is shown."""

import json

import keras
import numpy as np
import pytest
from conftest import tiny_config

from ceneurovae import NeuroBehaviorVAE, cli, train
from ceneurovae.evaluation import evaluate
from ceneurovae.generation import finish, train_generation
from ceneurovae.pipeline import in_batches
from ceneurovae.population import Member, MemberReport, Population, draw, space_for
from ceneurovae.population_table import member_line, members_table, showing_members
from ceneurovae.ray_start import require_ray
from ceneurovae.run_folder import RunFolder
from ceneurovae.search_folder import check_folder

OWN = {"lr": 5e-3, "kl_weight": 1.0, "dropout": 0.1}


def shared(**arguments):
    """A small population."""
    return Population(
        arguments.pop("config", tiny_config(dropout=0.1)),
        **{"population": 2, "generations": 2, "epochs_per_generation": 2, **arguments},
    )


def test_generations_of_one_member_are_an_ordinary_training(windows, tmp_path):
    population, member = shared(), Member(1)
    valid = windows[:20]
    for generation in (1, 2):
        score = train_generation(population, member, OWN, windows, valid)
        assert member.state.epoch == 2 * generation
        assert score == member.state.rows[-1]["val_elbo"] == member.schedule[-1]["score"]
        member.write(tmp_path)
        member = Member(1)
        member.take_over(tmp_path)
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(dropout=0.1))
    history = train(model, windows, valid, epochs=4, lr=5e-3, seed=0, verbose=0)
    for name in ("loss", "val_elbo", "kl_weight"):
        np.testing.assert_allclose([row[name] for row in member.state.rows], history.history[name])
    run = finish(population, member, windows, valid, tmp_path / "run")
    for given, other in zip(
        RunFolder(run).load_model().get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(given, other, rtol=1e-5, atol=1e-6)


def test_a_member_goes_on_as_another_with_other_hyperparameters(windows, tmp_path):
    population, valid = shared(), windows[:20]
    source, member = Member(1), Member(2)
    for each in (source, member):
        train_generation(population, each, OWN, windows, valid)
    apart = [
        not np.array_equal(a, b)
        for a, b in zip(source.state.variables, member.state.variables, strict=True)
    ]
    assert any(apart)  # each has weights of its own
    source.write(tmp_path)
    member.take_over(tmp_path)
    assert member.source == 1
    for name in ("variables", "optimizer"):
        for own, other in zip(
            getattr(member.state, name), getattr(source.state, name), strict=True
        ):
            np.testing.assert_array_equal(own, other)
    changed = {"lr": 1e-9, "kl_weight": 0.5, "dropout": 0.4}
    train_generation(population, member, changed, windows, valid)
    assert [row["member"] for row in member.schedule] == [1, 2]
    assert [row["hyperparameters"] for row in member.schedule] == [OWN, changed]
    assert member.state.rows[-1]["kl_weight"] == 0.5
    # With no learning rate to speak of, the weights are still those of the other one.
    weights = []
    for each in (source, member):
        model = NeuroBehaviorVAE(population.chosen(OWN)[0])
        each.state.give(model)
        weights.append([v.numpy() for v in model.trainable_variables])
    for own, other in zip(*weights, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)


@pytest.mark.parametrize("objective", ["elbo", "r2"])
def test_the_score_is_of_weight_1(windows, objective):
    population, member, valid = shared(objective=objective), Member(1), windows[:20]
    low = {**OWN, "kl_weight": 0.2}
    score = train_generation(population, member, low, windows, valid)
    config, _ = population.chosen(low)
    model = NeuroBehaviorVAE(config)
    member.state.give(model)
    assert float(model.kl_weight) == pytest.approx(0.2)
    if objective == "r2":
        assert score == pytest.approx(evaluate(model, valid, imputation=False).test.r2, abs=1e-4)
        return
    reconstruction, kl = map(
        keras.ops.convert_to_numpy, model.losses_of(valid, model(valid, training=False))
    )
    assert score == pytest.approx(-(reconstruction + kl.sum(axis=1)).mean(), rel=1e-4)
    assert abs(score + (reconstruction + 0.2 * kl.sum(axis=1)).mean()) > 0.1


def test_a_member_that_diverges_stays_as_it_was(windows):
    population, member, valid = shared(), Member(1), windows[:20]
    train_generation(population, member, OWN, windows, valid)
    before = [value.copy() for value in member.state.variables]
    with pytest.raises(FloatingPointError, match="The loss became"):
        train_generation(population, member, {**OWN, "lr": 1e30}, windows, valid)
    assert (member.state.epoch, len(member.schedule), len(member.state.rows)) == (2, 1, 2)
    for value, kept in zip(member.state.variables, before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_a_generation_without_a_score_is_an_error(windows):
    population, missing = shared(objective="r2"), np.full_like(windows[:20], np.nan)
    with pytest.raises(FloatingPointError, match="R2 is not defined"):
        train_generation(population, Member(1), OWN, windows, missing)


def test_a_dataset_is_trained_on_as_an_array_is(windows):
    population, valid = shared(generations=1), windows[:20]
    array, dataset = Member(1), Member(1)
    train_generation(population, array, OWN, windows, valid)
    train_generation(population, dataset, OWN, in_batches(windows, 64, True), in_batches(valid, 64))
    assert array.schedule[0]["score"] == pytest.approx(dataset.schedule[0]["score"], rel=1e-4)


@pytest.mark.once
def test_what_members_begin_with():
    population = shared(
        population=30,
        config=tiny_config(dropout=0.2, hide=("entries",), hide_share=0.9),
        space={
            "lr": (1e-4, 1e-2, "log"),
            "dropout": [0.01, 0.5],
            "hide_share": (0.1, 0.5),
            "noise": ["channel", "shared"],
        },
        given={"lr": 3e-3, "kl_weight": 0.7},
    )
    first, *others = population.beginnings()
    # The settings that were given, where they are in the space.
    assert first == {"lr": 3e-3, "dropout": 0.01, "hide_share": 0.5, "noise": "shared"}
    assert population.beginnings()[1:] == others
    for other in others:
        assert population.within(other) == other
        config, settings = population.chosen(other)
        assert (config.dropout, config.noise) == (other["dropout"], other["noise"])
        assert (settings["lr"], settings["kl_weight"]) == (other["lr"], 0.7)
    rates = [other["lr"] for other in others]
    assert min(rates) < 1e-3 < max(rates)
    assert population.within({"lr": 1.0, "dropout": 0.5}) == {"lr": 1e-2, "dropout": 0.5}
    rng = np.random.default_rng(0)
    assert {draw([1, 2], rng) for _ in range(20)} == {1, 2}
    assert "hide_share" not in space_for(tiny_config()) and "hide_share" in space_for(
        population.config
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ({}, 1),  # no ramp to speak of
        ({"given": {"warmup_epochs": 2}}, 2),
        ({"generations": 10, "epochs_per_generation": 10}, 2),  # a tenth of the epochs
    ],
)
def test_members_are_compared_after_the_ramp(arguments, first):
    population = shared(**arguments)
    assert population.first_compared == first
    assert population.epochs in population.validated()
    assert population.epochs_per_generation in population.validated()


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": {"latent_dim": [2, 4]}}, "has 'latent_dim', which cannot change while a model"),
        ({"space": {"hide_share": (0.1, 0.2)}}, "'hide_share', but nothing is hidden"),
        ({"space": {"dropout": (0.0, 0.5)}}, "for dropout, but a model that drops nothing"),
        ({"space": {"lr": (2, 1)}}, "for lr, expected a list of choices or a range"),
        ({"space": {}}, "The space is empty"),
        ({"population": 0}, "population is 0, expected a whole number of at least 1"),
        ({"epochs_per_generation": 1.5}, "epochs_per_generation is 1.5, expected a whole"),
        ({"objective": "loss"}, "objective is 'loss', expected one of elbo, r2"),
        ({"given": {"rate": 1}}, "rate is no setting; known are lr"),
    ],
)
def test_errors_of_a_population(arguments, message):
    with pytest.raises(ValueError, match=message):
        shared(**arguments)


@pytest.mark.once
def test_the_search_of_another_engine_is_left_alone(tmp_path):
    (tmp_path / "search.json").write_text(json.dumps({"tuner": "random", "epochs": 3}))
    with pytest.raises(ValueError, match="has another engine: 'keras-tuner', received 'ray'"):
        check_folder(tmp_path, {"engine": "ray"}, resume=True, overwrite=False)
    check_folder(tmp_path, {"engine": "keras-tuner", "epochs": 3}, resume=True, overwrite=False)


@pytest.mark.once
def test_members_are_shown(capsys):
    members = (
        MemberReport(1, {"lr": 0.00123}, "completed", 12.5, 2, 4, 3.0, source=2),
        MemberReport(2, {"lr": 0.01}, "failed", None, 1, 2, 1.0, message="The loss became nan"),
        MemberReport(3, {"lr": 0.02}, "waiting"),
    )
    table = members_table(members)
    assert table.title == "3 members, best ELBO so far: 12.5 of 1"
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["member"] == ["1", "2", "3"] and columns["lr"] == ["0.00123", "0.01", "0.02"]
    assert columns["began as"] == ["2", "", ""]
    assert columns["status"] == ["completed", "failed: The loss became nan", "waiting"]
    assert member_line(members[0]) == (
        "Member 1, generation 2, begun as member 2: lr 0.00123: score 12.5"
    )
    with showing_members("r2") as show:
        show(members)
        show(members)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].endswith("failed: The loss became nan")


@pytest.mark.once
def test_ray_that_is_missing_is_asked_for(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match="pip install 'ceneurovae\\[ray\\]'"):
        require_ray()


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "ray", "--max-trials", "3"), "--max-trials is for the engine keras-tuner"),
        (("--engine", "ray", "--tuner", "random"), "--tuner is for the engine keras-tuner"),
        (("--engine", "ray", "--no-refit"), "--refit is for the engine keras-tuner"),
        (("--population", "3", "--address", "a"), "--population, --address is for the engine ray"),
        (("--engine", "optuna"), "engine is 'optuna', expected one of keras-tuner, ray"),
    ],
)
def test_options_of_the_other_engine_are_refused(
    options, message, simulated_worms, tmp_path, capsys, monkeypatch
):
    command = ["ceneurovae", "tune", simulated_worms, "--out", tmp_path / "out", *options]
    monkeypatch.setattr("sys.argv", [*map(str, command)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
