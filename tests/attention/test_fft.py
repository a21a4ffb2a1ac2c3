"""The FFT keeps the promise where its rounding errors would show, or says that it would not be an FFT any more."""

import pytest
import torch
from longwave_torch import reference
from operators import attend, doubles, error, inputs
from tables import HEADS, decay, distances, noise, put
from tolerances import PROMISE, ROUNDING


def split_at(length, edge, near, far):
    """near(t) for t > edge, far(t) for the others, whatever side edge lies on."""
    return torch.where(distances(length) > edge, near, far).expand(HEADS, -1).contiguous()


N = 1100
TABLES = {
    # Rows whose weights are all small beside other rows'.
    "one-sided": split_at(N, 0, torch.tensor(-20.0), noise(N, 0.5)),
    "one-sided, flat": split_at(N, 0, torch.tensor(-20.0), torch.tensor(0.0)),
    "forbidden beyond a window": torch.where(distances(N).abs() > 500, -torch.inf, noise(N, 1)).contiguous(),
    # Single weights that dwarf all others: in the near band, at its edge, far away, more than there are diagonals.
    "peak": put(noise(N, 0), [(0, 12.0)]),
    "peaks at the edge of the near band": put(noise(N, 1), [(t, 12.0) for t in (-129, -128, -127, 127, 128, 129, 192)]),
    "spikes": put(noise(N, 0.5), [(-1099, 15.0), (-700, 9.0), (450, 20.0), (1099, 11.0)]),
    "many spikes": put(noise(N, 0.5), [(t, 8.0 + t % 5) for t in range(-1090, 1090, 47)]),
    "decays to below float32": decay(N, [0.63, 0.75]).float().contiguous(),
    "noise 3": noise(N, 3),
    "noise 5": noise(N, 5),
}
OPTIONS = {
    "normalised": {},
    "scaled": {"scale": 2.4},
    "not normalised": {"normalize": False},
    "causal": {"causal": True},
    "causal, scaled": {"causal": True, "scale": 2.4},
}


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("table", TABLES)
def test_keeps_the_promise(table, options):
    q, k, v, w = inputs(1, N)
    expected = reference.rpe_attention(*doubles(q, k, v, w, TABLES[table]), **OPTIONS[options])
    out = attend(q, k, v, w, TABLES[table], algorithm="fft", **OPTIONS[options])
    assert error(out, expected, v) <= ROUNDING[torch.float32]


@pytest.mark.parametrize("n", [1, 63, 64, 65, 127, 128, 129, 130, 191, 192, 193, 194, 255, 256, 257, 269, 270, 271, 320, 321, 1023, 1024, 1025])
@pytest.mark.parametrize("causal", [False, True])
def test_lengths_around_tiles_and_transforms(n, causal):
    # Transforms begin with the first distance beyond 128 and have 2^a 3^b 5^c 7^d points; chunks are of 64 tokens.
    for table in (noise(n, 3), split_at(n, 0, torch.tensor(-20.0), noise(n, 1)), noise(max(1, n // 2), 1)):
        q, k, v, w = inputs(2, n, seed=n)
        expected = reference.rpe_attention(*doubles(q, k, v, w, table), causal=causal)
        assert error(attend(q, k, v, w, table, algorithm="fft", causal=causal), expected, v) <= ROUNDING[torch.float32]


@pytest.mark.parametrize("sigma", [1, 3])
def test_causal_noise_at_length(sigma):
    n = 8192
    q, k, v, w = inputs(1, n, heads=1, features=6, value_dim=3)
    bias = noise(n, sigma)[:1].contiguous()
    expected = attend(*doubles(q, k, v), w, bias, algorithm="reference", causal=True)
    assert error(attend(q, k, v, w, bias, algorithm="fft", causal=True), expected, v) <= ROUNDING[torch.float32]


# Nine tenths of the rows have weights of e^-24 beside the others.
MOSTLY_SMALL = split_at(N, -990, torch.tensor(-24.0) + noise(N, 1), noise(N, 0.5))


def test_refuses_where_most_rows_are_small():
    q, k, v, w = inputs(1, N)
    with pytest.raises(ValueError, match='algorithm: "fft" would miss the promised accuracy in .* of 1100 rows of head'):
        attend(q, k, v, w, MOSTLY_SMALL, algorithm="fft")
    expected = reference.rpe_attention(*doubles(q, k, v, w, MOSTLY_SMALL))
    for algorithm in ("auto", "direct"):
        assert error(attend(q, k, v, w, MOSTLY_SMALL, algorithm=algorithm), expected, v) <= PROMISE[torch.float32]


def test_accepts_where_half_precision_hides_it():
    # An error of 1e-4 matters in float32 and not in bfloat16.
    bias = split_at(N, -990, torch.tensor(-12.0) + noise(N, 1), noise(N, 0.5))
    q, k, v, w = inputs(1, N)
    with pytest.raises(ValueError, match="would miss the promised accuracy"):
        attend(q, k, v, w, bias, algorithm="fft")
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    expected = reference.rpe_attention(*doubles(q, k, v, w, bias))
    assert error(attend(q, k, v, w, bias, algorithm="fft"), expected, v) <= PROMISE[torch.bfloat16]
