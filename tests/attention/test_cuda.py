"""What is there on GPUs only: the kernels' own tilings, repair on the device, graphs, equality from run to run."""

import concurrent.futures
import json

import pytest
import torch
from operators import RelativeBias, error, keep_promise_or_refuse
from tables import TABLES
from test_structure import must_answer
from tolerances import PROMISE

pytestmark = pytest.mark.gpu

HEADS, SIZE = 2, 64  # what the tensor cores' kernels take
prepared_op = torch.ops.longwave.rpe_attention.prepared
FAST = ["structured", "low_rank", "direct", "fft", "auto"]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def problem(n, dtype, seed=0, size=SIZE, features=SIZE, value_dim=SIZE, scale=1.0):
    """q, k, v [1, n, heads, ...] of a dtype and W on the GPU."""
    generator = torch.Generator("cuda").manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device="cuda")

    q, k, v = (normal(1, n, HEADS, s).to(dtype) for s in (size, size, value_dim))
    return q, k, v, scale * normal(features, size)


def prepare(table, n, causal=False):
    return RelativeBias(TABLES[table](n).float().contiguous(), "prf", causal, 0, 1e-5)


def exact(q, k, v, w, bias, **options):
    return prepared_op(q.double(), k.double(), v.double(), w, bias, algorithm="reference", **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_tables_in_every_precision(table, causal, dtype):
    for n in (1, 64, 127, 129, 257, 700, 1400):
        bias = prepare(table, n, causal)
        q, k, v, w = problem(n, dtype, seed=n)
        expected = exact(q, k, v, w, bias, causal=causal)
        call = lambda algorithm: prepared_op(q, k, v, w, bias, causal=causal, algorithm=algorithm)
        answered = keep_promise_or_refuse(call, FAST, expected, v)
    assert must_answer(table, causal, "normalised") <= set(answered)


def slopes(left, right):
    """Heads that decay by powers of the distance, the sides unlike."""
    t = torch.arange(-4999, 5000, dtype=torch.float64)
    powers = torch.tensor([[left, right], [right, left]], dtype=torch.float64)
    return (-torch.where(t < 0, powers[:, :1], powers[:, 1:]) * torch.log1p(t.abs())).float().contiguous()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("left, right", [(1.0, 1.0), (0.3, 2.0)])
@pytest.mark.parametrize("size, features", [(64, 64), (32, 24)])
def test_smooth_tables_in_bfloat16_have_a_far_field_of_few_states(left, right, causal, size, features):
    lengths = [5000, 777, 2222, 641, 3001]
    bias = RelativeBias(slopes(left, right), "prf", causal, 0, 1e-5)
    q, k, v, w = problem(sum(lengths), torch.bfloat16, size=size, features=features)
    offsets = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)
    run = lambda: prepared_op(q[0], k[0], v[0], w, bias, cu_seqlens=offsets, seqlens=lengths, causal=causal, algorithm="low_rank")
    out = run()
    assert torch.equal(out, run())
    for begin, length in zip(offsets.tolist(), lengths):
        part = slice(begin, begin + length)
        alone = [x[:, part] for x in (q, k, v)]
        assert error(out[None, part], exact(*alone, w, bias, causal=causal), alone[2]) <= PROMISE[torch.bfloat16], length


@pytest.mark.parametrize("size, features, value_dim", [(64, 64, 64), (40, 24, 48), (64, 33, 16), (128, 32, 128), (20, 10, 5)])
def test_head_sizes(size, features, value_dim):
    n = 900
    bias = prepare("clipped", n)
    for dtype in (torch.bfloat16, torch.float32):
        q, k, v, w = problem(n, dtype, size=size, features=features, value_dim=value_dim, scale=size**-0.5 * 8)
        expected = exact(q, k, v, w, bias)
        for algorithm in ("structured", "direct", "fft", "auto"):
            assert error(prepared_op(q, k, v, w, bias, algorithm=algorithm), expected, v) <= PROMISE[dtype], algorithm


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("algorithm", ["auto", "structured", "direct", "fft"])
def test_packed_sequences_do_not_see_each_other(algorithm, dtype):
    lengths = [700, 0, 641, 1024, 0, 1300]
    if algorithm != "structured":  # which refuses where nothing is far
        lengths += [1, 0, 64, 129, 3]
    lengths.append(650)
    tokens = sum(lengths)
    q, k, v, w = (x[0] if x.dim() == 4 else x for x in problem(tokens, dtype))
    v[:700] = v[-650:] = torch.inf  # of other sequences: must not leak
    bias = prepare("clipped", 1300)
    offsets = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)
    out = prepared_op(q, k, v, w, bias, cu_seqlens=offsets, seqlens=lengths, algorithm=algorithm)
    begin = 700
    for length in lengths[1:-1]:
        part = slice(begin, begin + length)
        begin += length
        if length == 0:
            continue
        alone = [x[None, part] for x in (q, k, v)]
        assert error(out[None, part], exact(*alone, w, bias), alone[2]) <= PROMISE[dtype], length


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("w_scale, scale, answering", [(6.0, 1.0, {"auto", "structured"}), (1.0, 9.0, {"auto"})])
def test_rows_are_repaired_where_features_leave_the_certified_range(dtype, w_scale, scale, answering):
    n = 600
    bias = prepare("clipped", n)
    q, k, v, w = problem(n, dtype, scale=w_scale)
    k[:, 0] = 10 * w[0]
    expected = exact(q, k, v, w, bias, scale=scale)
    call = lambda algorithm: prepared_op(q, k, v, w, bias, scale=scale, algorithm=algorithm)
    assert set(keep_promise_or_refuse(call, ["auto", "structured"], expected, v, why="exp")) == answering


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("scale", [8.0, 12.0, 13.0])
def test_features_that_float32_would_lose(dtype, scale):
    """Queries look away from the direction in which keys are largest: phi(q) there is below exp(-87), phi(k) large."""
    n = 600
    bias = prepare("noise 0.5", n)
    q, k, v, w = problem(n, dtype)
    away = torch.nn.functional.normalize(w[0].double(), dim=-1).to(q)
    q.mul_(0.05).sub_(away * q.norm(dim=-1, keepdim=True) * 20)
    k[:, ::3] = (0.1 * k[:, ::3] + 8 * away).to(dtype)
    w[0] *= 9.5 / w[0].norm()
    expected = exact(q, k, v, w, bias, scale=scale)
    for algorithm in ("auto", "direct"):
        out = prepared_op(q, k, v, w, bias, scale=scale, algorithm=algorithm)
        assert error(out, expected, v) <= PROMISE[dtype], algorithm


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("table", ["clipped", "alibi", "log distance", "noise 0.5"])
def test_runs_are_equal_bit_by_bit(table, algorithm):
    bias = prepare(table, 1500)
    q, k, v, w = problem(1500, torch.bfloat16)
    if algorithm not in must_answer(table, False, "normalised"):
        with pytest.raises(ValueError, match=f'"{algorithm}" finds no'):
            prepared_op(q, k, v, w, bias, algorithm=algorithm)
        return
    first = prepared_op(q, k, v, w, bias, algorithm=algorithm)
    for _ in range(3):
        torch.full((1 << 24,), torch.nan, device="cuda")  # memory that the next call may get
        assert torch.equal(prepared_op(q, k, v, w, bias, algorithm=algorithm), first)


SHORT = {
    "1": [1],
    "65": [65],
    "129": [129],
    "192": [192],
    "511": [511],
    "1,023": [1023],
    "150 x 64": [64] * 150 + [63, 0, 65],
    "100 x 128": [128, 127, 97, 128] * 25,
    "70 x 192": [192, 129, 0, 65, 257] * 14,
    "36 x 512": [512, 511, 449] * 12,
    "9 x 1,024": [1024, 961, 513] * 3,
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", SHORT.values(), ids=SHORT)
def test_short_sequences_straddle_tiles(lengths, causal):
    """How direct's kernel for short sequences divides a block depends on how many there are and how long."""
    q, k, v, w = (x[0] if x.dim() == 4 else x for x in problem(sum(lengths), torch.bfloat16, seed=len(lengths)))
    bias = prepare("noise 0.5", max(lengths), causal)
    offsets = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)

    def run(algorithm, *tensors):
        return prepared_op(*tensors, w, bias, cu_seqlens=offsets, seqlens=lengths, causal=causal, algorithm=algorithm)

    out = run("direct", q, k, v)
    expected = run("reference", q.double(), k.double(), v.double())
    begin = 0
    for length in lengths:
        part = slice(begin, begin + length)
        begin += length
        if length > 0:
            assert error(out[None, part], expected[None, part], v[None, part]) <= PROMISE[torch.bfloat16], length
    for _ in range(3):
        torch.full((1 << 24,), torch.nan, device="cuda")  # memory that the next call may get
        assert torch.equal(run("direct", q, k, v), out)


def captured(run):
    """`run` recorded once as a graph, and what it returns."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph, out


# As the server captures: lengths that only bound those on the device. Few heads split the keys of a row.
@pytest.mark.parametrize("heads", [2, 12])
@pytest.mark.parametrize("lengths", [[100, 200, 70, 14], [64, 30, 20, 1], [65, 64, 1, 254]])
def test_short_sequences_that_only_the_device_knows(heads, lengths):
    tokens, longest = 384, 384
    bias = RelativeBias(torch.randn(heads, 2 * longest - 1, generator=torch.Generator().manual_seed(3)), "prf", False, 0, 1e-5)
    generator = torch.Generator().manual_seed(heads)
    q, k, v = (torch.randn(tokens, heads, 64, generator=generator).to("cuda", torch.bfloat16) for _ in range(3))
    w = torch.randn(64, 64, generator=generator).cuda()
    ends = torch.tensor([0, *lengths]).cumsum(0)
    offsets = torch.tensor([0, longest, longest, longest, longest], dtype=torch.int32, device="cuda")

    def run():
        return prepared_op(q, k, v, w, bias, cu_seqlens=offsets, seqlens=[longest, 0, 0, 0], algorithm="direct")

    graph, out = captured(run)
    offsets.copy_(ends.int())
    out.fill_(torch.nan)
    graph.replay()
    eager = run()
    n = int(ends[-1])
    expected = exact(q[:n], k[:n], v[:n], w, bias, cu_seqlens=offsets, seqlens=lengths)
    for begin, length in zip(ends.tolist(), lengths):
        part = slice(begin, begin + length)
        for found in (out, eager):
            assert error(found[None, part], expected[None, part], v[None, part]) <= PROMISE[torch.bfloat16]


def test_threads_launch_what_takes_different_amounts_of_shared_memory():
    def rounds(n):
        q, k, v, w = problem(n, torch.bfloat16)
        bias = prepare("noise 0.5", n)
        alone = {a: prepared_op(q, k, v, w, bias, algorithm=a) for a in ("direct", "fft")}
        return lambda: all(torch.equal(prepared_op(q, k, v, w, bias, algorithm=a), alone[a]) for a in alone for _ in range(100))

    runs = [rounds(n) for n in (128, 500, 1000)]
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as threads:
        assert all(threads.map(lambda run: run(), runs))


@pytest.mark.parametrize("table, algorithm", [
    ("clipped", "auto"), ("clipped", "structured"), ("inverse", "low_rank"), ("noise 0.5", "direct"), ("noise 0.5", "fft"), ("clipped", "fft")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_graph_is_replayed_with_other_inputs_and_lengths(table, algorithm, dtype):
    """Slots that are empty when the graph is captured have a sequence later."""
    tokens, longest = 1800, 1024
    bias = prepare(table, 5000 if algorithm == "low_rank" else longest)  # low_rank wants a longer far field
    q, k, v, w = (x[0] if x.dim() == 4 else x for x in problem(tokens, dtype))
    offsets = torch.tensor([0, longest, tokens, tokens, tokens], dtype=torch.int32, device="cuda")

    def run():
        return prepared_op(q, k, v, w, bias, cu_seqlens=offsets, seqlens=[longest, tokens - longest, 0, 0], algorithm=algorithm)

    graph, out = captured(run)
    for lengths in ([900, 900, 0, 0], [776, 1024, 0, 0], [3, 1024, 600, 173], [0, 776, 0, 1024], [450, 450, 450, 450]):
        for x, new in zip((q, k, v), problem(tokens, dtype, seed=lengths[0])):
            x.copy_(new[0])
        offsets.copy_(torch.tensor([0, *lengths]).cumsum(0))
        out.fill_(torch.nan)
        graph.replay()
        # How keys are split depends on the lengths at capture, so sums may round otherwise.
        expected = exact(q, k, v, w, bias, cu_seqlens=offsets, seqlens=lengths)
        for end, length in zip(offsets.tolist()[1:], lengths):
            part = slice(end - length, end)
            if length > 0:
                assert error(out[None, part], expected[None, part], v[None, part]) <= PROMISE[dtype], lengths


def test_the_table_may_lie_on_either_device():
    q, k, v, w = problem(100, torch.float32)
    table = TABLES["noise 0.5"](100).float().contiguous()
    on_host = torch.ops.longwave.rpe_attention(q, k, v, w, table)
    assert torch.equal(on_host, torch.ops.longwave.rpe_attention(q, k, v, w, table.cuda()))


def test_tensors_of_two_devices_are_an_error():
    q, k, v, w = problem(10, torch.float32)
    bias = prepare("noise 0.5", 10)
    with pytest.raises(ValueError, match="projection: found device cpu, expected q's cuda:0"):
        prepared_op(q, k, v, w.cpu(), bias)
    with pytest.raises(ValueError, match="seqlens: found 11 tokens in all, expected q's 10"):
        prepared_op(q[0], k[0], v[0], w, bias, cu_seqlens=torch.tensor([0, 10], dtype=torch.int32, device="cuda"), seqlens=[11])


# bfloat16, 12 heads of 64: algorithms that were the fastest, with at least a tenth between them and the next.
@pytest.mark.parametrize("table, lengths, algorithm", [
    ("alibi", [512], "direct"),
    ("alibi", [512] * 32, "direct"),
    ("alibi", [1024] * 8, "direct"),
    ("alibi", [16384], "structured"),
    ("clipped", [64], "direct"),
    ("clipped", [2048], "structured"),
    ("clipped", [1024] * 8, "structured"),
    ("inverse", [2048], "direct"),
    ("inverse", [16384], "low_rank"),
])  # fmt: skip
def test_the_plan_takes_what_was_the_fastest_on_an_h100(table, lengths, algorithm):
    if "H100" not in torch.cuda.get_device_name():
        pytest.skip("costs are those of an H100")
    t = torch.arange(1 - lengths[0], lengths[0]).float()
    slopes = 2.0 ** (-8 * torch.arange(1, 13) / 12)
    clipped = torch.randn(12, 257, generator=torch.Generator().manual_seed(1))
    bias = {
        "alibi": -slopes[:, None] * t.abs(),
        "clipped": clipped[:, t.clamp(-128, 128).long() + 128],
        "inverse": -torch.log1p(t.abs()).expand(12, -1).contiguous(),
    }[table]
    plan = torch.ops.longwave.plan_attention(RelativeBias(bias, "prf", False, 0, 1e-5), lengths, 64, 64, "cuda", "bfloat16", 0)
    assert {group["algorithm"] for group in json.loads(plan)["groups"]} == {algorithm}
