"""The reference against sums written out term by term, and its properties."""

import math

import pytest
import torch

from longwave_torch import reference


def random_inputs(batch, n, heads, dim, value_dim, features, seed):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    return (
        normal(batch, n, heads, dim),
        normal(batch, n, heads, dim),
        normal(batch, n, heads, value_dim),
        normal(heads, features, dim),
        normal,
    )


def phi(x, w, feature_map):
    """Equations 4 and 5 as they stand."""
    half = sum(float(c) ** 2 for c in x) / 2
    dots = [float(row @ x) for row in w]
    if feature_map == "prf":
        return [math.exp(dot - half) / math.sqrt(len(dots)) for dot in dots]
    waves = [math.sin(dot) for dot in dots] + [math.cos(dot) for dot in dots]
    return [math.exp(half) / math.sqrt(len(dots)) * wave for wave in waves]


def term_by_term(q, k, v, w, log_weight, feature_map, normalize, scale):
    """One sequence and head; log_weight(i, j) is b, or None where j may not be seen."""
    change = lambda x: scale * x / max(float(x.norm()), 1e-12) if normalize else scale * x
    rows = []
    for i in range(len(q)):
        total, weighted = 0.0, torch.zeros(v.shape[-1], dtype=torch.float64)
        for j in range(len(k)):
            b = log_weight(i, j)
            if b is None:
                continue
            dot = sum(
                a * c
                for a, c in zip(
                    phi(change(q[i]), w, feature_map), phi(change(k[j]), w, feature_map)
                )
            )
            total += math.exp(b) * dot
            weighted += math.exp(b) * dot * v[j]
        rows.append(weighted / total)
    return torch.stack(rows)


@pytest.mark.parametrize("feature_map", ["prf", "trf"])
@pytest.mark.parametrize("normalize,scale", [(True, 1.0), (True, 1.7), (False, 0.8)])
@pytest.mark.parametrize("causal", [False, True])
def test_sequence_is_the_formula(feature_map, normalize, scale, causal):
    q, k, v, w, normal = random_inputs(2, 9, 3, 4, 5, 6, seed=1)
    bias = normal(3, 7)  # reaches 3, so distances 4 to 8 take the edge
    out = reference.rpe_attention(
        q, k, v, w, bias, feature_map=feature_map, normalize=normalize, scale=scale, causal=causal
    )
    for b in range(2):
        for h in range(3):
            log_weight = lambda i, j: (
                None if causal and j > i else float(bias[h, max(-3, min(3, j - i)) + 3])
            )
            expected = term_by_term(
                q[b, :, h], k[b, :, h], v[b, :, h], w[h], log_weight, feature_map, normalize, scale
            )
            torch.testing.assert_close(out[b, :, h], expected, rtol=1e-11, atol=1e-11)


def test_grid_is_the_formula():
    q, k, v, w, normal = random_inputs(1, 12, 2, 4, 3, 5, seed=2)
    bias = normal(2, 3, 5)  # reaches dy = 1, dx = 2 on a grid of 4 x 3
    out = reference.rpe_attention_2d(q, k, v, w[0], bias, (4, 3))

    def log_weight(i, j):
        dy, dx = j // 3 - i // 3, j % 3 - i % 3
        return float(bias[h, max(-1, min(1, dy)) + 1, max(-2, min(2, dx)) + 2])

    for h in range(2):
        expected = term_by_term(
            q[0, :, h], k[0, :, h], v[0, :, h], w[0], log_weight, "prf", True, 1.0
        )
        torch.testing.assert_close(out[0, :, h], expected, rtol=1e-11, atol=1e-11)


def test_packed_equals_single():
    lengths = [3, 0, 1, 8]
    q, k, v, w, normal = random_inputs(1, sum(lengths), 2, 4, 4, 6, seed=3)
    bias = normal(2, 9)
    cu_seqlens = torch.tensor([0, 3, 3, 4, 12], dtype=torch.int32)
    out = reference.rpe_attention(q[0], k[0], v[0], w, bias, cu_seqlens=cu_seqlens)
    single = [
        reference.rpe_attention(*(x[:, a:b] for x in (q, k, v)), w, bias)[0]
        for a, b in [(0, 3), (3, 4), (4, 12)]
    ]
    torch.testing.assert_close(out, torch.cat(single), rtol=0, atol=0)


def test_forbidden_distance_is_not_seen():
    q, k, v, w, normal = random_inputs(1, 6, 1, 4, 4, 6, seed=4)
    bias = normal(1, 5)
    bias[0, 3:] = -torch.inf  # t = 1 and beyond: the same as causal
    expected = reference.rpe_attention(q, k, v, w, bias, causal=True)
    torch.testing.assert_close(reference.rpe_attention(q, k, v, w, bias), expected, rtol=0, atol=0)


def test_large_unnormalised_inputs_do_not_overflow():
    q, k, v, w, normal = random_inputs(1, 20, 1, 8, 4, 16, seed=5)
    out = reference.rpe_attention(30 * q, 30 * k, v, w, normal(1, 9), normalize=False)
    assert out.isfinite().all()
    assert (out.abs() <= v.abs().amax(dim=1, keepdim=True) + 1e-12).all()


def test_empty_batch_and_sequence():
    w, bias = torch.randn(6, 4), torch.randn(2, 9)
    for shape in [(0, 5, 2, 4), (3, 0, 2, 4)]:
        q = torch.randn(*shape)
        assert reference.rpe_attention(q, q, q, w, bias).shape == shape


@pytest.mark.parametrize(
    "name,change",
    [
        ("k", lambda a: a.update(k=torch.randn(1, 4, 2, 4))),
        ("v", lambda a: a.update(v=torch.randn(5, 2, 4))),
        ("projection", lambda a: a.update(projection=torch.randn(6, 3))),
        ("bias", lambda a: a.update(bias=torch.randn(2, 8))),
        (
            "bias",
            lambda a: a["bias"].index_put_(
                (torch.tensor(0), torch.tensor(1)), torch.tensor(torch.nan)
            ),
        ),
        (
            "bias",
            lambda a: a["bias"].index_put_(
                (torch.tensor(0), torch.tensor(4)), torch.tensor(-torch.inf)
            ),
        ),
        (
            "cu_seqlens",
            lambda a: a.update(
                q=a["q"][0], k=a["k"][0], v=a["v"][0], cu_seqlens=torch.tensor([0, 4])
            ),
        ),
        ("feature_map", lambda a: a.update(feature_map="relu")),
    ],
)
def test_wrong_argument_is_named(name, change):
    x = torch.randn(1, 5, 2, 4)
    arguments = dict(q=x, k=x, v=x, projection=torch.randn(6, 4), bias=torch.randn(2, 9))
    change(arguments)
    with pytest.raises(ValueError, match=f"^{name}:"):
        reference.rpe_attention(**arguments)
