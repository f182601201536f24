"""The Keras layers and the model built of them."""

from ceneurovae.model.augmentation import Augmentation
from ceneurovae.model.backbones import (
    ConvBackbone,
    GRUBackbone,
    LSTMBackbone,
    TransformerBackbone,
)
from ceneurovae.model.decoder import Decoder
from ceneurovae.model.encoder import Encoder
from ceneurovae.model.hiding import Hiding
from ceneurovae.model.linear_path import LinearPath
from ceneurovae.model.loss import (
    kl_divergence,
    kl_objective,
    log_factorial,
    loss_bernoulli,
    loss_gaussian,
    loss_huber,
    loss_mse,
    loss_poisson,
)
from ceneurovae.model.mlp import MLP
from ceneurovae.model.positional_encoding import PositionalEncoding
from ceneurovae.model.residual import ResidualGaussian
from ceneurovae.model.sampling import Sampling
from ceneurovae.model.scaler import ChannelScaler
from ceneurovae.model.vae import VAE, NeuroBehaviorVAE, VAEOutput

__all__ = [
    "MLP",
    "VAE",
    "Augmentation",
    "ChannelScaler",
    "ConvBackbone",
    "Decoder",
    "Encoder",
    "GRUBackbone",
    "Hiding",
    "LSTMBackbone",
    "LinearPath",
    "NeuroBehaviorVAE",
    "PositionalEncoding",
    "ResidualGaussian",
    "Sampling",
    "TransformerBackbone",
    "VAEOutput",
    "kl_divergence",
    "kl_objective",
    "log_factorial",
    "loss_bernoulli",
    "loss_gaussian",
    "loss_huber",
    "loss_mse",
    "loss_poisson",
]
