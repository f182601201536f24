"""One contract for every layer: it can be used alone, saved, and trained, on every backend."""

import keras
import numpy as np
import pytest

from ceneurovae.model import (
    Augmentation,
    ChannelScaler,
    ConvBackbone,
    Decoder,
    Encoder,
    GRUBackbone,
    Hiding,
    LSTMBackbone,
    PositionalEncoding,
    Sampling,
    TransformerBackbone,
    recurrence,
)
from ceneurovae.model.attention import MultiHeadAttention
from ceneurovae.model.hidden_patterns import KINDS

BACKBONES = ("conv", "gru", "lstm", "transformer")
NETWORK = {"hidden_dim": 8, "num_layers": 2, "dropout": 0.1, "num_heads": 2}
SEQUENCE, FEATURES, LATENT = (6, 3), (6, 8), (4,)

# name: layer, shapes of its inputs, shapes of its outputs
CASES = {
    **{
        f"encoder-{backbone}": (
            lambda backbone=backbone: Encoder(4, backbone=backbone, **NETWORK),
            [SEQUENCE],
            [LATENT, LATENT],
        )
        for backbone in BACKBONES
    },
    **{
        f"decoder-{backbone}": (
            lambda backbone=backbone: Decoder(6, 3, backbone=backbone, **NETWORK),
            [LATENT],
            [SEQUENCE],
        )
        for backbone in BACKBONES
    },
    "decoder-learned": (
        lambda: Decoder(6, 3, positional_encoding="learned", **NETWORK),
        [LATENT],
        [SEQUENCE],
    ),
    "position-sinusoidal": (lambda: PositionalEncoding(), [FEATURES], [FEATURES]),
    "position-learned": (lambda: PositionalEncoding("learned"), [FEATURES], [FEATURES]),
    "scaler": (lambda: ChannelScaler(), [SEQUENCE], [SEQUENCE]),
    "sampling": (lambda: Sampling(seed=1), [LATENT, LATENT], [LATENT]),
    "augmentation": (lambda: Augmentation(seed=1), [SEQUENCE], [SEQUENCE]),
    "hiding": (
        lambda: Hiding(KINDS, groups=("neural", "neural", "behavior"), seed=1),
        [SEQUENCE],
        [SEQUENCE],
    ),
    "conv": (lambda: ConvBackbone(8, dropout=0.1), [FEATURES], [FEATURES]),
    "gru": (lambda: GRUBackbone(8, dropout=0.1), [FEATURES], [FEATURES]),
    "lstm": (lambda: LSTMBackbone(8, dropout=0.1), [FEATURES], [FEATURES]),
    "transformer": (
        lambda: TransformerBackbone(8, dropout=0.1, num_heads=2),
        [FEATURES],
        [FEATURES],
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def draw(shapes, batch=5):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(batch, *shape)).astype("float32") for shape in shapes]


def as_argument(values):
    return values[0] if len(values) == 1 else tuple(values)


def as_list(values):
    return list(values) if isinstance(values, (tuple, list)) else [values]


def numpy_of(weight):
    return keras.ops.convert_to_numpy(weight)


def functional(layer, shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, layer(as_argument(inputs)))


def test_build_and_eager_call(case):
    make, inputs, outputs = case
    layer = make()
    results = as_list(layer(as_argument(draw(inputs))))
    assert [tuple(r.shape) for r in results] == [(5, *shape) for shape in outputs]
    built = make()
    built.build(as_argument([(None, *shape) for shape in inputs]))
    assert [w.shape for w in built.weights] == [w.shape for w in layer.weights]


def test_symbolic_call_and_save(case, tmp_path):
    make, inputs, outputs = case
    model = functional(make(), inputs)
    assert [o.shape for o in model.outputs] == [(None, *shape) for shape in outputs]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = draw(inputs)
    for first, second in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(numpy_of(first), numpy_of(second))
    for first, second in zip(as_list(model.predict(x)), as_list(again.predict(x)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_config_round_trip(case):
    layer = case[0]()
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config


# What Hiding hides is NaN in a loss too: test_hiding.py trains through it.
@pytest.mark.parametrize("name", [name for name in CASES if name != "hiding"])
def test_two_training_steps_change_every_trainable_weight(name):
    make, inputs, outputs = CASES[name]
    alone = functional(make(), inputs)
    # Some layers have nothing to train: gradients must pass through them to a layer before.
    before = [keras.Input(shape) for shape in inputs]
    dense = [keras.layers.Dense(shape[-1]) for shape in inputs]
    hidden = [layer(x) for layer, x in zip(dense, before, strict=True)]
    model = keras.Model(before, alone(hidden))
    old = [numpy_of(w) for w in model.trainable_weights]
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=["mse"] * len(outputs))
    targets = [y + 1 for y in draw(outputs)]
    # The first step moves the layers that start at zero, the second what is before them.
    targets = targets if len(targets) > 1 else targets[0]
    history = model.fit(draw(inputs), targets, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for value, weight in zip(old, model.trainable_weights, strict=True):
        assert (numpy_of(weight) != value).any(), weight.path


def test_mixed_precision(case):
    make, inputs, outputs = case
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = make()
    finally:
        keras.config.set_dtype_policy("float32")
    results = as_list(layer(as_argument(draw(inputs))))
    for result, shape in zip(results, outputs, strict=True):
        assert tuple(result.shape) == (5, *shape)
        assert keras.backend.standardize_dtype(result.dtype) == "bfloat16"
        assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(result, "float32"))).all()
    assert {w.dtype for w in layer.trainable_weights} <= {"float32"}


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_fused_recurrence_is_that_of_keras(kind, dtype):
    """On a CPU under PyTorch, another kernel computes it; values and gradients, and in symbols."""
    own = getattr(recurrence, kind)(4, dtype=dtype)
    theirs = getattr(keras.layers, kind)(4, return_sequences=True, dtype=dtype)
    x = draw([(7, 3)])[0]
    rng = np.random.default_rng(1)
    results = []
    for layer in (theirs, own):
        model = keras.Sequential([keras.Input((7, 3)), layer])
        if not results:
            weights = [rng.normal(size=weight.shape) for weight in model.weights]
        model.set_weights(weights)
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
        outputs = model.predict(x, verbose=0)
        model.fit(x, np.ones_like(outputs), batch_size=len(x), epochs=1, verbose=0)
        steps = [new - old for new, old in zip(model.get_weights(), weights, strict=True)]
        results.append([outputs, *steps])
    for expected, found in zip(*results, strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == "float32" else 0.02)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_attention_is_that_of_keras(dtype):
    """Values and gradients, of all weights, in training."""
    own = MultiHeadAttention(2, 3, dtype=dtype)
    theirs = keras.layers.MultiHeadAttention(2, 3, dtype=dtype)
    x = draw([(7, 4)])[0]
    tolerance = {"float32": {"rtol": 1e-4, "atol": 1e-5}}.get(dtype, {"rtol": 0.05, "atol": 0.02})
    rng = np.random.default_rng(1)
    results = []
    for layer in (theirs, own):
        inputs = keras.Input((7, 4))
        model = keras.Model(inputs, layer(inputs, inputs))
        if not results:
            weights = [rng.normal(size=weight.shape) for weight in model.weights]
        model.set_weights(weights)
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
        [loss] = model.fit(x, 0 * x, batch_size=len(x), epochs=1, verbose=0).history["loss"]
        steps = [new - old for new, old in zip(model.get_weights(), weights, strict=True)]
        results.append([loss, *steps])
    # Loss, then queries, keys, values and outputs, and the biases of each.
    for number, (expected, found) in enumerate(zip(*results, strict=True)):
        assert number == 4 or np.abs(expected).max() > 0.01  # softmax does not see biases of keys
        np.testing.assert_allclose(found, expected, **tolerance)
