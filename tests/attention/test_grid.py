"""Tokens in a grid: every algorithm, forced, on tables of every class, or it refuses where the class has nothing for it."""

import math

import pytest
import torch
from longwave_torch import reference
from operators import attend_2d, doubles, error, inputs, there
from tolerances import PROMISE, ROUNDING

HEADS = 2
# Around the block of 8 x 8 tokens, thin grids, and more blocks than a box has.
GRIDS = [(1, 1), (1, 130), (70, 1), (2, 40), (3, 5), (8, 8), (9, 17), (16, 24), (25, 31), (33, 40), (40, 12)]
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


TABLES = {
    "flat": lambda h, w: torch.zeros(HEADS, 2 * h - 1, 2 * w - 1, dtype=torch.float64),
    "clipped": lambda h, w: clipped(h, w, 6, 6),
    "clipped unevenly": lambda h, w: clipped(h, w, 1, 13, 2.0),
    "separable, clipped": separable_clipped,
    "manhattan decay": lambda h, w: decays(h, w, (0.25, 0.01), (0.25, 0.01)),
    "decay on one axis": lambda h, w: decays(h, w, (0.0, 1.5), (0.7, 0.0)),
    "steep decay": lambda h, w: decays(h, w, (4.0, 0.3), (2.0, 6.0)),
    "decay around a box": decay_with_a_box,
    "window": window,
    "one quadrant": one_quadrant,
    "peak": lambda h, w: clipped(h, w, 0, 0) + 12.0 * ((distances(h, w)[0] == 0) & (distances(h, w)[1] == 0)),
    "euclidean decay": lambda h, w: (-0.2 * (distances(h, w)[0].square() + distances(h, w)[1].square()).sqrt()).expand(HEADS, -1, -1),
    "noise 0.5": lambda h, w: random(2 * h - 1, 2 * w - 1, 0.5),
    "noise 3": lambda h, w: random(2 * h - 1, 2 * w - 1, 3.0),
}
SCALES = {"normalised": (True, 1.0), "scaled": (True, 2.4), "unnormalised": (False, 0.7)}


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES)
def test_forced_algorithms_keep_the_promise(table, scale):
    normalize, factor = SCALES[scale]
    for height, width in GRIDS if scale == "normalised" else GRIDS[5::3]:
        bias = TABLES[table](height, width).float().contiguous()
        q, k, v, w = inputs(2, height * width, seed=height)
        options = dict(normalize=normalize, scale=factor)
        expected = reference.rpe_attention_2d(*doubles(q, k, v, w, bias), (height, width), **options)
        for algorithm in there(*ALGORITHMS):
            try:
                out = attend_2d(q, k, v, w, bias, (height, width), algorithm=algorithm, **options)
            except ValueError as refusal:
                assert algorithm not in ("auto", "direct"), refusal
                assert algorithm in str(refusal)
                continue
            limit = ROUNDING if algorithm == "direct" else PROMISE[torch.float32]
            assert error(out, expected, v) <= limit, (algorithm, height, width)
