"""Every algorithm against the float64 formula in Python."""

import pytest
import torch
from longwave_torch import reference
from operators import RelativeBias, attend, attend_2d, doubles, error, inputs, keep_promise_or_refuse, row_errors, trf_condition
from tables import decay, noise, one_sided, put
from tolerances import PROMISE

ALIBI = [0.25, 0.01]
LENGTHS = [*range(1, 71), 127, 128, 129, 255, 256, 257, 1000]
TABLES = {
    "plateau": lambda n: noise(max(1, n // 3), 1),  # the table ends before the sequence does
    "noise1": lambda n: noise(n, 1),
    "noise3": lambda n: noise(n, 3),
    "alibi": lambda n: decay(n, ALIBI),
    "forbidden": lambda n: one_sided(noise(n, 0.5), -torch.inf),
}


@pytest.fixture(autouse=True)
def inference():
    """One thread, as most problems here are tiny; tests of long ones ask for more."""
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(2)


def check_all(q, k, v, w, bias, *, algorithms=("direct", "auto", "fft"), **options):
    """Judges the algorithms by the Python reference."""
    bias = bias.float().contiguous()
    expected = reference.rpe_attention(*doubles(q, k, v, w, bias), **options)
    wide = attend(*doubles(q, k, v), w, bias, algorithm="reference", **options)
    assert error(wide, expected, v) <= PROMISE[torch.float64]
    call = lambda algorithm: attend(q, k, v, w, bias, algorithm=algorithm, **options)
    assert set(keep_promise_or_refuse(call, algorithms, expected, v)) == set(algorithms)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_lengths(table, causal):
    for n in LENGTHS:
        bias = TABLES[table](n)
        check_all(*inputs(1, n, seed=n), bias, causal=causal)


@pytest.mark.parametrize("table, causal", [("noise1", False), ("plateau", False), ("noise3", True), ("forbidden", False)])
def test_long(table, causal):
    torch.set_num_threads(2)
    check_all(*inputs(1, 4096, features=4, value_dim=3), TABLES[table](4096), causal=causal)


@pytest.mark.parametrize("normalize, scale", [(False, 1.0), (True, 2.5), (False, 0.3)])
@pytest.mark.parametrize("causal", [False, True])
def test_scales(normalize, scale, causal):
    for n in (1, 40, 257):
        check_all(*inputs(2, n), noise(n, 1), normalize=normalize, scale=scale, causal=causal)


@pytest.mark.parametrize("bias", [one_sided(noise(300, 0.5), -20.0), one_sided(noise(300, 0.5), -200.0), put(noise(300, 0), [(0, 12.0)])])
def test_tables_of_extreme_range(bias):
    for causal in (False, True):
        check_all(*inputs(1, 300), bias, causal=causal)
        check_all(*inputs(1, 300), bias.flip(1), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
def test_every_row_on_a_scale_of_its_own(causal):
    # The farther, the heavier, by e^100 a token: no common scale serves the rows, so the FFT refuses.
    check_all(*inputs(1, 300), -400 * decay(300, ALIBI), causal=causal, algorithms=("direct", "auto"))


def test_rows_that_underflow_float32():
    # The key that a query could attend to best is forbidden by distance; those in reach are e^-200 of it.
    q, k, v, w = inputs(1, 200)
    k[:, 0] *= 12
    check_all(q, k, v, w, one_sided(noise(200, 0.5), -90.0).flip(1), normalize=False)


def test_zero_vectors():
    q, k, v, w = inputs(1, 30)
    q[:, 3], k[:, 5], v[..., 2] = 0, 0, 0
    expected = reference.rpe_attention(*doubles(q, k, v, w, noise(30, 1)))
    for algorithm in ("direct", "fft"):
        out = attend(q, k, v, w, noise(30, 1), algorithm=algorithm)
        assert out[..., 2].abs().max() == 0
        assert error(out[..., :2], expected[..., :2], v[..., :2]) <= PROMISE[torch.float32]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_trigonometric(normalize, causal):
    options = dict(feature_map="trf", normalize=normalize, causal=causal)
    for n in (1, 17, 300):
        q, k, v, w = inputs(1, n, features=64)
        q, k = 0.3 * q, 0.3 * k
        if normalize:
            w *= 0.3
        for bias in (noise(n, 0.5), decay(n, ALIBI).float().contiguous()):
            attend64 = lambda *x: reference.rpe_attention(*x, *doubles(w, bias), **options)
            expected = attend64(*doubles(q, k, v))
            condition = trf_condition(attend64, q, k, w, normalize)
            wide = attend(*doubles(q, k, v), w, bias, algorithm="reference", **options)
            assert (row_errors(wide, expected, v) <= PROMISE[torch.float64] * condition).all()
            for algorithm in ("direct", "auto"):
                out = attend(q, k, v, w, bias, algorithm=algorithm, **options)
                assert (row_errors(out, expected, v) <= PROMISE[torch.float32] * condition).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    for n in (1, 70, 300):
        q, k, v, w = inputs(2, n)
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        expected = reference.rpe_attention(*doubles(q, k, v, w, noise(n, 1)))
        algorithms = {"direct", "fft", "auto"}
        call = lambda algorithm: attend(q, k, v, w, noise(n, 1), algorithm=algorithm)
        assert set(keep_promise_or_refuse(call, algorithms, expected, v)) == algorithms


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_packed(shared, causal):
    torch.set_num_threads(3)
    lengths = [0, 33, 1, 0, 150, 260, 0]
    offsets = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    q, k, v, w = inputs(sum(lengths), shared=shared)
    bias = noise(100, 1)
    expected = reference.rpe_attention(*doubles(q, k, v, w, bias), cu_seqlens=offsets, causal=causal)
    for algorithm in ("direct", "auto", "reference", "fft"):
        for seqlens in (None, lengths):
            out = attend(q, k, v, w, bias, cu_seqlens=offsets, seqlens=seqlens, causal=causal, algorithm=algorithm)
            for begin, length in zip(offsets, lengths):
                part = slice(begin, begin + length)
                assert error(out[None, part], expected[None, part], v[None, part]) <= PROMISE[torch.float32]


@pytest.mark.parametrize("leading", [(0, 7), (2, 0), (0, 0)])
def test_nothing(leading):
    q, k, v, w = inputs(*leading)
    for algorithm in ("direct", "fft", "auto", "reference"):
        assert attend(q, k, v, w, noise(5, 1), algorithm=algorithm).shape == v.shape
    offsets = torch.zeros(3, dtype=torch.int32)
    q, k, v, w = inputs(0)
    assert attend(q, k, v, w, noise(5, 1), cu_seqlens=offsets).shape == v.shape


def test_strided_inputs():
    # Heads of a fused projection: only the last dimension is contiguous.
    fused = torch.randn(2, 40, 3, 2, 8, generator=torch.Generator().manual_seed(1))
    q, k, v = fused.unbind(2)
    w = inputs(1)[3]
    for algorithm in ("direct", "fft", "auto"):
        out = attend(q, k, v, w, noise(40, 1), algorithm=algorithm)
        dense = attend(q.contiguous(), k.contiguous(), v.contiguous(), w, noise(40, 1), algorithm=algorithm)
        assert torch.equal(out, dense)


def test_prepared_bias_serves_many_calls():
    bias = noise(64, 1)
    prepared = RelativeBias(bias, "prf", False, 0, 1e-5)
    for n in (10, 64, 100):
        for algorithm in ("direct", "fft", "fft"):  # the second time from the cache
            q, k, v, w = inputs(1, n)
            assert torch.equal(attend(q, k, v, w, prepared, algorithm=algorithm), attend(q, k, v, w, bias, algorithm=algorithm))


@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (7, 1), (5, 8), (16, 16), (13, 21)])
@pytest.mark.parametrize("table", [(3, 4), (20, 30)])
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_grid(grid, table, sigma):
    q, k, v, w = inputs(2, grid[0] * grid[1])
    bias = sigma * torch.randn(2, 2 * table[0] - 1, 2 * table[1] - 1, generator=torch.Generator().manual_seed(2))
    expected = reference.rpe_attention_2d(*doubles(q, k, v, w, bias), grid)
    wide = attend_2d(*doubles(q, k, v), w, bias, grid, algorithm="reference")
    assert error(wide, expected, v) <= PROMISE[torch.float64]
    call = lambda algorithm: attend_2d(q, k, v, w, bias, grid, algorithm=algorithm)
    answered = keep_promise_or_refuse(call, ["direct", "fft", "auto"], expected, v, why="would miss the promised accuracy")
    assert sigma > 1 or "fft" in answered


def test_grid_with_forbidden_and_heavy_distances():
    bias = 0.5 * torch.randn(2, 17, 23, generator=torch.Generator().manual_seed(3))
    bias[:, :8], bias[:, :, 12:] = -torch.inf, 60.0
    q, k, v, w = inputs(1, 9 * 12)
    expected = reference.rpe_attention_2d(*doubles(q, k, v, w, bias), (9, 12))
    for algorithm in ("direct", "auto"):
        assert error(attend_2d(q, k, v, w, bias, (9, 12), algorithm=algorithm), expected, v) <= PROMISE[torch.float32]
