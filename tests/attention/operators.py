"""The operator library under test, inputs for it and the error measure."""

import os
from pathlib import Path

import torch

_LIBRARY = "model/attention/liblongwave_attention.so"
torch.ops.load_library(str(Path(os.environ["LONGWAVE_BUILD_DIR"]) / _LIBRARY))

attend = torch.ops.longwave.rpe_attention
attend_2d = torch.ops.longwave.rpe_attention_2d
plan = torch.ops.longwave.plan_attention
RelativeBias = torch.classes.longwave.RelativeBias

HEADS, DIM, VALUE_DIM, FEATURES = 2, 8, 5, 6


def inputs(*leading, seed=0, features=FEATURES, heads=HEADS, dim=DIM, value_dim=VALUE_DIM, shared=False):
    """q, k [*leading, heads, dim], v [*leading, heads, value_dim] and W, standard normal float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    q, k = normal(*leading, heads, dim), normal(*leading, heads, dim)
    v = normal(*leading, heads, value_dim) * torch.logspace(-2, 2, value_dim)  # channels of very different size
    return q, k, v, normal(features, dim) if shared else normal(heads, features, dim)


def distances(length):
    return torch.arange(-(length - 1), length, dtype=torch.float32).expand(HEADS, -1)


def noise(length, sigma, seed=0):
    return sigma * torch.randn(HEADS, 2 * length - 1, generator=torch.Generator().manual_seed(seed))


def alibi(length):
    return -distances(length).abs() * torch.tensor([[0.25], [0.01]])


def one_sided(length, value):
    """value for keys to the right of the query, noise elsewhere."""
    return torch.where(distances(length) > 0, torch.tensor(value), noise(length, 0.5))


def peak(length, height):
    return torch.where(distances(length) == 0, torch.tensor(height), torch.tensor(0.0)).contiguous()


def error(out, expected, v):
    """The largest |out - expected| / max|v| over sequence, head and channel: tensors [batch, n, heads, channels]."""
    if out.numel() == 0:
        return 0.0
    scale = v.double().abs().amax(1)
    return ((out.double() - expected).abs().amax(1) / scale).nan_to_num(nan=float("inf")).max().item()


def doubles(*tensors):
    return [t.double() for t in tensors]
