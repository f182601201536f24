import numpy as np
import pytest
from keras import ops

from ceneurovae.model import Augmentation

WINDOWS, STEPS = 3000, 40
LENGTHS = (40, 30, 35)  # of the whole window and of parts of 0.75 and 0.875 of it


def augment(x, **arguments):
    layer = Augmentation(**{"seed": 0, **arguments})
    return ops.convert_to_numpy(layer(x.astype("float32"), training=True))


def assert_binomial(count, draws, probability):
    """Within four standard deviations of what is expected."""
    deviation = np.sqrt(draws * probability * (1 - probability))
    assert abs(count - draws * probability) < 4 * deviation


@pytest.fixture
def resampled():
    """Random windows, a tenth missing, after stretching; and the time that each sample is from."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(WINDOWS, STEPS, 3))
    x[:, :, 1:][rng.random((WINDOWS, STEPS, 2)) < 0.1] = np.nan
    x[:, :, 0] = np.arange(STEPS)
    y = augment(x, amplitude=0.0)
    return x, y, y[:, :, 0]


def test_identity_at_inference():
    x = np.random.default_rng(0).normal(size=(5, 6, 2)).astype("float32")
    x[0, 1:3, 1] = np.nan
    np.testing.assert_array_equal(ops.convert_to_numpy(Augmentation()(x)), x)


def test_parts_have_the_lengths_asked_for_with_equal_chance_at_every_place(resampled):
    time = resampled[2]
    length = np.round(time[:, -1] - time[:, 0]).astype(int) + 1
    for expected in LENGTHS:
        assert_binomial((length == expected).sum(), WINDOWS, 1 / len(LENGTHS))
        start = time[length == expected, 0]
        places = np.arange(STEPS - expected + 1)
        np.testing.assert_array_equal(np.unique(start), places)
        for place in places if len(places) > 1 else ():
            assert_binomial((start == place).sum(), len(start), 1 / len(places))


def test_a_straight_line_stays_one(resampled):
    time = resampled[2]
    slope = (time[:, -1:] - time[:, :1]) / (STEPS - 1)
    np.testing.assert_allclose(time, time[:, :1] + slope * np.arange(STEPS), atol=1e-4)


def test_values_are_interpolated_and_nan_where_a_sample_they_are_made_of_is(resampled):
    x, y, time = resampled
    # Times are whole multiples of 1 / (STEPS - 1).
    time = np.round(time * (STEPS - 1)) / (STEPS - 1)
    before, after = np.floor(time).astype(int), np.ceil(time).astype(int)
    window = np.arange(WINDOWS)[:, None]
    left, right = x[window, before], x[window, after]
    share = (time - before)[..., None]
    expected = np.where(share == 0, left, (1 - share) * left + share * right)
    np.testing.assert_allclose(y, expected, atol=1e-4)  # NaN in the same places
    unchanged = (time == np.arange(STEPS)).all(axis=1)
    np.testing.assert_array_equal(y[unchanged], x[unchanged].astype("float32"))


def test_a_constant_stays_constant_exactly():
    x = np.full((200, 17, 2), 0.1)
    np.testing.assert_array_equal(augment(x, amplitude=0.0), x.astype("float32"))


def test_one_factor_for_each_window():
    x = np.random.default_rng(0).uniform(1, 2, size=(WINDOWS, 5, 2)).astype("float32")
    x[:, 2, 1] = np.nan
    y = augment(x, stretch=(), amplitude=0.2)
    factor = y / x
    np.testing.assert_array_equal(np.isnan(factor), np.isnan(x))
    np.testing.assert_allclose(factor[:, [0, 4], 1], factor[:, [0, 4], 0], rtol=1e-5)
    logarithm = np.log(factor[:, 0, 0])
    assert len(np.unique(logarithm)) > 0.99 * WINDOWS
    # Four standard errors of a mean and of a standard deviation.
    assert abs(logarithm.mean()) < 4 * 0.2 / np.sqrt(WINDOWS)
    assert abs(logarithm.std() / 0.2 - 1) < 4 / np.sqrt(2 * WINDOWS)


def test_a_seed_repeats_the_sequence_and_draws_differ():
    x = np.random.default_rng(0).normal(size=(50, 20, 2)).astype("float32")
    first, second = Augmentation(seed=3), Augmentation(seed=3)
    draws = [ops.convert_to_numpy(layer(x, training=True)) for layer in (first, second, first)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_windows(steps):
    x = np.random.default_rng(0).normal(size=(100, steps, 2)).astype("float32")
    y = augment(x, stretch=(0.1,), amplitude=0.0)
    assert (y.min(axis=1) >= x.min(axis=1)).all() and (y.max(axis=1) <= x.max(axis=1)).all()
    if steps < 3:  # there is no part with two samples but the whole
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("stretch", [(0.0,), (0.5, 1.0), (-0.5,), (float("nan"),)])
def test_unusable_stretch(stretch):
    with pytest.raises(ValueError, match="expected shares above 0 and below 1. Use"):
        Augmentation(stretch=stretch)


@pytest.mark.parametrize("amplitude", [-0.1, float("inf"), float("nan")])
def test_unusable_amplitude(amplitude):
    with pytest.raises(ValueError, match="expected a number of at least 0. Use 0 to"):
        Augmentation(amplitude=amplitude)
