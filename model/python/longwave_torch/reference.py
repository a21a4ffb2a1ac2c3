"""Kernelized attention with relative positional encoding, dense, straight from the formula.

For every sequence and head, with x = q or k after `prepare` (Luo et al., arXiv 2106.12566,
equations 4, 5, 6 and 10):

    out_i = sum_j w_ij v_j / sum_j w_ij,    w_ij = exp(b[j - i]) (phi(q_i) . phi(k_j))

These functions define what every other implementation in this project is judged against. They
compute in the dtype of `q` (float64 for parity tests), take memory for one [n, n] matrix at a time,
and are differentiable, but slow.
"""

from typing import NamedTuple

import torch
from torch import Tensor

NORM_EPS = 1e-12


def rpe_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    projection: Tensor,
    bias: Tensor,
    *,
    cu_seqlens: Tensor | None = None,
    feature_map: str = "prf",
    normalize: bool = True,
    scale: float = 1.0,
    causal: bool = False,
) -> Tensor:
    """Attention over sequences of tokens.

    q, k: [batch, n, heads, head_dim], or packed [tokens, heads, head_dim] with `cu_seqlens`
    [sequences + 1], the offsets of the sequences. v: the same with its own head size. projection:
    W, [m, head_dim] or [heads, m, head_dim]. bias: raw b, [heads, 2L-1], ascending in t = j - i
    from -(L-1) to L-1; a larger distance takes the edge value; -inf forbids a distance. Returns the
    shape and dtype of v. Raises ValueError naming the argument that cannot be used.
    """
    packed = cu_seqlens is not None
    _check_inputs(q, k, v, projection, packed)
    _check_bias(bias, q.shape[-2], 2)
    if not packed:
        n = q.shape[1]
        table = _bias_1d(bias, n, causal)
        return _map_sequences(
            q, k, v, lambda *x: _attend(*x, projection, table, feature_map, normalize, scale)
        )

    offsets = cu_seqlens.tolist()
    if offsets[0] != 0 or offsets[-1] != q.shape[0] or offsets != sorted(offsets):
        raise ValueError(f"cu_seqlens: must ascend from 0 to {q.shape[0]} tokens, found {offsets}")
    out = torch.empty_like(v)
    for begin, end in zip(offsets, offsets[1:]):
        part = slice(begin, end)
        table = _bias_1d(bias, end - begin, causal)
        out[part] = _attend(
            q[part], k[part], v[part], projection, table, feature_map, normalize, scale
        )
    return out


def rpe_attention_2d(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    projection: Tensor,
    bias: Tensor,
    grid: tuple[int, int],
    *,
    feature_map: str = "prf",
    normalize: bool = True,
    scale: float = 1.0,
) -> Tensor:
    """Attention over row-major grids (images).

    As rpe_attention with n = grid[0] * grid[1] (height, width) and bias [heads, 2H-1, 2W-1]: the
    entry at [dy + H-1, dx + W-1] belongs to dy = y_j - y_i, dx = x_j - x_i; beyond the table the
    edge value holds.
    """
    _check_inputs(q, k, v, projection, packed=False)
    _check_bias(bias, q.shape[-2], 3)
    height, width = grid
    if height * width != q.shape[1]:
        raise ValueError(f"grid: {height} x {width} does not make the {q.shape[1]} tokens of q")
    table = _bias_2d(bias, height, width)
    return _map_sequences(
        q, k, v, lambda *x: _attend(*x, projection, table, feature_map, normalize, scale)
    )


class _Table(NamedTuple):
    """b for every pair (i, j) of one sequence."""

    bias: Tensor  # [heads, entries]
    index: Tensor  # [n, n]: which entry
    allowed: Tensor | None  # [n, n]

    def head(self, h: int, like: Tensor) -> Tensor:
        pairs = self.bias[h].to(like)[self.index]
        return pairs if self.allowed is None else pairs.masked_fill(~self.allowed, -torch.inf)


def _bias_1d(bias: Tensor, n: int, causal: bool) -> _Table:
    reach = bias.shape[-1] // 2
    position = torch.arange(n, device=bias.device)
    t = position[None, :] - position[:, None]
    return _Table(bias, t.clamp(-reach, reach) + reach, t <= 0 if causal else None)


def _bias_2d(bias: Tensor, height: int, width: int) -> _Table:
    reach_y, reach_x = bias.shape[-2] // 2, bias.shape[-1] // 2
    position = torch.arange(height * width, device=bias.device)
    y, x = position // width, position % width
    dy = (y[None, :] - y[:, None]).clamp(-reach_y, reach_y) + reach_y
    dx = (x[None, :] - x[:, None]).clamp(-reach_x, reach_x) + reach_x
    return _Table(bias.flatten(1), dy * bias.shape[-1] + dx, None)


def _map_sequences(q: Tensor, k: Tensor, v: Tensor, attend) -> Tensor:
    rows = [attend(q[b], k[b], v[b]) for b in range(q.shape[0])]
    return torch.stack(rows) if rows else torch.empty_like(v)


def _attend(q, k, v, projection, table, feature_map, normalize, scale) -> Tensor:
    """One sequence: q, k [n, heads, d], v [n, heads, d_v]."""
    if q.shape[0] == 0:
        return torch.empty_like(v)
    q, k = prepare(q, normalize, scale), prepare(k, normalize, scale)
    heads = []
    for h in range(q.shape[1]):
        w = (projection if projection.dim() == 2 else projection[h]).to(q)
        phi_q, log_q = features(q[:, h], w, feature_map)
        phi_k, log_k = features(k[:, h], w, feature_map)
        # A factor per query, and one for all keys, cancel in the quotient; so do 1/sqrt(m) and the
        # largest b of a row.
        phi_k = phi_k * (log_k - log_k.max()).exp()
        b = table.head(h, like=q)
        weights = (b - b.max(dim=1, keepdim=True).values).exp() * (phi_q @ phi_k.T)
        heads.append(weights.to(v.dtype) @ v[:, h] / weights.sum(dim=1, keepdim=True).to(v.dtype))
    return torch.stack(heads, dim=1)


def prepare(x: Tensor, normalize: bool, scale: float) -> Tensor:
    """x := scale * x / max(|x|, 1e-12) over the last dimension, or scale * x."""
    return scale * x / x.norm(dim=-1, keepdim=True).clamp_min(NORM_EPS) if normalize else scale * x


def features(x: Tensor, w: Tensor, feature_map: str) -> tuple[Tensor, Tensor]:
    """phi(x) sqrt(m) = first * exp(second), the first of moderate size.

    x [..., n, d], w [..., m, d] -> [..., n, m or 2m], [..., n, 1].

    prf: exp(W x - |x|^2/2). trf: exp(|x|^2/2) [sin W x, cos W x].
    """
    half_square = x.square().sum(dim=-1, keepdim=True) / 2
    wx = x @ w.mT
    if feature_map == "prf":
        largest = wx.max(dim=-1, keepdim=True).values
        return (wx - largest).exp(), largest - half_square
    if feature_map == "trf":
        return torch.cat([wx.sin(), wx.cos()], dim=-1), half_square
    raise ValueError(f'feature_map: found "{feature_map}", expected "prf" or "trf"')


def _check_inputs(q: Tensor, k: Tensor, v: Tensor, projection: Tensor, packed: bool) -> None:
    rank = 3 if packed else 4
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dim() != rank:
            raise ValueError(
                f"{name}: found shape {list(tensor.shape)}, expected {rank} dimensions"
            )
        if tensor.shape[:-1] != q.shape[:-1]:
            raise ValueError(
                f"{name}: found shape {list(tensor.shape)}, "
                f"expected {list(q.shape[:-1])} before the head size"
            )
    heads, dim = q.shape[-2:]
    if k.shape[-1] != dim:
        raise ValueError(f"k: found head size {k.shape[-1]}, expected q's {dim}")
    if (
        projection.dim() not in (2, 3)
        or projection.shape[-1] != dim
        or (projection.dim() == 3 and len(projection) != heads)
    ):
        raise ValueError(
            f"projection: found {list(projection.shape)}, "
            f"expected [m, {dim}] or [{heads}, m, {dim}]"
        )


def _check_bias(bias: Tensor, heads: int, rank: int) -> None:
    if bias.dim() != rank or len(bias) != heads or any(size % 2 == 0 for size in bias.shape[1:]):
        raise ValueError(
            f"bias: found {list(bias.shape)}, "
            f"expected {heads} heads and odd sizes in {rank} dimensions"
        )
    if bool((bias.isnan() | (bias == torch.inf)).any()):
        raise ValueError("bias: NaN and +inf are not allowed")
    middle = bias[(slice(None), *(size // 2 for size in bias.shape[1:]))]
    if bool((middle == -torch.inf).any()):
        raise ValueError("bias: -inf at distance 0 is not allowed")
