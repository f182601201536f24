"""Variational autoencoders of neural activity and behaviour, from HDF5 to trusted latents.

Names are imported when they are first used: reading files does not wait for TensorFlow.
"""

import importlib

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
    "export": ("export_saved_model", "export_onnx"),
    "simulation": ("simulate_worms",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ceneurovae' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ceneurovae.{_HOME_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *__all__])
