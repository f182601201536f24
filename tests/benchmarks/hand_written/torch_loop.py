"""Plain PyTorch, on the GPU if there is one."""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from ceneurovae.model.encoder import SQUEEZED_DIM
from ceneurovae.model.mlp import CLIP
from ceneurovae.model.positional_encoding import sinusoidal_table
from ceneurovae.recipe import LARGEST_GRADIENT, LEFT, RISING, WEIGHT_DECAY
from hand_written import LEARNING_RATE, projection

KERNEL_SIZE = 3


def make_loops(config, batches, steps):
    """See `hand_written.make_loops`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = (VAEOnScores if config.backbone == "mlp" else VAEOnSequences)(config).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), LEARNING_RATE, eps=1e-7, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    tensors = [torch.tensor(batch, device=device) for batch in batches]

    def epoch():
        for x in tensors:
            optimizer.zero_grad()
            network.loss(x).backward()
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return {"torch": epoch}, sum(p.numel() for p in network.parameters())


def _share(step, steps):
    """Of the highest learning rate."""
    rising = min(RISING, steps // 10)
    if step < rising:
        return step / rising
    fallen = min(1.0, (step - rising) / max(1, steps - rising))
    return LEFT + (1 - LEFT) * 0.5 * (1 + math.cos(math.pi * fallen))


class VAE(nn.Module):
    """What both kinds of networks share: the loss, squared error and KL divergence."""

    def loss(self, x):
        observed = ~torch.isnan(x)
        x = torch.where(observed, x, 0.0)
        mu, logvar = self.encode(x, observed.float()).chunk(2, -1)
        logvar = logvar.clip(-10, 10)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        error = torch.where(observed, self.decode(z) - x, 0.0)
        kl = -0.5 * (1 + logvar - mu**2 - torch.exp(logvar)).sum(-1)
        return (error.square().sum((1, 2)) + kl).mean()


class VAEOnScores(VAE):
    """Fully connected, on scores of components."""

    def __init__(self, config):
        super().__init__()
        self.register_buffer("components", torch.tensor(projection(config)))
        count = self.components.shape[1]
        self.shape = config.seq_len, config.channels
        self.reader = MLP(config, 2 * count, 2 * config.latent_dim)
        self.writer = MLP(config, config.latent_dim, count)

    def encode(self, x, observed):
        gaps = (1.0 - observed).flatten(1) @ self.components
        return self.reader(torch.cat([x.flatten(1) @ self.components, gaps], -1))

    def decode(self, z):
        return (self.writer(z) @ self.components.T).unflatten(1, self.shape)


class MLP(nn.Module):
    """Hidden layers with SiLU and dropout, on inputs that are limited softly."""

    def __init__(self, config, inputs, outputs):
        super().__init__()
        sizes = [inputs, *config.num_layers * [config.hidden_dim]]
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.readout = nn.Linear(config.hidden_dim, outputs)
        self.dropout = config.dropout

    def forward(self, x):
        x = x / torch.sqrt(1 + (x / CLIP) ** 2)
        for layer in self.hidden:
            x = functional.dropout(functional.silu(layer(x)), self.dropout)
        return self.readout(x)


class VAEOnSequences(VAE):
    """A body over time in the encoder, and one in the decoder."""

    def __init__(self, config):
        super().__init__()
        width, channels, latents = config.hidden_dim, config.channels, config.latent_dim
        body = {"conv": Convolutions, "gru": Recurrences, "transformer": Transformer}[
            config.backbone
        ]
        self.project, self.read = nn.Linear(2 * channels, width), body(config)
        self.squeeze = nn.Linear(width, SQUEEZED_DIM)
        self.posterior = nn.Linear(config.seq_len * SQUEEZED_DIM, 2 * latents)
        self.expand, self.write = nn.Linear(latents, width), body(config)
        self.time_courses = nn.Linear(width, width)
        self.readout = nn.Linear(width, channels)
        self.register_buffer("table", torch.tensor(sinusoidal_table(config.seq_len, width)))

    def encode(self, x, observed):
        hidden = self.read(self.project(torch.cat([x, observed], -1)))
        return self.posterior(self.squeeze(hidden).flatten(1))

    def decode(self, z):
        hidden = self.expand(z)[:, None] * self.time_courses(self.table)
        return self.readout(self.write(hidden))


class Convolutions(nn.Module):
    """Residual convolutions whose dilation doubles."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_dim
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL_SIZE, dilation=2**i, padding="same")
            for i in range(config.num_layers)
        )
        self.dropout = config.dropout

    def forward(self, x):
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = x + functional.dropout(functional.silu(layer(x)), self.dropout)
        return x.transpose(1, 2)


class Recurrences(nn.Module):
    """Gated recurrent units."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_dim
        self.layers = nn.ModuleList(
            nn.GRU(width, width, batch_first=True) for _ in range(config.num_layers)
        )
        self.dropout = config.dropout

    def forward(self, x):
        for layer in self.layers:
            x = functional.dropout(layer(x)[0], self.dropout)
        return x


class Transformer(nn.Module):
    """Self-attention with the layer norm first."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_dim
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("table", torch.tensor(sinusoidal_table(config.seq_len, width)))

    def forward(self, x):
        x = x + self.table
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Block(nn.Module):
    """Attention and a feed-forward layer, each with dropout at its end."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_dim
        self.heads, self.dropout = config.num_heads, config.dropout
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.inputs, self.outputs = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def attend(self, x):
        parts = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts)
        return self.outputs(attended.transpose(1, 2).flatten(2))

    def forward(self, x):
        x = x + functional.dropout(self.attend(self.attention_norm(x)), self.dropout)
        return x + functional.dropout(self.feed_forward(x), self.dropout)
