"""The decoder of a model as a list of operations that `decoder.js` carries out in a page.

An operation makes one matrix, at last the window, of another. It is a dictionary of its name, `op`,
and its arguments. A weight is `[offset, size, step]`: that part of one array of whole numbers,
times `step`. `sum` adds up what several lists of operations make of the same matrix. Dropout is
left out, and all is computed in single precision or better, whatever the precision of the training.
"""

from typing import Any

import keras
import numpy as np

from ceneurovae.hints import JSON, Array, Tensor
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.backbones import ConvBackbone, GRUBackbone, LSTMBackbone, TransformerBackbone
from ceneurovae.model.decoder import Decoder, SequenceWriter
from ceneurovae.model.likelihood import (
    LEAST_MEAN,
    LOG_RATE_LIMIT,
    LOGIT_LIMIT,
    BernoulliLikelihood,
    GaussianLikelihood,
    HuberLikelihood,
    Likelihood,
    PoissonLikelihood,
)
from ceneurovae.model.linear_path import LinearPath
from ceneurovae.model.mlp import CLIP, MLP
from ceneurovae.model.scaler import ChannelScaler

# Weights are whole numbers of 24 bits: their error is at most 6e-8 of the largest of their matrix.
LARGEST = 2**23 - 1


class UnknownLayerError(ValueError):
    """A model has a layer for which there is no operation."""


def describe_decoder(model: NeuroBehaviorVAE) -> tuple[list[JSON], Array]:
    """The program of `model.decode`: latents `(1, Z)` -> window `(T, C)` in raw units.

    Args:
        model: `NeuroBehaviorVAE`, built.

    Returns:
        `(program, weights)`: the list of operations, of JSON types, and int32 of 24 bits.

    Raises:
        UnknownLayerError: if the decoder, or the likelihood, is not of the kinds of this package.
    """
    weights = _Weights()
    program = _decoder(model.decoder, model.config.latent_dim, weights)
    program += _expectation(model.likelihood, model.scaler)
    return program, weights.joined()


class _Weights:
    """Arrays one behind another."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.size = 0

    def add(self, array: Tensor) -> list[float]:
        array = _numpy(array).astype("float64").ravel()
        step = float(np.abs(array).max(initial=0.0)) / LARGEST or 1.0
        place = [self.size, array.size, step]
        self.arrays.append(np.rint(array / step).astype("int32"))
        self.size += array.size
        return place

    def joined(self) -> Array:
        return np.concatenate(self.arrays)


def _decoder(decoder: Decoder, latents: int, weights: _Weights) -> list[JSON]:
    if type(decoder) is not Decoder:
        raise _unknown(decoder)
    path, gain = decoder.linear, float(_numpy(decoder.gain))
    deviations = _numpy(path.expectation(np.ones((1, latents), "float32")))[0]
    on_scores = isinstance(decoder.network, MLP)
    if not gain:
        return [_scale(deviations, weights), *_inverse(path, len(deviations), weights)]
    if on_scores:
        gain *= float(np.sqrt(np.mean(_numpy(path.variances))))
        beyond = path.components - len(deviations)
        linear = [_scale(np.pad(deviations, (0, beyond)), weights)]
        network = [*_mlp(decoder.network, weights), {"op": "times", "factor": gain}]
        return [_sum(linear, network), *_inverse(path, path.components, weights)]
    linear = [_scale(deviations, weights), *_inverse(path, len(deviations), weights)]
    if isinstance(decoder.network, keras.layers.Dense):
        network = [_dense(decoder.network, weights), _reshape(decoder.channels)]
    else:
        network = _sequence(decoder.network, weights)
    return [_sum(linear, [*network, {"op": "times", "factor": gain}])]


def _inverse(path: LinearPath, scores: int, weights: _Weights) -> list[JSON]:
    """`(1, scores)` -> `(T, C)`, as `LinearPath.inverse`."""
    return [
        {"op": "dense", "kernel": weights.add(_numpy(path.mixing)[:scores])},
        _reshape(path.channel_components),
        {"op": "dense", "kernel": weights.add(path.channel_basis)},
        {"op": "mixRows", "rows": path.seq_len, "matrix": weights.add(path.time_basis.T)},
    ]


def _mlp(network: MLP, weights: _Weights) -> list[JSON]:
    layers = [*network.hidden, network.readout]
    return [{"op": "limit", "at": CLIP}, *(_dense(layer, weights) for layer in layers)]


def _sequence(network: Any, weights: _Weights) -> list[JSON]:
    if type(network) is not SequenceWriter:
        raise _unknown(network)
    hidden = network.settings["hidden_dim"]
    origin = np.zeros((1, network.seq_len, hidden), "float32")
    time_courses = network.time_courses(network.position(origin))
    return [
        _dense(network.project, weights),
        {"op": "timesTable", "table": weights.add(_numpy(time_courses))},
        *_body(network.body, network.seq_len, weights),
        _dense(network.readout, weights),
    ]


def _body(body: Any, steps: int, weights: _Weights) -> list[JSON]:
    if type(body) is ConvBackbone:
        return [_sum([], [_convolution(layer, weights)]) for layer in body.convolutions]
    if type(body) in (GRUBackbone, LSTMBackbone):
        name = "gru" if type(body) is GRUBackbone else "lstm"
        return [_recurrence(name, layer, weights) for layer in body.recurrences]
    if type(body) is TransformerBackbone:
        return _transformer(body, steps, weights)
    raise _unknown(body)


def _convolution(layer: Any, weights: _Weights) -> JSON:
    return {
        "op": "convolution",
        "kernel": weights.add(layer.kernel),
        "bias": weights.add(layer.bias),
        "size": layer.kernel_size[0],
        "dilation": layer.dilation_rate[0],
        "activation": _activation(layer),
    }


def _recurrence(name: str, layer: Any, weights: _Weights) -> JSON:
    cell = layer.cell
    return {
        "op": name,
        "kernel": weights.add(cell.kernel),
        "recurrent": weights.add(cell.recurrent_kernel),
        "bias": weights.add(cell.bias),
    }


def _transformer(body: TransformerBackbone, steps: int, weights: _Weights) -> list[JSON]:
    origin = np.zeros((1, steps, body.hidden_dim), "float32")
    program = [{"op": "plusTable", "table": weights.add(body.position(origin))}]
    for attention_norm, attention, feed_forward_norm, expansion, contraction in zip(
        body.attention_norms,
        body.attentions,
        body.feed_forward_norms,
        body.expansions,
        body.contractions,
        strict=True,
    ):
        program += [
            _sum([], [_norm(attention_norm, weights), _attention(attention, weights)]),
            _sum(
                [],
                [
                    _norm(feed_forward_norm, weights),
                    _dense(expansion, weights),
                    _dense(contraction, weights),
                ],
            ),
        ]
    return [*program, _norm(body.final_norm, weights)]


def _norm(layer: Any, weights: _Weights) -> JSON:
    return {
        "op": "norm",
        "gamma": weights.add(layer.gamma),
        "beta": weights.add(layer.beta),
        "epsilon": layer.epsilon,
    }


def _attention(layer: Any, weights: _Weights) -> JSON:
    parts = {
        "query": layer.query_dense,
        "key": layer.key_dense,
        "value": layer.value_dense,
        "output": layer.output_dense,
    }
    dense = {
        name: {"kernel": weights.add(part.kernel), "bias": weights.add(part.bias)}
        for name, part in parts.items()
    }
    return {"op": "attention", "heads": layer.query_dense.kernel.shape[1], **dense}


def _dense(layer: Any, weights: _Weights) -> JSON:
    return {
        "op": "dense",
        "kernel": weights.add(layer.kernel),
        "bias": weights.add(layer.bias),
        "activation": _activation(layer),
    }


def _activation(layer: Any) -> str:
    name = keras.activations.serialize(layer.activation)
    if name not in ("linear", "silu", "gelu"):
        raise _unknown(layer)
    return name


def _scale(factors: Array, weights: _Weights) -> JSON:
    """`(1, n)` -> `(1, m)`: each column times its factor, 0 where there is none."""
    return {"op": "scale", "factors": weights.add(factors)}


def _reshape(columns: int) -> JSON:
    return {"op": "reshape", "columns": columns}


def _sum(*terms: list[JSON]) -> JSON:
    return {"op": "sum", "terms": list(terms)}


def _expectation(likelihood: Likelihood, scaler: ChannelScaler) -> list[JSON]:
    """Scaled -> raw units. Means and scales are numbers of the program, which stay exact."""
    mean, std = _numpy(scaler.mean).astype("float64"), _numpy(scaler.std).astype("float64")
    if type(likelihood) in (Likelihood, GaussianLikelihood, HuberLikelihood):
        return [_affine(std, mean)]
    if type(likelihood) is PoissonLikelihood:
        mean = np.maximum(mean, LEAST_MEAN)
        link = {"op": "link", "function": "exp", "limit": LOG_RATE_LIMIT}
        return [_affine(std / mean, np.log(mean)), link]
    if type(likelihood) is BernoulliLikelihood:
        mean = np.clip(mean, LEAST_MEAN, 1 - LEAST_MEAN)
        link = {"op": "link", "function": "sigmoid", "limit": LOGIT_LIMIT}
        return [_affine(1 / std, np.log(mean) - np.log1p(-mean)), link]
    raise _unknown(likelihood)


def _affine(factors: Array, offsets: Array) -> JSON:
    return {"op": "affine", "factors": factors.tolist(), "offsets": offsets.tolist()}


def _numpy(tensor: Tensor) -> Array:
    return keras.ops.convert_to_numpy(tensor)


def _unknown(layer: Any) -> UnknownLayerError:
    return UnknownLayerError(
        f"There is no operation for {type(layer).__name__} '{layer.name}', so the decoder cannot "
        "be written as a program. Expected the decoder and likelihoods of this package."
    )
