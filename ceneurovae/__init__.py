"""Variational autoencoders of neural activity and behaviour, from HDF5 to trusted latents.

Names are imported when they are first used: reading files does not wait for TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the names are, for type checkers
    from ceneurovae.annealing import KLAnnealing as KLAnnealing
    from ceneurovae.annealing import cyclical_kl_schedule as cyclical_kl_schedule
    from ceneurovae.annealing import linear_kl_schedule as linear_kl_schedule
    from ceneurovae.annealing import sigmoid_kl_schedule as sigmoid_kl_schedule
    from ceneurovae.annealing import step_kl_schedule as step_kl_schedule
    from ceneurovae.config import VAEConfig as VAEConfig
    from ceneurovae.decoding import decode_labels as decode_labels
    from ceneurovae.evaluation import evaluate as evaluate
    from ceneurovae.export import export_onnx as export_onnx
    from ceneurovae.export import export_saved_model as export_saved_model
    from ceneurovae.hypermodel import VAEHyperModel as VAEHyperModel
    from ceneurovae.import_data import import_h5 as import_h5
    from ceneurovae.model import VAE as VAE
    from ceneurovae.model import ChannelScaler as ChannelScaler
    from ceneurovae.model import Decoder as Decoder
    from ceneurovae.model import Encoder as Encoder
    from ceneurovae.model import NeuroBehaviorVAE as NeuroBehaviorVAE
    from ceneurovae.model import PositionalEncoding as PositionalEncoding
    from ceneurovae.model import Sampling as Sampling
    from ceneurovae.model import kl_divergence as kl_divergence
    from ceneurovae.model import loss_bernoulli as loss_bernoulli
    from ceneurovae.model import loss_gaussian as loss_gaussian
    from ceneurovae.model import loss_huber as loss_huber
    from ceneurovae.model import loss_mse as loss_mse
    from ceneurovae.model import loss_poisson as loss_poisson
    from ceneurovae.null_models import null_control as null_control
    from ceneurovae.ray_tuning import tune_population as tune_population
    from ceneurovae.reproducibility import seed_agreement as seed_agreement
    from ceneurovae.simulation import simulate_worms as simulate_worms
    from ceneurovae.splits import split_datasets as split_datasets
    from ceneurovae.training import train as train
    from ceneurovae.tuning import tune as tune

__version__ = "0.1.0"

_HOMES = {
    "config": ("VAEConfig",),
    "model": (
        "NeuroBehaviorVAE",
        "VAE",
        "Encoder",
        "Decoder",
        "PositionalEncoding",
        "ChannelScaler",
        "Sampling",
        "loss_mse",
        "loss_huber",
        "loss_gaussian",
        "loss_poisson",
        "loss_bernoulli",
        "kl_divergence",
    ),
    "training": ("train",),
    "hypermodel": ("VAEHyperModel",),
    "tuning": ("tune",),
    "ray_tuning": ("tune_population",),
    "import_data": ("import_h5",),
    "splits": ("split_datasets",),
    "annealing": (
        "KLAnnealing",
        "linear_kl_schedule",
        "step_kl_schedule",
        "cyclical_kl_schedule",
        "sigmoid_kl_schedule",
    ),
    "evaluation": ("evaluate",),
    "null_models": ("null_control",),
    "decoding": ("decode_labels",),
    "reproducibility": ("seed_agreement",),
    "export": ("export_saved_model", "export_onnx"),
    "simulation": ("simulate_worms",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ceneurovae' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ceneurovae.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
