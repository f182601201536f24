import numpy as np
import pytest
from keras import ops

from ceneurovae import PositionalEncoding


def test_values_at_known_positions():
    table = ops.convert_to_numpy(PositionalEncoding()(np.zeros((1, 50, 6), "float32")))[0]
    for position in (0, 1, 49):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert table[position, 2 * pair] == pytest.approx(np.sin(angle), abs=1e-6)
            assert table[position, 2 * pair + 1] == pytest.approx(np.cos(angle), abs=1e-6)


def test_is_added_to_the_input():
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    layer = PositionalEncoding("learned")
    table = ops.convert_to_numpy(layer(np.zeros_like(x)))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), x + table, rtol=1e-6)
    assert table.std() > 0


def test_errors():
    with pytest.raises(ValueError, match="kind is 'fourier', expected one of sinusoidal, learned"):
        PositionalEncoding("fourier")
    with pytest.raises(ValueError, match="has 3 features. Use an even number"):
        PositionalEncoding()(np.zeros((1, 5, 3), "float32"))
