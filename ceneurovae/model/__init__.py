"""The Keras layers and the model built of them."""

from ceneurovae.model.backbones import ConvBackbone, GRUBackbone, TransformerBackbone
from ceneurovae.model.decoder import Decoder
from ceneurovae.model.encoder import Encoder
from ceneurovae.model.loss import kl_divergence, loss_huber, loss_mse
from ceneurovae.model.positional_encoding import PositionalEncoding
from ceneurovae.model.sampling import Sampling
from ceneurovae.model.scaler import ChannelScaler
from ceneurovae.model.vae import VAE, NeuroBehaviorVAE, VAEOutput

__all__ = [
    "VAE",
    "ChannelScaler",
    "ConvBackbone",
    "Decoder",
    "Encoder",
    "GRUBackbone",
    "NeuroBehaviorVAE",
    "PositionalEncoding",
    "Sampling",
    "TransformerBackbone",
    "VAEOutput",
    "kl_divergence",
    "loss_huber",
    "loss_mse",
]
