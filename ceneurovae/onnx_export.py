"""The ONNX half of an export: conversion under TensorFlow, and ONNX Runtime to run it."""

import logging

OPSET = 18


def write_onnx(functions, folder):
    """Writes `encode.onnx`, `decode.onnx`, `reconstruct.onnx` and `impute.onnx`.

    Args:
        functions: Those of `model.functions()`, each a `tf.function` with an input signature.
        folder: Where to write.
    """
    import onnx

    models = {
        name: _convert(function) for name, function in functions.items() if name != "reconstruct"
    }
    models["reconstruct"] = _chain(models["encode"], models["decode"])
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")


def _convert(function):
    import tf2onnx

    from ceneurovae.onnx_operations import converters

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it tells each step
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers=converters(),
    )
    return model


def _chain(encode, decode):
    """`decode` of the means of `encode`, which takes less time than converting it all again."""
    from onnx import compose, helper

    decode = compose.add_prefix(decode, "decode/")
    both = compose.merge_models(encode, decode, io_map=[("mu", "decode/z")])
    # Its own `outputs=` loses what only a branch or a loop uses.
    (reconstruction,) = (output for output in both.graph.output if output.name != "logvar")
    prefixed, reconstruction.name = reconstruction.name, reconstruction.name.split("/")[-1]
    both.graph.node.append(helper.make_node("Identity", [prefixed], [reconstruction.name]))
    del both.graph.output[:]
    both.graph.output.append(reconstruction)
    return both


def load_onnx(folder):
    """A function that runs one of the files, by name, on an array."""
    import onnxruntime

    sessions = {}

    def run(name, values):
        if name not in sessions:
            sessions[name] = onnxruntime.InferenceSession(
                str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
            )
        session = sessions[name]
        names = [output.name for output in session.get_outputs()]
        outputs = session.run(names, {session.get_inputs()[0].name: values})
        return dict(zip(names, outputs, strict=True))

    return run
