"""The encoder: embeddings, layers, pooling, heads. The state_dict's names are those of
docs/model-format.md.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from longwave_torch.attention import Attention, SharedTables
from longwave_torch.config import EncoderConfig, HeadConfig


class LongwaveModel(nn.Module):
    """An encoder with its classification heads: everything that one model folder holds."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.heads = nn.ModuleDict(
            {head.name: Head(config.hidden_size, head) for head in config.heads}
        )

    def encode(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        pooling: str | None = None,
        normalize: bool = False,
    ) -> Tensor:
        """ids [batch, n] -> [batch, E], or [batch, n, E] with pooling "none". mask [batch, n] is
        False at padding, which comes last. `normalize` divides every row by its L2 norm.
        """
        rows = pool(self.encoder(ids, mask), mask, pooling or self.config.pooling)
        return functional.normalize(rows, dim=-1) if normalize else rows

    def logits(self, ids: Tensor, mask: Tensor | None = None, head: str | None = None) -> Tensor:
        """ids [batch, n] -> [batch, labels], of the named head or the first one."""
        chosen = self.heads[head or self.config.heads[0].name]
        return chosen(pool(self.encoder(ids, mask), mask, chosen.pooling))


class Encoder(nn.Module):
    """Token ids [batch, n] -> one vector per token [batch, n, E]."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.embeddings = Embeddings(config)
        if config.attention.shared_projection or config.attention.shared_bias:
            self.attention = SharedTables(size, heads, config.attention)
        else:
            self.attention = None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = _norm(config) if config.norm_position == "pre" else nn.Identity()

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.embeddings(ids)
        for layer in self.layers:
            x = layer(x, mask, self.attention)
        return self.final_norm(x)


class Embeddings(nn.Module):
    def __init__(self, config: EncoderConfig):
        super().__init__()
        size = config.hidden_size
        self.token = nn.Embedding(config.vocab_size, size)
        self.position = (
            nn.Embedding(config.max_position_embeddings, size)
            if config.max_position_embeddings
            else None
        )
        self.norm = _norm(config) if config.embedding_norm else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token(ids)
        if self.position is not None:
            x = x + self.position.weight[: ids.shape[1]]
        return self.norm(x)


class Layer(nn.Module):
    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.pre_norm = config.norm_position == "pre"
        self.attention = Attention(config.hidden_size, config.num_attention_heads, config.attention)
        self.attention_norm = _norm(config)
        self.mlp = Mlp(config)
        self.mlp_norm = _norm(config)

    def forward(self, x: Tensor, mask: Tensor | None, shared: SharedTables | None) -> Tensor:
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), mask, shared)
            return x + self.mlp(self.mlp_norm(x))
        x = self.attention_norm(x + self.attention(x, mask, shared))
        return self.mlp_norm(x + self.mlp(x))


class Mlp(nn.Module):
    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.add_module("in", nn.Linear(config.hidden_size, config.intermediate_size))
        self.add_module("out", nn.Linear(config.intermediate_size, config.hidden_size))
        self.approximate = "tanh" if config.hidden_act == "gelu_tanh" else "none"

    def forward(self, x: Tensor) -> Tensor:
        return self.out(functional.gelu(getattr(self, "in")(x), approximate=self.approximate))


class Head(nn.Module):
    """A classifier of a pooled vector: [batch, E] -> [batch, labels], before the softmax."""

    def __init__(self, hidden_size: int, config: HeadConfig):
        super().__init__()
        self.pooling = config.pooling
        self.dense = nn.Linear(hidden_size, hidden_size) if config.dense else None
        self.out = nn.Linear(hidden_size, len(config.labels))

    def forward(self, pooled: Tensor) -> Tensor:
        return self.out(pooled if self.dense is None else torch.tanh(self.dense(pooled)))


def pool(tokens: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """[batch, n, E] -> [batch, E]; "none" leaves the tokens as they are."""
    if pooling == "none":
        return tokens
    if pooling == "first_token":
        return tokens[:, 0]
    if mask is None:
        return tokens.mean(dim=1)
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


def _norm(config: EncoderConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
