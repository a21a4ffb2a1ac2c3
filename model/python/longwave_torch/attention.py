"""Trainable kernelized attention with relative positional encoding: quadratic for short, linear for
long sequences.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from longwave_torch import reference
from longwave_torch.config import AttentionConfig

# Up to this length all pairs at once are as fast on a GPU as the blocks below, and need no multiple
# of the block size.
DENSE_LENGTH = 512


class Attention(nn.Module):
    """Multi-head self-attention, x [batch, n, E] -> [batch, n, E]. Parameters are named as in
    docs/model-format.md.

    `projection` [heads, m, d] is a buffer: the weights adapt to the draw they were trained with. Of
    layers that share their projection or bias, the tensors live in SharedTables and are passed to
    forward.
    """

    def __init__(self, hidden_size: int, heads: int, config: AttentionConfig):
        super().__init__()
        self.config = config
        self.heads = heads
        for name in ("q", "k", "v", "out"):
            self.add_module(name, nn.Linear(hidden_size, hidden_size))
        if not config.shared_projection:
            self.register_buffer(
                "projection", draw_projection(heads, config.num_features, hidden_size // heads)
            )
        if not config.shared_bias:
            self.relative_bias = nn.Parameter(torch.zeros(heads, 2 * config.max_distance - 1))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, shared: "SharedTables | None" = None
    ) -> Tensor:
        """mask [batch, n]: True where there is a token; the others are seen by nobody."""
        c = self.config
        projection = shared.projection if c.shared_projection else self.projection
        bias = shared.relative_bias if c.shared_bias else self.relative_bias
        q, k, v = (
            getattr(self, name)(x).unflatten(-1, (self.heads, -1)) for name in ("q", "k", "v")
        )
        out = rpe_attention(
            q, k, v, projection, bias,
            feature_map=c.feature_map, normalize=c.normalize, scale=c.scale, causal=c.causal,
            mask=mask,
        )  # fmt: skip
        return self.out(out.flatten(-2))


class SharedTables(nn.Module):
    """What all layers have in common when the config says so."""

    def __init__(self, hidden_size: int, heads: int, config: AttentionConfig):
        super().__init__()
        if config.shared_projection:
            self.register_buffer(
                "projection", draw_projection(heads, config.num_features, hidden_size // heads)
            )
        if config.shared_bias:
            self.relative_bias = nn.Parameter(torch.zeros(heads, 2 * config.max_distance - 1))


def draw_projection(heads: int, features: int, dim: int) -> Tensor:
    """Rows of norm sqrt(dim), orthogonal in groups of `dim`: a lower variance than independent
    normal rows (ORF).
    """
    groups = -(-features // dim)
    rotations, _ = torch.linalg.qr(torch.randn(heads, groups, dim, dim))
    return (rotations.flatten(1, 2)[:, :features] * dim**0.5).contiguous()


def rpe_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    projection: Tensor,
    bias: Tensor,
    *,
    feature_map: str = "prf",
    normalize: bool = True,
    scale: float = 1.0,
    causal: bool = False,
    mask: Tensor | None = None,
    dense_length: int = DENSE_LENGTH,
) -> Tensor:
    """reference.rpe_attention for [batch, n, heads, d], differentiable and fast enough to train
    with.

    mask [batch, n] is False at padding, whose keys get no weight; the rows of padded queries hold
    no meaning. Beyond `dense_length` the work grows as n * reach where the table's reach is far
    below n. Unlike the reference, entries of b are taken relative to the largest one of the whole
    table: in float32 they may lie about 80 apart.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [batch, heads, n, d]
    phi_q, _ = reference.features(reference.prepare(q, normalize, scale), projection, feature_map)
    phi_k, log_k = reference.features(
        reference.prepare(k, normalize, scale), projection, feature_map
    )
    if mask is not None:
        log_k = log_k.masked_fill(~mask[:, None, :, None], -torch.inf)
    largest = log_k.detach().amax(dim=-2, keepdim=True)  # one factor for all keys cancels
    phi_k = phi_k * (log_k - largest.clamp_min(torch.finfo(largest.dtype).min)).exp()
    # The last column sums the weights: numerator and denominator come from one product.
    v_one = functional.pad(v, (0, 1), value=1.0)

    n, reach = q.shape[-2], bias.shape[-1] // 2
    if n <= dense_length or n <= 4 * reach:
        sums = _all_pairs(phi_q, phi_k, v_one, _weights(bias, n - 1, n - 1, causal))
    else:
        sums = _near_and_far(phi_q, phi_k, v_one, bias, max(reach, 16), causal)
    return (sums[..., :-1] / sums[..., -1:]).to(v.dtype).transpose(1, 2)


def _weights(bias: Tensor, before: int, after: int, causal: bool) -> Tensor:
    """exp(b) for t from -before to after, [heads, before + after + 1], divided by its largest
    value.
    """
    reach = bias.shape[-1] // 2
    table = bias[:, max(0, reach - before) : reach + 1 + after]
    left, right = max(0, before - reach), max(0, after - reach)
    table = torch.cat(
        [table[:, :1].expand(-1, left), table, table[:, -1:].expand(-1, right)], dim=1
    )
    if causal:
        table = table.masked_fill(
            torch.arange(-before, after + 1, device=bias.device) > 0, -torch.inf
        )
    return (table - table.detach().amax(dim=1, keepdim=True)).exp()


def _toeplitz(weights: Tensor, rows: int) -> Tensor:
    """[heads, rows + width - 1] -> [heads, rows, width]: row i starts at entry rows - 1 - i."""
    return weights.unfold(-1, weights.shape[-1] - rows + 1, 1).flip(1)


def _all_pairs(phi_q: Tensor, phi_k: Tensor, v_one: Tensor, weights: Tensor) -> Tensor:
    pairs = phi_q @ phi_k.mT
    return (pairs * _toeplitz(weights, phi_q.shape[-2]).to(pairs.dtype)) @ v_one


def _near_and_far(
    phi_q: Tensor, phi_k: Tensor, v_one: Tensor, bias: Tensor, block: int, causal: bool
) -> Tensor:
    """Blocks of at least the table's reach. A query sees its own block and both neighbours pair by
    pair; all that lies further has an edge weight, so sums of phi(k) v^T over whole blocks serve
    it. They are built from both ends, never as differences, since these would lose digits as n
    grows.
    """
    n = phi_q.shape[-2]
    count = -(-n // block)
    phi_q, phi_k, v_one = (
        functional.pad(x, (0, 0, 0, count * block - n)).unflatten(-2, (count, block))
        for x in (phi_q, phi_k, v_one)
    )

    def neighbours(x: Tensor) -> Tensor:  # [..., count, block, d] -> [..., count, 3 block, d]
        padded = functional.pad(x, (0, 0, 0, 0, 1, 1))
        return torch.cat([padded[..., :-2, :, :], x, padded[..., 2:, :, :]], dim=-2)

    weights = _weights(bias, 2 * block - 1, 2 * block - 1, causal)
    near = phi_q @ neighbours(phi_k).mT
    # t runs from -block - i to 2 block - 1 - i in row i of a block.
    near = (near * _toeplitz(weights, block).unsqueeze(1).to(near.dtype)) @ neighbours(v_one)

    states = phi_k.mT @ v_one  # [..., count, m, d_v + 1]
    far = weights[:, 0, None, None, None] * _sum_before(states)
    if not causal:
        far = far + weights[:, -1, None, None, None] * _sum_before(states.flip(-3)).flip(-3)
    return (near + phi_q @ far.to(phi_q.dtype)).flatten(-3, -2)[..., :n, :]


def _sum_before(states: Tensor) -> Tensor:
    """Entry I: the sum of entries 0 to I - 2, that is of the blocks before the left neighbour."""
    return functional.pad(states.cumsum(dim=-3), (0, 0, 0, 0, 2, 0))[..., :-2, :, :]
