"""The trainable attention against the float64 reference."""

import pytest
import torch

from longwave_torch import attention, reference

LENGTHS = [*range(1, 20), 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000]


def error(out, q, k, v, w, bias, **options):
    """|o~ - o| / max|v| over the sequence, per head and channel: the largest."""
    expected = reference.rpe_attention(
        q.double(), k.double(), v.double(), w.double(), bias, **options
    )
    return float(((out - expected).abs() / v.abs().amax(dim=1, keepdim=True)).max())


def random_inputs(n, seed, batch=2, heads=3, dim=16, features=24):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(batch, n, heads, dim) for _ in range(3))
    return q, k, v, attention.draw_projection(heads, features, dim)


def tables(heads, reach, seed):
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(-reach, reach + 1).float()
    one_side = torch.randn(heads, 2 * reach + 1, generator=g)
    one_side[:, reach + 1 :] = -torch.inf
    return {
        "noise": 3 * torch.randn(heads, 2 * reach + 1, generator=g),
        "alibi": -t.abs() * torch.tensor([0.5, 0.1, 0.02])[:heads, None],
        "plateau": torch.where(t.abs() < 5, 0.0, -2.0).expand(heads, -1),
        "one_side": one_side,
    }


@pytest.mark.parametrize("dense_length", [0, 4096], ids=["blocks", "dense"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["noise", "alibi", "plateau", "one_side"])
def test_equals_reference(name, causal, dense_length):
    bias = tables(3, 20, seed=11)[name]
    for n in LENGTHS:
        inputs = random_inputs(n, seed=n)
        out = attention.rpe_attention(*inputs, bias, causal=causal, dense_length=dense_length)
        assert error(out, *inputs, bias, causal=causal) < 1e-5, n


@pytest.mark.parametrize("dense_length", [0, 4096], ids=["blocks", "dense"])
def test_long_sequence_with_trained_reach(dense_length):
    inputs, bias = random_inputs(4096, seed=5, batch=1, heads=1), torch.randn(1, 257)
    out = attention.rpe_attention(*inputs, bias, dense_length=dense_length)
    assert error(out, *inputs, bias) < 1e-5


@pytest.mark.parametrize(
    "options", [dict(feature_map="trf"), dict(normalize=False, scale=0.7), dict(scale=1.8)]
)
@pytest.mark.parametrize("dense_length", [0, 4096], ids=["blocks", "dense"])
def test_other_maps(options, dense_length):
    # With trf a denominator may come close to zero; a strong diagonal keeps it away from there.
    q, _, v, w = random_inputs(200, seed=6)
    bias = torch.zeros(3, 41)
    bias[:, 20] = 8.0 if options.get("feature_map") == "trf" else 0.0
    out = attention.rpe_attention(q, q, v, w, bias, dense_length=dense_length, **options)
    assert error(out, q, q, v, w, bias, **options) < 1e-5


@pytest.mark.parametrize("dense_length", [0, 4096], ids=["blocks", "dense"])
def test_padding_changes_nothing(dense_length):
    q, k, v, w = random_inputs(300, seed=7)
    bias = torch.randn(3, 41)
    lengths = [300, 137]
    mask = torch.arange(300) < torch.tensor(lengths)[:, None]
    out = attention.rpe_attention(q, k, v, w, bias, mask=mask, dense_length=dense_length)
    for row, n in enumerate(lengths):
        alone = [x[row : row + 1, :n] for x in (q, k, v)]
        assert error(out[row : row + 1, :n], *alone, w, bias) < 1e-5


@pytest.mark.parametrize("dense_length", [0, 4096], ids=["blocks", "dense"])
def test_gradients_equal_the_reference(dense_length):
    leaves = [
        x.double().requires_grad_() for x in (*random_inputs(150, seed=8), torch.randn(3, 41))
    ]
    out = attention.rpe_attention(*leaves, dense_length=dense_length)
    probe = torch.randn_like(out)
    found = torch.autograd.grad((out * probe).sum(), leaves)
    expected = torch.autograd.grad((reference.rpe_attention(*leaves) * probe).sum(), leaves)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_projection_rows_are_orthogonal_and_of_norm_root_d():
    w = attention.draw_projection(2, 16, 16)
    torch.testing.assert_close(w @ w.mT, 16 * torch.eye(16).expand(2, -1, -1), rtol=0, atol=1e-4)
