"""A limit of the workspace: a call keeps to it, as the plan for the same call says."""

import json
import re

import pytest
import torch
import operators
import test_grid
import test_structure
from operators import RelativeBias, RelativeBias2d, attend_2d_prepared, attend_prepared, inputs, plan, plan_2d

SIZE = 16  # of a head, of v's, and features: a plan takes the first two to be equal
ALGORITHMS = ["structured", "low_rank", "direct", "fft"]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


class Sequence:
    """One sequence of a table of test_structure."""

    def __init__(self, table):
        n = 2000
        self.inputs = inputs(1, n, features=SIZE, dim=SIZE, value_dim=SIZE)
        self.bias = RelativeBias(test_structure.TABLES[table](n).float().contiguous(), "prf", False, 0, 1e-5)
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
        assert torch.equal(picks[pick], problem.call(algorithm=pick))
    if operators.device == "cpu":  # the structure's, and what needs nothing
        first, second = picks
        assert not torch.equal(picks[first], picks[second])


def test_forced_algorithms_keep_to_the_limit():
    problem = Sequence("clipped")
    size = needed(problem, "fft")
    problem.call(algorithm="fft", workspace_bytes=size)
    with pytest.raises(ValueError, match=f"workspace_bytes: found {size - 1}, expected {size} or more for algorithm"):
        problem.call(algorithm="fft", workspace_bytes=size - 1)


@pytest.mark.host
def test_plans_know_the_projection():
    flat = RelativeBias(torch.zeros(1, 1999), "prf", False, 0, 1e-5)
    asked = ([1000], SIZE, SIZE, "cpu", "float32", 0)
    w = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    picks = lambda **options: {group["algorithm"] for group in json.loads(plan(flat, *asked, **options))["groups"]}
    assert picks() == picks(projection=w) == picks(projection=w[None]) == {"structured"}
    for options in (dict(projection=30 * w), dict(projection=w, scale=30.0), dict(scale=30.0), dict(normalize=False)):
        assert picks(**options) == {"direct"}
    with pytest.raises(ValueError, match=r"projection: found shape \[16, 15\], expected \[16, 16\] or \[heads, 16, 16\]"):
        picks(projection=w[:, :15])
