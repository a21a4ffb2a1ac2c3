"""Bias tables of every class, for the tests of the operators and the benchmarks: [heads, 2n - 1], ascending in t = j - i."""

import math

import torch

HEADS = 2


def distances(n):
    """t from -(n-1) to n-1, float64."""
    return torch.arange(1 - n, n, dtype=torch.float64)


def random(n, sigma=1.0, seed=0, heads=HEADS):
    """sigma N(0, 1) for |t| < n, float64: the same numbers at every n up to 4,096."""
    generator = torch.Generator().manual_seed(seed)
    half = sigma * torch.randn(heads, 2, max(n, 4096), generator=generator, dtype=torch.float64)
    return torch.cat([half[:, 0, : n - 1].flip(1), half[:, 1, :n]], 1)


def noise(n, sigma, seed=0):
    """The same in float32."""
    return random(n, sigma, seed).float().contiguous()


def spread(weights, index):
    """Weights [heads, kinds] and the kind of every distance: a table."""
    return weights[:, index.long()]


def clip(n, reach):
    """The kinds of a clipped table, 0 to 2 reach."""
    return distances(n).clamp(-reach, reach) + reach


def t5_bucket(n):
    """T5's bidirectional buckets, 0 to 31: logarithmic from |t| = 8 up to 128."""
    t = distances(n)
    far = 8 + (torch.log(t.abs().clamp(min=1) / 8) / math.log(16) * 8).floor().clamp(max=7)
    return torch.where(t.abs() < 8, t.abs(), far) + 16 * (t > 0)


def step(n):
    """The kinds of a table of runs of 150 distances, 0 to 62; the last runs have no end."""
    return 31 + distances(n).sign() * (distances(n).abs() // 150).clamp(max=31)


def alibi_slopes(heads):
    """[heads, 1], the geometric series of ALiBi."""
    return 2.0 ** (-8 * torch.arange(1, heads + 1, dtype=torch.float64)[:, None] / heads)


def decay(n, slopes):
    """-slope |t|, slopes [heads, 1] or a list of them."""
    return -torch.as_tensor(slopes, dtype=torch.float64).view(-1, 1) * distances(n).abs()


def power(n, exponents):
    """log (1 + |t|)^-exponent."""
    return -torch.as_tensor(exponents, dtype=torch.float64).view(-1, 1) * torch.log1p(distances(n).abs())


def window(n, reach, heads=HEADS):
    """Each token sees `reach` neighbours on either side."""
    return torch.where(distances(n).abs() > reach, -math.inf, 0.0).expand(heads, -1)


def clipped(n, reach, sigma=1.0, seed=0, heads=HEADS):
    return spread(random(reach + 1, sigma, seed, heads), clip(n, reach))


def one_sided(table, value):
    """The table with another value for keys to the right of the query."""
    return torch.where(distances(table.shape[1] // 2 + 1) > 0, value, table)


def put(table, values):
    """The table [heads, ...], changed: b = value at a distance for each (*distance, value), where it reaches."""
    centers = [size // 2 for size in table.shape[1:]]
    for *distance, value in values:
        if all(abs(t) <= center for t, center in zip(distance, centers)):
            table[(slice(None), *(center + t for t, center in zip(distance, centers)))] = value
    return table


_CLASSES = {
    "clipped": lambda n, seed: clipped(n, 128, seed=seed),
    "clipped at a tile": lambda n, seed: clipped(n, 64, seed=seed),
    "t5 buckets": lambda n, seed: spread(random(32, seed=seed), t5_bucket(n)),
    "piecewise": lambda n, seed: spread(random(32, seed=seed), step(n)),
    "alibi": lambda n, seed: decay(n, _slopes(seed, 0.5, 0.0078)),
    "alibi with floor": lambda n, seed: decay(n, _slopes(seed, 0.25, 0.03)).clamp(min=-5),
    "inverse": lambda n, seed: power(n, [1, 1]),
    "log distance": lambda n, seed: power(n, _slopes(seed, 0.3, 2)),
    "noise 0.5": lambda n, seed: random(n, 0.5, seed),
    "noise 3": lambda n, seed: random(n, 3, seed),
    "noise 5": lambda n, seed: random(n, 5, seed),
    "one-sided": lambda n, seed: one_sided(clipped(n, 20, seed=seed), -20.0),
    "one-sided, before": lambda n, seed: one_sided(clipped(n, 20, seed=seed), -20.0).flip(1),
    "peak": lambda n, seed: put(clipped(n, 30, 0.3, seed), [(0, 12.0)]),
    "spike far away": lambda n, seed: put(clipped(n, 10, seed=seed), [(-450, 8.0), (450, 8.0)]),
    "forbidden side": lambda n, seed: one_sided(clipped(n, 128, seed=seed), -math.inf),
    "forbidden past": lambda n, seed: one_sided(clipped(n, 128, seed=seed), -math.inf).flip(1),
    "forbidden distances": lambda n, seed: put(clipped(n, 40, seed=seed), [(3, -math.inf), (-64, -math.inf), (300, -math.inf)]),
}
SMOOTH, NOISE = {"inverse", "log distance"}, {"noise 0.5", "noise 3", "noise 5"}


def _slopes(seed, *slopes):
    """Those, or with another seed than 0 some between them."""
    if seed == 0:
        return slopes
    share = torch.rand(len(slopes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return slopes[0] ** share * slopes[-1] ** (1 - share)


def _made(table):
    return lambda n, seed=0: table(n, seed).float().contiguous()


# Class -> (n, seed=0) -> a table of HEADS heads, float32.
TABLES = {name: _made(table) for name, table in _CLASSES.items()}
