"""The trainable attention against the float64 reference."""

import pytest
import torch

from longwave_torch import attention, reference

LENGTHS = [*range(1, 71), 127, 128, 129, 255, 256, 257, 1000]
DENSE = 1 << 20  # a dense_length that no test exceeds


def expected_output(q, k, v, w, bias, **options):
    return reference.rpe_attention(q.double(), k.double(), v.double(), w.double(), bias, **options)


def error_per_head(out, expected, v):
    """|o~ - o| / max|v| over the sequence, per channel: the largest of each head."""
    errors = (out - expected).abs() / v.abs().amax(dim=1, keepdim=True)
    return errors.amax(dim=(0, 1, 3))


def error(out, q, k, v, w, bias, **options):
    return float(error_per_head(out, expected_output(q, k, v, w, bias, **options), v).max())


def random_inputs(n, seed, batch=2, heads=3, dim=16, features=24):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(batch, n, heads, dim) for _ in range(3))
    return q, k, v, attention.draw_projection(heads, features, dim)


TABLES = ["noise", "steep ALiBi", "flat ALiBi", "plateau", "-inf ahead", "-inf behind"]


def tables(reach, seed):
    """One head for each of TABLES: [6, 2 reach + 1]."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(-reach, reach + 1).float()
    noise, ahead, behind = torch.randn(3, 2 * reach + 1, generator=g)
    return torch.stack(
        [
            3 * noise,
            -0.5 * t.abs(),
            -0.02 * t.abs(),
            torch.where(t.abs() < 5, 0.0, -2.0),
            ahead.masked_fill(t > 0, -torch.inf),
            behind.masked_fill(t < 0, -torch.inf),
        ]
    )


def check_tables(n, causal, dense_lengths, reach):
    bias = tables(reach, seed=11)
    inputs = random_inputs(n, seed=n, batch=1, heads=len(TABLES), dim=8, features=12)
    expected = expected_output(*inputs, bias, causal=causal)
    for dense_length in dense_lengths:
        out = attention.rpe_attention(*inputs, bias, causal=causal, dense_length=dense_length)
        for table, found in zip(TABLES, error_per_head(out, expected, inputs[2])):
            assert found < 1e-5, f"{table}, {n} tokens, all pairs up to {dense_length}"


@pytest.mark.parametrize("causal", [False, True])
def test_equals_reference(causal):
    for n in LENGTHS:
        check_tables(n, causal, dense_lengths=[0, DENSE], reach=20)


@pytest.mark.parametrize("causal", [False, True])
def test_long_sequence_equals_reference(causal):
    check_tables(4096, causal, dense_lengths=[0], reach=128)


def test_packed_reference_equals_modules_per_sequence():
    lengths = [5, 0, 1, 70, 600]  # the modules take the last one in blocks
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    q, k, v, w = random_inputs(sum(lengths), seed=9, batch=1)
    bias = torch.randn(3, 41)
    packed = reference.rpe_attention(
        q[0].double(), k[0].double(), v[0].double(), w.double(), bias, cu_seqlens=offsets
    )
    for begin, end in zip(offsets[:-1], offsets[1:]):
        if begin == end:
            continue
        alone = [x[:, begin:end] for x in (q, k, v)]
        out = attention.rpe_attention(*alone, w, bias)
        assert error_per_head(out, packed[None, begin:end], alone[2]).max() < 1e-5, end - begin


@pytest.mark.parametrize(
    "options", [dict(feature_map="trf"), dict(normalize=False, scale=0.7), dict(scale=1.8)]
)
@pytest.mark.parametrize("dense_length", [0, DENSE], ids=["blocks", "dense"])
def test_other_maps(options, dense_length):
    # With trf a denominator may come close to zero; a strong diagonal keeps it away from there.
    q, _, v, w = random_inputs(200, seed=6)
    bias = torch.zeros(3, 41)
    bias[:, 20] = 8.0 if options.get("feature_map") == "trf" else 0.0
    out = attention.rpe_attention(q, q, v, w, bias, dense_length=dense_length, **options)
    assert error(out, q, q, v, w, bias, **options) < 1e-5


@pytest.mark.parametrize("dense_length", [0, DENSE], ids=["blocks", "dense"])
def test_padding_changes_nothing(dense_length):
    q, k, v, w = random_inputs(300, seed=7)
    bias = torch.randn(3, 41)
    lengths = [300, 137]
    mask = torch.arange(300) < torch.tensor(lengths)[:, None]
    out = attention.rpe_attention(q, k, v, w, bias, mask=mask, dense_length=dense_length)
    for row, n in enumerate(lengths):
        alone = [x[row : row + 1, :n] for x in (q, k, v)]
        assert error(out[row : row + 1, :n], *alone, w, bias) < 1e-5


@pytest.mark.parametrize("dense_length", [0, DENSE], ids=["blocks", "dense"])
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
