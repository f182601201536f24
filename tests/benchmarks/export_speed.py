"""Speed of inference: Keras, an exported SavedModel, and ONNX Runtime.

    KERAS_BACKEND=tensorflow python tests/benchmarks/export_speed.py

Prints milliseconds per call (median over turns) and windows per second, for one window, 32 and
1024. `predict` and `encode` are the methods of the model; `encode`, `reconstruct` of SavedModel and
ONNX the exports. Two floors: the network of `encode` in NumPy, without NaN and refinement, and an
ONNX Runtime session that only multiplies the window by a matrix, which is what a call costs at
least. All take turns in one run.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from ceneurovae import NeuroBehaviorVAE, VAEConfig, export_onnx, export_saved_model

SEQ_LEN, CHANNELS, LATENTS = 100, 3, 32


def make_model(config):
    """A model with random weights, adapted to random windows."""
    rng = np.random.default_rng(0)
    model = NeuroBehaviorVAE(config)
    model.adapt(rng.normal(size=(256, SEQ_LEN, CHANNELS)).astype("float32"))
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(scale=0.02, size=weight.shape))
    return model


def bare_session():
    """An ONNX Runtime session that multiplies windows by one matrix."""
    helper = onnx.helper
    weights = np.ones((SEQ_LEN * CHANNELS, LATENTS), "float32")
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, SEQ_LEN * CHANNELS])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, LATENTS])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "floor",
        [x],
        [y],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def numpy_floor(model):
    """The matrix products of the encoder of a model with the backbone mlp, in NumPy."""
    path = model.encoder.linear
    basis, channels, mixing = (
        np.asarray(keras.ops.convert_to_numpy(part))
        for part in (path.time_basis, path.channel_basis, path.mixing)
    )
    layers = [*model.encoder.network.hidden, model.encoder.network.readout]
    weights = [[keras.ops.convert_to_numpy(w) for w in layer.weights] for layer in layers]

    def encode(x):
        features = basis @ (x @ channels.T)
        scores = features.reshape(len(x), -1) @ mixing.T
        hidden = np.concatenate([scores, np.zeros_like(scores)], axis=1)
        for kernel, bias in weights:
            hidden = hidden @ kernel + bias
        return hidden

    return encode


def make_functions(model, folder):
    """What is timed, by name: functions of windows."""
    export_saved_model(model, folder / "saved")
    export_onnx(model, folder / "onnx")
    saved = tf.saved_model.load(str(folder / "saved"))
    sessions = {
        name: onnxruntime.InferenceSession(
            str(folder / "onnx" / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        for name in ("encode", "reconstruct")
    }
    floor = bare_session()

    def call_saved(name):
        signature = saved.signatures[name]
        return lambda x: next(iter(signature(x=tf.constant(x)).values())).numpy()

    functions = {
        "predict": lambda x: model.predict(x, batch_size=len(x), verbose=0),
        "encode": lambda x: model.encode(x, batch_size=len(x)),
        "SavedModel, reconstruct": call_saved("serving_default"),
        "SavedModel, encode": call_saved("encode"),
        "ONNX, reconstruct": lambda x: sessions["reconstruct"].run(None, {"x": x}),
        "ONNX, encode": lambda x: sessions["encode"].run(None, {"x": x}),
        "ONNX Runtime, one product": lambda x: floor.run(None, {"x": x.reshape(len(x), -1)}),
    }
    if model.config.backbone == "mlp":
        functions["NumPy, network of encode"] = numpy_floor(model)
    return functions


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="mlp")
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--encoder-steps", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 32, 1024])
    parser.add_argument("--turns", type=int, default=15)
    arguments = parser.parse_args()
    config = VAEConfig(
        seq_len=SEQ_LEN,
        channels=CHANNELS,
        latent_dim=LATENTS,
        hidden_dim=arguments.hidden_dim,
        backbone=arguments.backbone,
        encoder_steps=arguments.encoder_steps,
    )
    model = make_model(config)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        functions = make_functions(model, Path(folder))
        print(f"{keras.backend.backend()}, {arguments.backbone}, ms per call and windows per s")
        head = "".join(f"{f'B={size}':>20}" for size in arguments.sizes)
        print(f"{'':<28}{head}", flush=True)
        times = {name: [] for name in functions}
        for size in arguments.sizes:
            x = rng.normal(size=(size, SEQ_LEN, CHANNELS)).astype("float32")
            x[rng.random(x.shape) < 0.05] = np.nan
            rows = {name: [] for name in functions}
            for turn in range(arguments.turns + 1):
                for name, function in functions.items():
                    start = time.perf_counter()
                    function(x)
                    if turn:  # the first one compiles
                        rows[name].append(time.perf_counter() - start)
            for name, row in rows.items():
                times[name].append((size, statistics.median(row)))
        for name, row in times.items():
            cells = "".join(f"{1e3 * t:>10.2f}{size / t:>10.0f}" for size, t in row)
            print(f"{name:<28}{cells}")


if __name__ == "__main__":
    main()
