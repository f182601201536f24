import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ceneurovae import ChannelScaler


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4, 3)) * [1, 1e4, 1e-4] + [5, -3e4, 0]
    x[rng.random(x.shape) < 0.2] = np.nan
    return x.astype("float32")


def adapted(data):
    scaler = ChannelScaler()
    scaler.adapt(data)
    return scaler


def test_scaled_data_has_mean_0_and_deviation_1_and_keeps_nan(data):
    scaled = ops.convert_to_numpy(adapted(data)(data))
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(data))
    np.testing.assert_allclose(np.nanmean(scaled, (0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(np.nanstd(scaled, (0, 1)), 1, rtol=1e-4)


def test_inverse_is_the_identity(data):
    scaler = adapted(data)
    back = ops.convert_to_numpy(scaler.inverse(scaler(data)))
    np.testing.assert_allclose(back, data, rtol=1e-5, atol=1e-3 * np.nanstd(data, (0, 1)).min())


def test_arrays_pairs_and_datasets_agree(data):
    mask = ~np.isnan(data)
    filled = np.where(mask, data, 12345)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(700)
    pairs = tf.data.Dataset.from_tensor_slices((filled, mask)).batch(64)
    expected = adapted(data)
    for other in (adapted(dataset), adapted((filled, mask)), adapted(pairs)):
        for name in ("mean", "std", "count"):
            np.testing.assert_allclose(
                *(ops.convert_to_numpy(getattr(s, name)) for s in (expected, other)),
                rtol=1e-5,
            )


def test_agrees_with_float64_numpy_where_the_mean_is_large():
    x = (1e5 + np.random.default_rng(0).normal(size=(5000, 2, 1))).astype("float32")
    std = ops.convert_to_numpy(adapted(x).std)
    assert std[0] == pytest.approx(x.astype("float64").std(), rel=1e-4)


def test_a_constant_channel_has_scale_1_and_is_warned_about(data):
    data[..., 1] = 7.0
    with pytest.warns(UserWarning, match="Channel 1 is constant"):
        scaler = adapted(data)
    scaled = ops.convert_to_numpy(scaler(data))
    assert (scaled[..., 1] == 0).all()


def test_errors(data):
    with pytest.raises(ValueError, match="holds no batch"):
        adapted(data[:0])
    with pytest.raises(ValueError, match="The data has 2 channels, the scaler has 3"):
        adapted(data).adapt(data[..., :2])
    data[..., 2] = np.nan
    with pytest.raises(ValueError, match="Channel 2 is missing throughout"):
        adapted(data)


def test_adapted_tells_a_fitted_scaler_from_a_new_one(data):
    scaler = ChannelScaler()
    assert not scaler.adapted
    scaler.build((None, 4, 3))
    assert not scaler.adapted
    scaler.adapt(data)
    assert scaler.adapted


def test_scales_of_groups_keep_their_order():
    x = np.random.default_rng(0).normal(size=(50, 4, 3)) * [1.0, 3.0, 10.0] + [5.0, 0.0, 0.0]
    scaler = ChannelScaler("group", ("a", "a", "b"))
    scaler.adapt(x)
    std = x.std(axis=(0, 1))
    together = np.sqrt(np.mean(std[:2] ** 2))
    expected = [together, together, std[2]]
    np.testing.assert_allclose(ops.convert_to_numpy(scaler.std), expected, rtol=1e-5)
    scaled = ops.convert_to_numpy(scaler(x.astype("float32")))
    np.testing.assert_allclose(scaled.mean(axis=(0, 1)), 0, atol=1e-4)
    assert scaled[..., 1].std() == pytest.approx(3 * scaled[..., 0].std(), rel=0.2)
    again = ChannelScaler.from_config(scaler.get_config())
    assert (again.scale, again.groups) == ("group", ("a", "a", "b"))


def test_no_scale_only_takes_off_the_mean():
    x = np.random.default_rng(0).normal(size=(50, 4, 2)) * [1.0, 30.0]
    scaler = ChannelScaler("none")
    scaler.adapt(x)
    np.testing.assert_allclose(ops.convert_to_numpy(scaler.std), 1)
    np.testing.assert_allclose(ops.convert_to_numpy(scaler.mean), x.mean(axis=(0, 1)), atol=1e-4)


def test_scales_that_cannot_be_used():
    with pytest.raises(ValueError, match="scale is 'all', expected one of channel, group, none"):
        ChannelScaler("all")
    with pytest.raises(ValueError, match="needs groups, the name of the group of each channel"):
        ChannelScaler("group")
    with pytest.raises(ValueError, match="There are 2 groups for 3 channels"):
        ChannelScaler("group", ("a", "b")).build((None, 4, 3))
