"""A limit of the workspace: a call keeps to it, as the plan for the same call says."""

import itertools
import json
import re

import pytest
import torch
import operators
import tables
import test_grid
from operators import RelativeBias, RelativeBias2d, attend_2d_prepared, attend_prepared, doubles, error, inputs, plan, plan_2d
from tolerances import ROUNDING

SIZE = 16  # of a head, of v's, and features: a plan takes the first two to be equal
ALGORITHMS = ["structured", "low_rank", "direct", "fft"]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


class Sequence:
    """One sequence of a class of tables."""

    def __init__(self, table):
        n = 2000
        self.inputs = inputs(1, n, features=SIZE, dim=SIZE, value_dim=SIZE)
        self.bias = RelativeBias(tables.TABLES[table](n), "prf", False, 0, 1e-5)
        self.lengths = [n]

    def call(self, **options):
        return attend_prepared(*self.inputs, self.bias, **options)

    def plan(self, limit):
        return plan(self.bias, self.lengths, SIZE, SIZE, operators.device, "float32", limit, projection=self.inputs[3])


class Grid:
    """A grid of a table of test_grid."""

    def __init__(self, table):
        grid = (45, 50)
        self.inputs = inputs(1, grid[0] * grid[1], features=SIZE, dim=SIZE, value_dim=SIZE)
        self.bias = RelativeBias2d(test_grid.TABLES[table](*grid).float().contiguous(), grid, "prf", 1e-5)

    def call(self, **options):
        return attend_2d_prepared(*self.inputs, self.bias, **options)

    def plan(self, limit):
        return plan_2d(self.bias, SIZE, SIZE, operators.device, "float32", limit, projection=self.inputs[3])


def needed(problem, algorithm):
    """Bytes that a forced algorithm asks for, None where it cannot compute the problem at all."""
    try:
        problem.call(algorithm=algorithm, workspace_bytes=1)
    except ValueError as refusal:
        found = re.search(rf'workspace_bytes: found 1, expected (\d+) or more for algorithm "{algorithm}"', str(refusal))
        return int(found[1]) if found else None
    return 0


@pytest.mark.parametrize("make, table", [(Sequence, "clipped"), (Sequence, "inverse"), (Grid, "clipped"), (Grid, "axial")])
def test_calls_take_what_their_plans_say(make, table):
    problem = make(table)
    needs = {name: size for name in ALGORITHMS if (size := needed(problem, name)) is not None}
    picks = {}
    for limit in sorted({0, *needs.values(), *(size - 1 for size in needs.values() if size > 1)}):
        if limit > 0 and limit < min(needs.values()):
            for ask in (lambda: problem.plan(limit), lambda: problem.call(workspace_bytes=limit)):
                with pytest.raises(ValueError, match=f"workspace_bytes: found {limit}, expected {min(needs.values())} or more"):
                    ask()
            continue
        groups = json.loads(problem.plan(limit))["groups"]
        pick, = {group["algorithm"] for group in groups}
        assert limit == 0 or needs[pick] <= limit
        picks[pick] = problem.call(workspace_bytes=limit)
        assert torch.equal(picks[pick], problem.call(algorithm=pick, workspace_bytes=limit))
    if operators.device == "cpu" and make is Grid:  # there the fastest is not the smallest
        assert len(picks) >= 2
        assert not any(torch.equal(picks[a], picks[b]) for a, b in itertools.combinations(picks, 2))


def test_forced_algorithms_keep_to_the_limit():
    problem = Sequence("clipped")
    size = needed(problem, "fft")
    problem.call(algorithm="fft", workspace_bytes=size)
    with pytest.raises(ValueError, match=f"workspace_bytes: found {size - 1}, expected {size} or more for algorithm"):
        problem.call(algorithm="fft", workspace_bytes=size - 1)


@pytest.mark.cpu
@pytest.mark.parametrize("table", ["flat", "manhattan decay", "decay on one axis"])
def test_a_grid_takes_its_slower_way_where_only_that_fits(table):
    """Products along rows and columns, where a box of blocks and the states beyond it would be faster."""
    problem = Grid(table)
    least = needed(problem, "structured")
    q, k, v, w = problem.inputs
    expected = attend_2d_prepared(*doubles(q, k, v), w, problem.bias, algorithm="reference")
    ways = []
    for limit in (0, least):
        out = problem.call(algorithm="structured", workspace_bytes=limit)
        assert error(out, expected, v) <= ROUNDING[torch.float32]
        takes, = {float(ms) for ms in re.findall(r"structured takes ([0-9.e+-]+) ms", problem.plan(limit))}
        ways.append((takes, out))
    (fast_ms, fast), (slow_ms, slow) = ways
    assert slow_ms > fast_ms and not torch.equal(fast, slow)


@pytest.mark.host
def test_plans_know_the_projection():
    flat = RelativeBias(torch.zeros(1, 1999), "prf", False, 0, 1e-5)
    asked = ([1000], SIZE, SIZE, "cpu", "float32", 0)
    w = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    picks = lambda **options: {group["algorithm"] for group in json.loads(plan(flat, *asked, **options))["groups"]}
    assert picks() == picks(projection=w) == picks(projection=w[None]) == {"structured"}
    for options in (dict(projection=30 * w), dict(projection=w, scale=30.0), dict(scale=30.0), dict(normalize=False)):
        assert picks(**options) == {"direct"}
    with pytest.raises(ValueError, match=r"projection: found shape \[16, 15\], expected \[16, 16\] or \[1, 16, 16\]"):
        picks(projection=w[:, :15])
    with pytest.raises(ValueError, match=r"projection: found shape \[5, 16, 16\], expected \[16, 16\] or \[1, 16, 16\]"):
        picks(projection=w.expand(5, -1, -1))
    for dtype in ("double", "int"):
        with pytest.raises(TypeError, match=f"projection: found dtype {dtype.title()}, expected Float"):
            picks(projection=getattr(w, dtype)())


@pytest.mark.host
def test_plans_bound_what_they_are_asked():
    flat = RelativeBias(torch.zeros(1, 1999), "prf", False, 0, 1e-5)
    with pytest.raises(ValueError, match=f"seqlens: found {2**62} in element 1, expected 0 to {2**31 - 1}"):
        plan(flat, [5, 2**62], SIZE, SIZE, "cpu", "float32", 0)
    assert "structured" in plan(flat, [2**31 - 1], SIZE, SIZE, "cpu", "float32", 0)
    for grid in ([2**40, 2**40], [1, 2**24 + 1]):
        with pytest.raises(ValueError, match=rf"grid: found \[?{grid[0]},? {grid[1]}\]?, expected at most {2**24} tokens"):
            operators.plan_2d(torch.zeros(1, 3, 3), grid, SIZE, SIZE, "cpu", "float32", 0)


# Bytes that one head takes at its peak beside inputs, features, output and what the first calls have set up, and those planned.
MEMORY = """
import ctypes, json, re
import torch
from operators import RelativeBias, attend_prepared
from tables import TABLES
ctypes.CDLL("libc.so.6").mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD: what is freed is given back at once
generator = torch.Generator().manual_seed(0)
torch.set_num_threads(2)
status = lambda name: 1024 * int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
def call(n):
    q, k, v = (torch.randn(1, n, 1, 64, generator=generator) for _ in range(3))
    w = torch.randn({features}, 64, generator=generator)
    bias = RelativeBias(TABLES["{table}"](n)[:1], "prf", False, n, 1e-5)
    run = lambda limit: attend_prepared(q, k, v, w, bias, algorithm="{algorithm}", workspace_bytes=limit)
    try:
        run(1)
    except ValueError as refusal:
        planned = int(re.search(r"expected (\\d+) or more", str(refusal))[1])
    open("/proc/self/clear_refs", "w").write("5")  # VmHWM begins anew
    before = status("VmRSS")
    run(0)
    # Structured ones compute features by chunks; others hold them and the output in float32, copied when it is whole.
    beside = v.numel() + (0 if "{algorithm}" in ("structured", "low_rank") else 2 * n * {features})
    return status("VmHWM") - before - 4 * beside, planned
with torch.no_grad():
    call(2000)
    print(json.dumps(call({n})))
"""

@pytest.mark.cpu
@pytest.mark.parametrize(
    "algorithm, table, n, features",
    [
        ("structured", "clipped", 65536, 64),
        ("low_rank", "inverse", 65536, 64),
        ("direct", "noise 0.5", 12000, 256),
        ("fft", "noise 0.5", 40000, 64),
        ("fft", "clipped", 65536, 64),
    ],
    ids=["structured", "low_rank", "direct", "fft", "fft, nothing transformed"],
)
def test_the_planned_workspace_holds_what_a_call_takes(algorithm, table, n, features):
    script = MEMORY.replace("{algorithm}", algorithm).replace("{table}", table).replace("{n}", str(n)).replace("{features}", str(features))
    taken, planned = operators.run_alone(script)
    print(f"{taken / planned:.2f} of {planned} bytes")
    assert 0.7 * planned <= taken <= 1.1 * planned
