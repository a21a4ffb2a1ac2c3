"""Tokens in a grid: every algorithm, forced, on tables of every class, or it refuses where the class has nothing for it."""

import functools
import json
import math

import pytest
import torch
from longwave_torch import reference
import operators
from operators import (HEADS, KINDS, RelativeBias2d, attend_2d, attend_2d_prepared, doubles, error, inputs,
                       keep_promise_or_refuse, make_hostile, plan_2d, projections, run_alone, stated_bounds, trf_condition)
from tables import put
from tolerances import PROMISE, ROUNDING

# Around the block of 8 x 8 tokens, thin grids, and more blocks than a box has.
GRIDS = [(1, 1), (1, 130), (70, 1), (2, 40), (3, 5), (8, 8), (9, 17), (16, 24), (25, 31), (40, 12), (33, 40)]
ALGORITHMS = ["auto", "structured", "direct", "fft"]


def random(height, width, sigma=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return sigma * torch.randn(HEADS, height, width, generator=generator, dtype=torch.float64)


def distances(height, width):
    """dy [2 height - 1, 1] and dx [1, 2 width - 1], float64."""
    return torch.arange(1 - height, height, dtype=torch.float64)[:, None], torch.arange(1 - width, width, dtype=torch.float64)


def clipped(height, width, reach_y, reach_x, sigma=1.0):
    """Both distances clipped: a table that is smaller than the grid."""
    y, x = (d.clamp(-r, r).long() + r for d, r in zip(distances(height, width), (reach_y, reach_x)))
    return random(2 * reach_y + 1, 2 * reach_x + 1, sigma)[:, y, x]


def separable_clipped(height, width):
    table = random(11, 7)
    y, x = (d.clamp(-r, r).long() + r for d, r in zip(distances(height, width), (5, 3)))
    return table[:, :, 0][:, y] + table[:, 0][:, None, x]


def axial(height, width, sigma=1.0):
    return random(2 * height - 1, 1, sigma) + random(1, 2 * width - 1, sigma, seed=2)


def decays(height, width, rates_y, rates_x):
    y, x = distances(height, width)
    slopes = [torch.tensor(rates, dtype=torch.float64)[:, None, None] for rates in (rates_y, rates_x)]
    return -slopes[0] * y.abs() - slopes[1] * x.abs()


def window(height, width):
    y, x = distances(height, width)
    return torch.where((y.abs() > 6) | (x.abs() > 4), -math.inf, random(2 * height - 1, 2 * width - 1))


def one_quadrant(height, width):
    y, x = distances(height, width)
    return torch.where((y > 0) | (x > 0), -math.inf, clipped(height, width, 3, 2))


def decay_with_a_box(height, width):
    """A trained middle, an exponential beyond it that differs by side."""
    y, x = distances(height, width)
    beyond = -0.3 * (y.abs() - 2).clamp(min=0) - torch.where(x > 0, 0.1, 0.5) * (x.abs() - 4).clamp(min=0)
    return clipped(height, width, 2, 4) + beyond


def per_axis(function):
    """A table of by + bx, both by a function of the distances of one axis."""
    return lambda h, w: sum(function(d) for d in distances(h, w)).expand(HEADS, -1, -1).clone()


def t5_bucket(d):
    far = 4 + (torch.log(d.abs().clamp(min=1) / 4) / math.log(8) * 4).floor().clamp(max=3)
    return random(1, 16, seed=3)[0, 0, (torch.where(d.abs() < 4, d.abs(), far) + 8 * (d > 0)).long()]


TABLES = {
    "flat": lambda h, w: torch.zeros(HEADS, 2 * h - 1, 2 * w - 1, dtype=torch.float64),
    "clipped": lambda h, w: clipped(h, w, 6, 6),
    "clipped unevenly": lambda h, w: clipped(h, w, 1, 13, 2.0),
    "clipped on one axis": lambda h, w: random(2 * h - 1, 11)[:, :, distances(h, w)[1].clamp(-5, 5).long().flatten() + 5],
    "separable, clipped": separable_clipped,
    "axial": axial,
    "axial, large": lambda h, w: axial(h, w, 2.0),
    "axial with a window": lambda h, w: axial(h, w) + torch.where(distances(h, w)[1].abs() > 9, -math.inf, 0.0),
    "manhattan decay": lambda h, w: decays(h, w, (0.25, 0.01), (0.25, 0.01)),
    "decay on one axis": lambda h, w: decays(h, w, (0.0, 1.5), (0.7, 0.0)),
    "steep decay": lambda h, w: decays(h, w, (4.0, 0.3), (2.0, 6.0)),
    "decay around a box": decay_with_a_box,
    "window": window,
    "one quadrant": one_quadrant,
    "peak": lambda h, w: clipped(h, w, 0, 0) + 12.0 * ((distances(h, w)[0] == 0) & (distances(h, w)[1] == 0)),
    "spike far away": lambda h, w: put(clipped(h, w, 2, 2), [(17, -9, 8.0)]),
    "forbidden distances": lambda h, w: put(clipped(h, w, 3, 3), [(2, -1, -math.inf), (-9, 4, -math.inf), (0, 1, -math.inf)]),
    "t5 buckets by axis": per_axis(t5_bucket),
    "steps by axis": per_axis(lambda d: torch.sin(2 * (d / 5).trunc())),
    "decay with a floor": lambda h, w: decays(h, w, (0.3, 0.2), (0.3, 0.2)).clamp(min=-4),
    "inverse": per_axis(lambda d: -0.7 * torch.log1p(d.abs())),
    "euclidean decay": lambda h, w: (-0.2 * (distances(h, w)[0].square() + distances(h, w)[1].square()).sqrt()).expand(HEADS, -1, -1),
    "noise 0.5": lambda h, w: random(2 * h - 1, 2 * w - 1, 0.5),
    "noise 3": lambda h, w: random(2 * h - 1, 2 * w - 1, 3.0),
    "noise 5": lambda h, w: random(2 * h - 1, 2 * w - 1, 5.0),
}


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield
    torch.set_num_threads(2)


@functools.cache
def prepare_heads(table, height, width):
    """The table's heads, each prepared by itself: what they are made of does not depend on the features."""
    bias = TABLES[table](height, width).float().contiguous()
    return [RelativeBias2d(bias[head:head + 1], [height, width], "prf", 1e-5) for head in range(HEADS)]


def certificates(table, grid, w, dtype=torch.float32, **kind):
    """Algorithm -> the largest error bound over the heads that the plan states, "auto" for its pick."""
    name = str(dtype).removeprefix("torch.")
    return stated_bounds(plan_2d(prepared, operators.DIM, operators.FEATURES, operators.device, name, 0, projection=part, **kind)
                         for prepared, part in zip(prepare_heads(table, *grid), projections(w)))


def has_certificate(kind):
    """Where a bound is stated and held to: on the CPU for all features that are not negative."""
    return kind != "trf" if operators.device == "cpu" else kind == "normalised"


def must_answer(table, kind):
    """The algorithms that have to compute the last grid rather than refuse."""
    cpu = operators.device == "cpu"
    names = {"auto", "direct"}
    if (table not in ("peak", "noise 5") or kind in ("normalised", "trf")) and (cpu or kind != "trf"):
        names.add("fft")
    if cpu and table in STRUCTURED and kind in ("normalised", "scaled"):
        names.add("structured")
    return names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", TABLES)
def test_forced_algorithms_keep_the_promise(table, kind):
    options = KINDS[kind]
    for height, width in {"normalised": GRIDS, "scaled": GRIDS[::2], "unnormalised": [(8, 8), GRIDS[-1]]}.get(kind, [(8, 8), (25, 31)]):
        torch.set_num_threads(2 if height * width > 500 else 1)
        bias = TABLES[table](height, width).float().contiguous()
        q, k, v, w = inputs(1, height * width, seed=height, shared=height % 2 == 0)
        attend64 = lambda *x: reference.rpe_attention_2d(*x, *doubles(w, bias), (height, width), **options)
        expected = attend64(*doubles(q, k, v))
        condition = trf_condition(attend64, q, k, w) if kind == "trf" else 1
        prepared = RelativeBias2d(bias, [height, width], options.get("feature_map", "prf"), 1e-5)
        call = lambda algorithm: attend_2d_prepared(q, k, v, w, prepared, algorithm=algorithm, **options)
        answered = keep_promise_or_refuse(call, ALGORITHMS, expected, v, condition)
        assert kind == "trf" or answered["direct"] <= ROUNDING[torch.float32]
        if has_certificate(kind):
            bounds = certificates(table, (height, width), w, **options)
            for algorithm, largest in answered.items():
                assert largest <= bounds[algorithm] + ROUNDING[torch.float32], (algorithm, height, width)
    assert must_answer(table, kind) <= set(answered)


STRUCTURED = {"flat", "clipped on one axis", "clipped", "clipped unevenly", "separable, clipped", "axial", "axial, large",
              "axial with a window", "manhattan decay", "decay on one axis", "steep decay", "decay around a box", "window", "one quadrant", "peak", "spike far away",
              "forbidden distances", "t5 buckets by axis", "steps by axis", "decay with a floor", "inverse"}


@pytest.mark.host
@pytest.mark.parametrize("table", TABLES)
def test_the_planner_finds_the_structure(table):
    groups = json.loads(plan_2d(TABLES[table](96, 80).float().contiguous(), [96, 80], 64, 64, "cpu", "float32", 0))["groups"]
    found = {group["algorithm"] for group in groups}
    assert found == ({"structured"} if table in STRUCTURED else {"direct"})
    assert all(group["error_bound"] <= PROMISE[torch.float32] for group in groups)


@pytest.mark.parametrize("table", ["clipped", "axial", "noise 0.5"])
def test_a_prepared_table_serves_many_calls(table):
    grid = (25, 31)
    bias = TABLES[table](*grid).float().contiguous()
    given = bias.clone()
    prepared = RelativeBias2d(given, grid, "prf", 1e-5)
    given.fill_(7)  # it owns its table
    algorithms = ["auto", "direct", "fft", "fft"]  # the second time with the spectra of the first
    if table != "noise 0.5" and operators.device == "cpu":
        algorithms += ["structured", "structured"]
    for seed, algorithm in enumerate(algorithms):
        q, k, v, w = inputs(2, grid[0] * grid[1], seed=seed)
        out = attend_2d_prepared(q, k, v, w, prepared, algorithm=algorithm)
        assert torch.equal(out, attend_2d(q, k, v, w, bias, grid, algorithm=algorithm))
    for device in {"cpu", operators.device}:
        asked = (8, 6, device, "float32", 0)
        assert plan_2d(prepared, *asked) == plan_2d(bias, grid, *asked)


# Bytes that a head of 128 x 128 tokens takes at its peak beside inputs, output and what the first small call has set up, and those planned.
MEMORY = """
import json, re
import torch
from operators import RelativeBias2d, attend_2d
side, generator = 128, torch.Generator().manual_seed(0)
torch.set_num_threads(2)
table = torch.randn(1, 2 * side - 1, 19, generator=generator)  # rows of any distance differ: the strips need many states
status = lambda name: 1024 * int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
def call(side):
    q, k, v = (torch.randn(1, side * side, 1, 64, generator=generator) for _ in range(3))
    bias = RelativeBias2d(table, [side, side], "prf", 1e-5)
    run = lambda limit: attend_2d(q, k, v, w, bias, algorithm="structured", workspace_bytes=limit)
    w = torch.randn(64, 64, generator=generator)
    try:
        run(1)
    except ValueError as refusal:
        planned = int(re.search(r"expected (\\d+) or more", str(refusal))[1])
    before = status("VmRSS")
    run(0)
    return status("VmHWM") - before - v.numel() * 4, planned
with torch.no_grad():
    call(40)
    print(json.dumps(call(side)))
"""


@pytest.mark.cpu
def test_the_planned_workspace_holds_what_a_call_takes():
    taken, planned = run_alone(MEMORY)
    assert 0.7 * planned <= taken <= 1.1 * planned


@pytest.mark.host
def test_plans_check_what_they_are_asked():
    bias = torch.zeros(1, 3, 3)
    with pytest.raises(ValueError, match="grid: found .*expected a height and a width of 1 or more"):
        plan_2d(bias, [0, 4], 8, 8, "cpu", "float32", 0)
    with pytest.raises(ValueError, match="bias: found"):
        plan_2d(bias[0], [4, 4], 8, 8, "cpu", "float32", 0)
    with pytest.raises(ValueError, match="device: found"):
        plan_2d(bias, [4, 4], 8, 8, "tpu", "float32", 0)
    assert "reference" in plan_2d(bias, [4, 4], 8, 8, "cpu", "float64", 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("table", ["clipped", "axial", "decay around a box", "inverse"])
def test_half_precision(table, dtype):
    grid = (33, 40)
    bias = TABLES[table](*grid).float().contiguous()
    q, k, v, w = inputs(1, grid[0] * grid[1])
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    expected = reference.rpe_attention_2d(*doubles(q, k, v, w, bias), grid)
    bounds = certificates(table, grid, w, dtype)
    for algorithm in ("auto", "direct", "structured" if operators.device == "cpu" else "fft"):
        out = attend_2d(q, k, v, w, bias, grid, algorithm=algorithm)
        assert out.dtype == dtype
        assert error(out, expected, v) <= PROMISE[dtype]
        if operators.device == "cpu":
            assert error(out, expected, v) <= bounds[algorithm] + ROUNDING[dtype], algorithm


HOSTILE = {
    # name: (table, scale of W, scale, normalize, what is done to q, k, the algorithms beside direct that answer on the CPU)
    "a large key leaves a window": (window, 2.0, 2.4, True, "outlier", {"structured"}),
    "the same, not normalised": (window, 1.0, 1.0, False, "outlier", set()),
    "exponents beyond float32": (TABLES["clipped"], 2.0, 20.0, True, "aligned", set()),
    "large exponents": (TABLES["clipped"], 1.0, 12.0, True, "aligned", {"fft"}),
    "forbidden keys after a decay": (
        lambda h, w: decays(h, w, (0.2, 0.2), (0.3, 0.3)).masked_fill(distances(h, w)[1].abs() > 25, -math.inf), 2.0, 4.5, True, "outlier",
        set()),
    "weights of very different size": (lambda h, w: 20 * clipped(h, w, 4, 4), 1.0, 2.0, True, "outlier", {"structured"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_promise_is_kept_on_hostile_inputs(name):
    table, w_scale, scale, normalize, trick, answering = HOSTILE[name]
    grid = (48, 56)
    n = grid[0] * grid[1]
    q, k, v, w = inputs(1, n, dim=16, features=16)
    w = w * w_scale
    make_hostile(trick, q, k, w, normalize)
    bias = table(*grid).float().contiguous()
    options = dict(normalize=normalize, scale=scale)
    expected = attend_2d(*doubles(q, k, v), w, bias, grid, algorithm="reference", **options)
    assert expected.isfinite().all()
    answered = keep_promise_or_refuse(lambda algorithm: attend_2d(q, k, v, w, bias, grid, algorithm=algorithm, **options), ALGORITHMS, expected, v)
    must = answering | {"auto", "direct"}
    assert set(answered) == must if operators.device == "cpu" else must - {"structured"} <= set(answered)


def put_noise(*values):
    return lambda h, w: put(random(2 * h - 1, 2 * w - 1), values)


PRF_KINDS = {name: options for name, options in KINDS.items() if name != "trf"} | {"unnormalised, larger": {"normalize": False}}
EVERY = set(PRF_KINDS)
# The 2-D FFT transforms the whole table: name: (table, kinds whose rows mostly drown in its rounding errors, so that it refuses every grid;
# kinds whose largest grid it has to compute).
PEAKED = {
    "noise 3": (TABLES["noise 3"], set(), EVERY),
    "noise 5": (TABLES["noise 5"], {"scaled", "unnormalised, larger"}, set()),
    "peak of 12": (put_noise((0, 0, 12.0)), {"scaled", "unnormalised, larger"}, {"normalised"}),
    "spike of 12 far away": (put_noise((9, -12, 12.0)), EVERY, set()),
    "one quadrant": (lambda h, w: torch.where((distances(h, w)[0] > 0) | (distances(h, w)[1] > 0), -20.0, random(2 * h - 1, 2 * w - 1)),
                     set(), EVERY),
}


@pytest.mark.parametrize("kind", PRF_KINDS)
@pytest.mark.parametrize("table", PEAKED)
def test_fft_keeps_the_promise_or_refuses(table, kind):
    make, refused, answered = PEAKED[table]
    options = PRF_KINDS[kind]
    for grid, seed in (((25, 31), 1), ((25, 31), 2), ((33, 40), 0), ((48, 56), 0)):
        bias = make(*grid).float().contiguous()
        q, k, v, w = inputs(1, grid[0] * grid[1], seed=seed)
        expected = attend_2d(*doubles(q, k, v), w, bias, grid, algorithm="reference", **options)
        call = lambda algorithm: attend_2d(q, k, v, w, bias, grid, algorithm=algorithm, **options)
        if "fft" in keep_promise_or_refuse(call, ["auto", "fft"], expected, v, why="would miss the promised accuracy"):
            assert kind not in refused
        else:
            assert kind not in answered or grid != (48, 56)


@pytest.mark.cpu
def test_refuses_with_a_reason():
    q, k, v, w = inputs(1, 1200)
    with pytest.raises(ValueError, match='algorithm: "structured" finds no structure for head 0 and 1200 tokens'):
        attend_2d(q, k, v, w, TABLES["noise 3"](30, 40).float().contiguous(), (30, 40), algorithm="structured")
    with pytest.raises(ValueError, match='"structured" needs normalised tokens'):
        attend_2d(q, k, v, w, TABLES["flat"](30, 40).float(), (30, 40), algorithm="structured", normalize=False)
