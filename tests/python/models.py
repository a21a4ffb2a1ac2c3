"""Small models with random weights, one of each architecture that the format allows."""

import dataclasses

import torch

from longwave_torch.config import AttentionConfig, EncoderConfig, HeadConfig, TokenizerConfig
from longwave_torch.encoder import LongwaveModel

_ATTENTION = AttentionConfig(feature_map="prf", num_features=24, normalize=True, max_distance=33)
_BASE = EncoderConfig(
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=80,
    norm_position="pre",
    vocab_size=260,
    max_length=4096,
    attention=_ATTENTION,
    tokenizer=TokenizerConfig(type="byte", prefix_ids=(256,)),
    heads=(HeadConfig(name="kind", labels=("a", "b", "c")),),
)


def _attention(**changes) -> dict:
    return {"attention": dataclasses.replace(_ATTENTION, **changes)}


_VARIANTS = {
    "pre_norm": {},
    "post_norm": {"norm_position": "post", "embedding_norm": None},
    "post_norm_plain_embeddings": {"norm_position": "post", "embedding_norm": False},
    "pre_norm_with_embedding_norm": {"embedding_norm": True},
    "gelu_tanh": {"hidden_act": "gelu_tanh", "layer_norm_eps": 1e-12},
    "positions": {"max_position_embeddings": 700, "max_length": 600},
    "no_layers": {"num_hidden_layers": 0},
    "causal": _attention(causal=True),
    "not_normalized": _attention(normalize=False, scale=0.6),
    "scaled": _attention(scale=1.6),
    # Many features and short vectors keep the denominators, which may be signed, away from zero.
    "trf": _attention(feature_map="trf", num_features=96, scale=0.5),
    "shared_tables": _attention(shared_projection=True, shared_bias=True),
    "shared_bias": _attention(shared_bias=True),
    "two_heads": {
        "heads": (
            HeadConfig(name="dense", labels=("x", "y"), pooling="first_token", dense=True),
            HeadConfig(name="plain", labels=tuple("pqrst")),
        )
    },
    "no_heads": {"heads": (), "tasks": None},
    "plain_ids": {"tokenizer": TokenizerConfig(type="ids"), "vocab_size": 1000},
}
VARIANTS = list(_VARIANTS)


def random_model(variant: str) -> LongwaveModel:
    """Every weight is drawn afresh, LayerNorms and biases too, so that a tensor that is left out
    shows.
    """
    torch.manual_seed(VARIANTS.index(variant) + 100)
    model = LongwaveModel(dataclasses.replace(_BASE, **_VARIANTS[variant])).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith("projection"):
            continue
        if "norm" in name and name.endswith("weight"):
            tensor.copy_(1 + 0.2 * torch.randn_like(tensor))
        elif name.endswith("relative_bias"):
            tensor.copy_(1.5 * torch.randn_like(tensor))
        else:
            tensor.copy_(
                torch.randn_like(tensor) * (tensor.shape[-1] ** -0.5 if tensor.dim() > 1 else 0.2)
            )
    return model
