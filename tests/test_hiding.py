"""What each kind hides, by the layer and by the fixed patterns alike; then the layer itself."""

import keras
import numpy as np
import pytest
from keras import ops

from ceneurovae.model import Hiding, hidden_patterns, hiding
from ceneurovae.model.hidden_patterns import hide_pattern
from ceneurovae.model.missing import split_missing

WINDOWS = 2000
GROUPS = ("neural", "behavior", "neural")


def hide(x, kinds, seed=0, **arguments):
    layer = Hiding(kinds, seed=seed, **arguments)
    return ops.convert_to_numpy(layer(x.astype("float32"), training=True))


def by_layer(shape, kind, **arguments):
    hidden = np.isnan(hide(np.zeros(shape), (kind,), **arguments))
    touched = hidden.any(axis=(1, 2))
    assert_binomial(touched.sum(), shape[0], 1 / 2)
    return hidden[touched]


@pytest.fixture(params=[by_layer, hide_pattern])
def hidden_by(request):
    """A function that gives which entries a kind hides, of the windows where it hides any."""
    return request.param


def assert_binomial(count, draws, probability):
    """Within four standard deviations of what is expected."""
    deviation = np.sqrt(draws * probability * (1 - probability))
    assert abs(count - draws * probability) < 4 * deviation


def stretches(hidden):
    """Start and length of the one stretch of time in each channel, each `(N, C)`."""
    edges = np.diff(np.pad(hidden, ((0, 0), (1, 1), (0, 0))).astype(int), axis=1)
    assert ((edges == 1).sum(axis=1) == 1).all()
    return np.argmax(edges == 1, axis=1), hidden.sum(axis=1)


def assert_length(length, steps, share):
    """`max(1, round(2 * share * steps * u))`, `u ~ U(0, 1)`, for independent lengths `(n,)`."""
    longest = round(2 * share * steps)
    assert length.min() >= 1 and length.max() <= longest
    # 0 is counted as 1; 0 and the longest are drawn half as often as the others.
    mean, deviation = longest / 2 + 0.5 / longest, longest / np.sqrt(12)
    assert abs(length.mean() - mean) < 4 * deviation / np.sqrt(len(length))


def test_both_know_the_same_kinds():
    assert hiding.KINDS == hidden_patterns.KINDS


def test_entries(hidden_by):
    hidden = hidden_by((WINDOWS, 20, 3), "entries", share=0.3)
    assert_binomial(hidden.sum(), hidden.size, 0.3)
    assert_binomial((hidden[:, 1] & hidden[:, 0]).sum(), hidden[:, 0].size, 0.09)


def test_spans(hidden_by):
    hidden = hidden_by((WINDOWS, 60, 3), "spans", share=0.2)
    start, length = stretches(hidden)
    assert_length(length[:, 0], 60, 0.2)
    assert_length(length[:, 2], 60, 0.2)
    assert start.min() == 0 and (start + length).max() == 60
    # Given its length, each place is as likely as any other.
    place = (start[:, 0] + 0.5) / (60 - length[:, 0] + 1)
    assert abs(place.mean() - 0.5) < 4 / np.sqrt(12 * len(place))
    alike = (hidden == hidden[..., :1]).all(axis=(1, 2))
    # Own stretches are alike by chance at most once in 60^2.
    assert_binomial(alike.sum(), len(hidden), 1 / 2)
    assert (start[~alike, 0] != start[~alike, 1]).any()


def test_channels(hidden_by):
    hidden = hidden_by((WINDOWS, 5, 10), "channels", share=0.3)
    assert (hidden == hidden[:, :1]).all()
    counts = hidden[:, 0].sum(axis=-1)
    assert counts.min() >= 1 and counts.max() <= 9
    # Where none was drawn, one is hidden: with a probability of 0.7^10.
    mean, deviation = 3 + 0.7**10, np.sqrt(10 * 0.3 * 0.7)
    assert abs(counts.mean() - mean) < 4 * deviation / np.sqrt(len(counts))
    assert hidden[:, 0].any(axis=0).all()


def test_one_of_two_channels(hidden_by):
    hidden = hidden_by((WINDOWS, 5, 2), "channels", share=0.3)
    assert (hidden[:, 0].sum(axis=-1) == 1).all()
    assert_binomial(hidden[:, 0, 0].sum(), len(hidden), 1 / 2)


@pytest.mark.parametrize("groups", [GROUPS, (7, 3, 7), np.array([0, 1, 0])])
def test_groups(hidden_by, groups):
    hidden = hidden_by((WINDOWS, 5, 3), "groups", groups=groups)
    assert (hidden == hidden[:, :1]).all()
    np.testing.assert_array_equal(hidden[:, 0, 0], hidden[:, 0, 2])
    np.testing.assert_array_equal(hidden[:, 0, 0], ~hidden[:, 0, 1])
    assert_binomial(hidden[:, 0, 0].sum(), len(hidden), 1 / 2)


def test_end(hidden_by):
    hidden = hidden_by((WINDOWS, 60, 3), "end", share=0.2)
    assert (hidden == hidden[..., :1]).all()
    start, length = stretches(hidden)
    np.testing.assert_array_equal(start + length, 60)
    assert_length(length[:, 0], 60, 0.2)


@pytest.mark.parametrize("kind", ["entries", "spans", "channels", "end"])
def test_something_is_left_however_much_is_to_be_hidden(kind):
    shape = (WINDOWS, 2, 2)
    for hidden in (
        np.isnan(hide(np.zeros(shape), (kind,), share=0.9)),
        hide_pattern(shape, kind, share=0.9),
    ):
        assert not hidden.all(axis=(1, 2)).any()
        assert hidden.any()


def test_only_observed_entries_become_nan_and_nothing_else_changes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 12, 3)).astype("float32")
    x[rng.random(x.shape) < 0.4] = np.nan
    y = hide(x, hiding.KINDS, share=0.5, groups=GROUPS)
    assert np.isnan(y[np.isnan(x)]).all()
    np.testing.assert_array_equal(y[~np.isnan(y)], x[~np.isnan(y)])
    assert np.isnan(y).sum() > np.isnan(x).sum()


def test_identity_at_inference():
    x = np.random.default_rng(0).normal(size=(5, 6, 3)).astype("float32")
    x[0, 1:3, 1] = np.nan
    layer = Hiding(hiding.KINDS, groups=GROUPS)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), x)


def test_kinds_and_nothing_have_equal_chances():
    hidden = np.isnan(hide(np.zeros((WINDOWS, 10, 3)), ("channels", "end"), share=0.2))
    channels = (hidden == hidden[:, :1]).all(axis=(1, 2)) & hidden.any(axis=(1, 2))
    end = (hidden == hidden[..., :1]).all(axis=(1, 2)) & hidden.any(axis=(1, 2))
    assert_binomial(channels.sum(), WINDOWS, 1 / 3)
    assert_binomial(end.sum(), WINDOWS, 1 / 3)
    assert_binomial((~hidden.any(axis=(1, 2))).sum(), WINDOWS, 1 / 3)


def test_a_window_keeps_something_that_was_observed():
    x = np.full((500, 6, 3), np.nan)
    x[:250, 5, 0] = 1.0  # the one entry observed cannot be hidden
    x[250:, 4:, 0] = 1.0
    y = hide(x, hiding.KINDS, share=0.5, groups=GROUPS)
    np.testing.assert_array_equal(y[:250], x[:250])
    counts = (~np.isnan(y[250:])).sum(axis=(1, 2))
    assert set(counts) == {1, 2}


def test_the_only_channel_is_left():
    x = np.zeros((100, 5, 1))
    np.testing.assert_array_equal(hide(x, ("channels",)), x)


def test_a_seed_repeats_the_sequence_and_draws_differ():
    x = np.zeros((50, 20, 3), "float32")
    first, second = (Hiding(("entries", "spans"), seed=3) for _ in range(2))
    draws = [
        np.isnan(ops.convert_to_numpy(layer(x, training=True))) for layer in (first, second, first)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    touched = draws[0][draws[0].any(axis=(1, 2))]
    assert len(np.unique(touched, axis=0)) > 0.9 * len(touched)


def test_a_compiled_model_trains_through_it(tmp_path):
    inputs = keras.Input((6, 3))
    hidden = Hiding(hiding.KINDS, groups=GROUPS, seed=0)(keras.layers.Dense(3)(inputs))
    outputs = keras.layers.Dense(3)(ZeroForMissing()(hidden))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    old = [ops.convert_to_numpy(w) for w in model.trainable_weights]
    x = np.random.default_rng(0).normal(size=(32, 6, 3)).astype("float32")
    history = model.fit(x, x, batch_size=12, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for value, weight in zip(old, model.trainable_weights, strict=True):
        assert (ops.convert_to_numpy(weight) != value).any(), weight.path


class ZeroForMissing(keras.layers.Layer):
    def call(self, x):
        return split_missing(x)[0]


@pytest.mark.parametrize("kinds", [(), "spans", ("spans", "rows")])
def test_unknown_kinds(kinds):
    with pytest.raises(ValueError, match="expected a tuple of one or more of entries, spans, ch"):
        Hiding(kinds)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_unusable_share(share):
    for hides in (lambda: Hiding(("end",), share), lambda: hide_pattern((1, 5, 2), "end", share)):
        with pytest.raises(ValueError, match="expected a number above 0 and below 1."):
            hides()


@pytest.mark.parametrize("groups", [None, (), ("neural",) * 3])
def test_less_than_two_groups(groups):
    with pytest.raises(ValueError, match="takes at least 2. Name the group of each channel, or"):
        Hiding(("spans", "groups"), groups=groups)
    with pytest.raises(ValueError, match="takes at least 2. Name the group of each channel, or"):
        hide_pattern((1, 5, 3), "groups", groups=groups)


def test_groups_of_other_channels():
    layer = Hiding(("groups",), groups=GROUPS)
    with pytest.raises(ValueError, match="3 entries, but the data has 4 channels. Name the group"):
        layer(np.zeros((1, 5, 4)), training=True)
    with pytest.raises(ValueError, match="3 entries, but the windows have 4 channels. Name the"):
        hide_pattern((1, 5, 4), "groups", groups=GROUPS)
