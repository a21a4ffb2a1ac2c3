"""Every algorithm, forced, on random tables of every class: never above its certificate and rounding, or it refuses."""

import functools
import json

import pytest
import torch
from longwave_torch import reference
import operators
from operators import (HEADS, KINDS, RelativeBias, attend, attend_prepared, doubles, error, inputs, keep_promise_or_refuse,
                       make_hostile, plan, projections, run_alone, stated_bounds, trf_condition)
from tables import NOISE, SMOOTH, TABLES, clipped, decay, random, window
from tolerances import PROMISE, ROUNDING

# Around the chunk of 64 tokens, the direct tiles of 128 and 256, and transform sizes.
LENGTHS = [1, 2, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257, 1100]
SHORT, SEEDS = 257, 3  # up to how many tokens tables and inputs are drawn several times, and how often
ALGORITHMS = ["auto", "structured", "low_rank", "direct", "fft"]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield
    torch.set_num_threads(2)


def must_answer(table, causal, kind):
    """The algorithms that have to compute the longest length of LENGTHS rather than refuse."""
    cpu = operators.device == "cpu"
    names = {"auto", "direct"}
    if cpu or kind != "trf":
        names.add("fft")
    if kind in ("normalised", "scaled"):
        if causal or table not in SMOOTH | NOISE:
            names.add("structured")
        if table in SMOOTH and (cpu or (table, causal, kind) != ("inverse", True, "scaled")):
            names.add("low_rank")
    return names


@functools.cache
def prepare_heads(table, n, causal, seed=0):
    """The table's heads, each prepared by itself: what they are made of does not depend on the features."""
    bias = TABLES[table](n, seed)
    return [RelativeBias(bias[head:head + 1], "prf", causal, 0, 1e-5) for head in range(HEADS)]


def certificates(heads, n, w, dtype=torch.float32, **kind):
    """Algorithm -> the largest error bound over the heads that the plan states, "auto" for its pick."""
    name = str(dtype).removeprefix("torch.")
    return stated_bounds(plan(prepared, [n], operators.DIM, operators.FEATURES, operators.device, name, 0, projection=part, **kind)
                         for prepared, part in zip(heads, projections(w)))


def has_certificate(kind, n):
    """Where a bound is stated and held to: on the CPU for all features that are not negative."""
    return kind != "trf" if operators.device == "cpu" else kind == "normalised" and n in LENGTHS[::4]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_forced_algorithms_keep_their_certificate(table, causal, kind):
    options = dict(KINDS[kind], causal=causal)
    lengths = {"trf": [1, 65, 449], "unnormalised": LENGTHS[::4]}.get(kind, LENGTHS)
    for n, seed in [(n, seed) for n in lengths for seed in range(SEEDS if n <= SHORT else 1)]:
        torch.set_num_threads(2 if n > 500 else 1)  # barriers take longer than tiny problems
        bias = TABLES[table](n, seed)
        q, k, v, w = inputs(1, n, seed=n + seed)
        attend64 = lambda *x: reference.rpe_attention(*x, *doubles(w, bias), **options)
        expected = attend64(*doubles(q, k, v))
        condition = trf_condition(attend64, q, k, w) if kind == "trf" else 1
        prepared = RelativeBias(bias, options.get("feature_map", "prf"), causal, 0, 1e-5)
        call = lambda algorithm: attend_prepared(q, k, v, w, prepared, algorithm=algorithm, **options)
        answered = keep_promise_or_refuse(call, ALGORITHMS, expected, v, condition)
        assert kind == "trf" or answered["direct"] <= ROUNDING[torch.float32]
        if has_certificate(kind, n):
            bounds = certificates(prepare_heads(table, n, causal, seed), n, w, **KINDS[kind])
            for algorithm, largest in answered.items():
                assert largest <= bounds[algorithm] + ROUNDING[torch.float32], (algorithm, n, seed)
    assert must_answer(table, causal, kind) <= set(answered)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("table", TABLES)
def test_half_precision(table, dtype):
    n = 1100 if table in SMOOTH else 449
    bias = TABLES[table](n)
    q, k, v, w = inputs(1, n)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    expected = reference.rpe_attention(*doubles(q, k, v, w, bias))
    prepared = RelativeBias(bias, "prf", False, 0, 1e-5)
    bounds = certificates(prepare_heads(table, n, False), n, w, dtype)
    answered = keep_promise_or_refuse(lambda algorithm: attend_prepared(q, k, v, w, prepared, algorithm=algorithm), ALGORITHMS, expected, v)
    if operators.device == "cpu":
        assert all(largest <= bounds[algorithm] + ROUNDING[dtype] for algorithm, largest in answered.items())
    assert must_answer(table, False, "normalised") <= set(answered)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table, algorithm", [
    ("clipped", "structured"), ("alibi", "structured"), ("inverse", "low_rank"), ("noise 3", "direct"), ("noise 3", "fft"),
    ("t5 buckets", "auto"), ("log distance", "auto")])
def test_packed_sequences_do_not_see_each_other(table, algorithm, causal):
    lengths = [1030, 0, 1100, 1217, 1050]
    offsets = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    q, k, v, w = inputs(sum(lengths), shared=True)
    v[:1030] = v[-1050:] = torch.inf  # of other sequences: must not leak
    bias = TABLES[table](1300)
    out = attend(q, k, v, w, bias, cu_seqlens=offsets, seqlens=lengths, algorithm=algorithm, causal=causal)
    for begin, length in zip(offsets.tolist()[2:-1], lengths[2:-1]):
        part = slice(begin, begin + length)
        alone = [x[None, part] for x in (q, k, v)]
        expected = reference.rpe_attention(*doubles(*alone, w, bias), causal=causal)
        assert error(out[None, part], expected, alone[2]) <= PROMISE[torch.float32], length


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", sorted(NOISE))
def test_low_rank_refuses_tables_of_full_rank(table, causal):
    for n in (257, 1100, 4000):
        prepared = RelativeBias(TABLES[table](n), "prf", causal, 0, 1e-5)
        q, k, v, w = inputs(1, n)
        with pytest.raises(ValueError, match='algorithm: "low_rank" finds no smooth far field for head 0'):
            attend_prepared(q, k, v, w, prepared, causal=causal, algorithm="low_rank")


@pytest.mark.cpu
@pytest.mark.parametrize("n", [256, 4096, 16384])
@pytest.mark.parametrize("feature_map, algorithm", [("prf", "direct"), ("trf", "auto")])
def test_sums_of_equal_products_do_not_drift_with_the_length(feature_map, algorithm, n):
    # Every rounding of a running sum of equal numbers has the same sign. All weights are equal, so the output is v.
    q, _, v, w = (x.expand(1, n, *x.shape[2:]).contiguous() if x.dim() == 4 else x
                  for x in inputs(1, 1, heads=1, dim=16, features=8, value_dim=32))
    flat = RelativeBias(torch.zeros(1, 1), feature_map, False, 0, 1e-5)
    bounds = stated_bounds([plan(flat, [n], 16, 8, "cpu", "float32", 0)])
    out = attend_prepared(q, q, v, w, flat, algorithm=algorithm, feature_map=feature_map)
    assert error(out, v.double(), v) <= bounds[algorithm]  # all of q . k's terms are positive, of trf's, too


@pytest.mark.host
@pytest.mark.parametrize("table, algorithm", [
    ("clipped", "structured"), ("t5 buckets", "structured"), ("piecewise", "structured"), ("alibi", "structured"),
    ("alibi with floor", "structured"), ("forbidden side", "structured"), ("forbidden distances", "structured"),
    ("spike far away", "structured"), ("peak", "structured"), ("one-sided", "structured"), ("inverse", "low_rank"),
    ("log distance", "low_rank"), ("noise 0.5", "direct"), ("noise 3", "direct"),
])
def test_the_planner_finds_the_structure(table, algorithm):
    n = 4000
    prepared = RelativeBias(TABLES[table](n), "prf", False, 0, 1e-5)
    groups = json.loads(plan(prepared, [n], 32, 32, "cpu", "float32", 0))["groups"]
    assert [group["algorithm"] for group in groups] == [algorithm]
    assert groups[0]["error_bound"] <= PROMISE[torch.float32]


def test_heads_of_one_table_take_different_algorithms():
    n = 3000
    bias = torch.stack([clipped(n, 50)[0], random(n, 3)[1], clipped(n, 90)[1]]).float().contiguous()
    prepared = RelativeBias(bias, "prf", False, 0, 1e-5)
    if operators.device == "cpu":  # on a GPU one call for all is faster at this length
        groups = json.loads(plan(prepared, [n], 16, 8, operators.device, "float32", 0))["groups"]
        heads = {group["algorithm"]: group["heads"] for group in groups}
        assert heads.pop("structured") == [0, 2] and list(heads.values()) == [[1]]  # the noise: whatever is faster here
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 3, 16, generator=generator) for _ in range(3))
    w = torch.randn(8, 16, generator=generator)
    out = attend_prepared(q, k, v, w, prepared)
    for head in range(3):
        part = slice(head, head + 1)
        alone = attend(q[:, :, part], k[:, :, part], v[:, :, part], w, bias[part].contiguous(), algorithm="direct")
        assert error(out[:, :, part], alone.double(), v[:, :, part]) <= PROMISE[torch.float32]


ADVERSARIAL = {
    # name: (n, table, scale of W, scale, normalize, what is done to q, k, the algorithms beside direct that answer on the CPU)
    "a large key leaves a window": (2000, lambda n: window(n, 400), 2.0, 2.4, True, "outlier", {"structured"}),
    "the same, not normalised": (2000, lambda n: window(n, 400), 1.0, 1.0, False, "outlier", {"fft"}),
    "exponents beyond float32": (700, lambda n: clipped(n, 0), 2.0, 20.0, True, "aligned", {"fft"}),
    "large exponents": (700, lambda n: clipped(n, 0), 1.0, 12.0, True, "aligned", {"fft"}),
    "a large common vector": (700, lambda n: clipped(n, 0), 1.0, 1.0, False, "common", {"fft"}),
    "forbidden keys after a decay": (
        1500, lambda n: window(n, 317) + decay(n, [0.25]),
        2.0, 4.5, True, "outlier", {"fft"}),
    "norms beyond float32": (300, lambda n: clipped(n, 10), 1.0, 1.0, True, "huge", {"fft"}),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_promise_is_kept_on_hostile_inputs(name):
    n, table, w_scale, scale, normalize, trick, answering = ADVERSARIAL[name]
    q, k, v, w = inputs(1, n, dim=16, features=16)
    w = w * w_scale
    make_hostile(trick, q, k, w, normalize)
    bias = table(n).float().contiguous()
    options = dict(normalize=normalize, scale=scale)
    expected = attend(*doubles(q, k, v), w, bias, algorithm="reference", **options)
    assert expected.isfinite().all()
    answered = keep_promise_or_refuse(lambda algorithm: attend(q, k, v, w, bias, algorithm=algorithm, **options), ALGORITHMS, expected, v)
    must = answering | {"auto", "direct"}
    assert set(answered) == must if operators.device == "cpu" else must <= set(answered)


# ALiBi's exponential ends with its table, where the edge value begins to hold; of a longer table only the middle counts.
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_tables_shorter_and_longer_than_the_sequence(table, causal):
    for n, length in ((257, 257 // 3), (257, 2 * 257), (1100, 1100 // 3), (1100, 2 * 1100)):
        q, k, v, w = inputs(1, n, seed=length)
        bias = TABLES[table](length)
        expected = reference.rpe_attention(*doubles(q, k, v, w, bias), causal=causal)
        prepared = RelativeBias(bias, "prf", causal, 0, 1e-5)
        call = lambda algorithm: attend_prepared(q, k, v, w, prepared, algorithm=algorithm, causal=causal)
        answered = keep_promise_or_refuse(call, ALGORITHMS, expected, v)
        if operators.device == "cpu":
            bounds = certificates(prepare_heads(table, length, causal), n, w)
            for algorithm, largest in answered.items():
                assert largest <= bounds[algorithm] + ROUNDING[torch.float32], (algorithm, n, length)
        if length > n:
            must = must_answer(table, causal, "normalised") if n == LENGTHS[-1] else {"auto", "direct"}
        else:  # constant beyond the table
            must = must_answer("clipped", causal, "normalised") - ({"structured"} if table == "alibi" else set())
        assert must <= set(answered), (n, length)


# Peak memory in bytes and the error of a few rows, of one head of a million tokens in a process of its own.
A_MILLION_TOKENS = """
import json, resource, sys
import torch
from operators import attend, exact_rows
n, reach = 1 << 20, 128
generator = torch.Generator().manual_seed(0)
q, k, v = (torch.randn(1, n, 1, 64, generator=generator) for _ in range(3))
w, bias = torch.randn(64, 64, generator=generator), torch.randn(1, 2 * reach + 1, generator=generator)
with torch.no_grad():
    out = attend(q, k, v, w, bias)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
rows = [0, 127, n // 3, n - 1]
exact = exact_rows(q[0], k[0], v[0], w, bias, rows)
print(json.dumps([peak, ((out[:, rows].double() - exact).abs() / v.abs().amax(1, keepdim=True)).max().item()]))
"""


def test_a_million_tokens_fit_in_two_gigabytes():
    peak, largest_error = run_alone(A_MILLION_TOKENS)
    assert peak < 2e9
    assert largest_error <= ROUNDING[torch.float32]
