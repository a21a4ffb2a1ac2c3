"""Algorithms that take a table apart, at a length where their errors would have added up: some rows against float64."""

import pytest
import torch
import operators
from operators import HEADS, RelativeBias, attend_prepared, exact_rows, plan, stated_bounds
from tables import SMOOTH, TABLES
from tolerances import ROUNDING, ROW_PROMISE

LENGTH = 16384
SIZE = 32  # of a head of q and k, and features
MEANS = (0, 3)  # of parts of v's channels, SIZE each: sums that cancel, and sums that do not


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.cpu
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", ["clipped", "t5 buckets", "piecewise", "alibi", "alibi with floor", "inverse", "log distance"])
def test_rows_of_a_long_sequence_keep_their_certificate(table, causal):
    generator = torch.Generator().manual_seed(11)
    q, k, w = (torch.randn(*shape, SIZE, generator=generator) for shape in [(1, LENGTH, HEADS), (1, LENGTH, HEADS), (SIZE,)])
    v = torch.cat([mean + torch.randn(1, LENGTH, HEADS, SIZE, generator=generator) for mean in MEANS], -1)
    ends = [0, 1, 63, 64, 127, 128, 129]
    rows = torch.tensor([*ends, *(LENGTH - 1 - row for row in ends), *torch.randint(LENGTH, (36,), generator=generator).tolist()])
    bias = TABLES[table](LENGTH)
    expected = exact_rows(q[0], k[0], v[0], w, bias, rows, causal)
    heads = [RelativeBias(bias[head:head + 1], "prf", causal, 0, 1e-5) for head in range(HEADS)]
    bounds = stated_bounds(plan(head, [LENGTH], SIZE, SIZE, "cpu", "float32", 0, projection=w) for head in heads)
    prepared = RelativeBias(bias, "prf", causal, 0, 1e-5)
    answered = set()
    for algorithm in ("structured", "low_rank", "fft", "direct"):
        try:
            out = attend_prepared(q, k, v, w, prepared, algorithm=algorithm, causal=causal)
        except ValueError as refusal:
            assert f'"{algorithm}" finds no' in str(refusal)
            continue
        answered.add(algorithm)
        difference = out[0, rows].double() - expected
        assert (difference.abs() / v[0].abs().amax(0)).max() <= bounds[algorithm] + ROUNDING[torch.float32], algorithm
        for mean, lost, whole in zip(MEANS, difference.split(SIZE, -1), expected.split(SIZE, -1)):
            assert (lost.norm(dim=-1) / whole.norm(dim=-1)).max() <= ROW_PROMISE, (algorithm, mean)
    assert answered >= {"fft", "direct", "low_rank" if table in SMOOTH else "structured"}
