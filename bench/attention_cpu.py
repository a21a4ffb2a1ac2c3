#!/usr/bin/env python3
"""Times the attention operator on the CPU beside what a user would otherwise run, in one process.

Contenders, all single precision, batch 1:
  softmax    torch.nn.functional.scaled_dot_product_attention, no relative bias: the attention a user has today
  textbook   the paper's algorithm as published: torch.fft over the n x m x d expansion, one head at a time
  auto, direct, fft, ...   longwave::rpe_attention with that algorithm

Every contender is timed in turn, round after round in random order, so that a drift of the machine's speed hits all alike; a row keeps the median, the
minimum and the maximum. A contender whose first call takes longer than --limit seconds is timed once, and at larger n only for the tables
of --slow-tables; so is textbook at any n, as it does the same for every table. Up to --check tokens the result is also compared with the float64 reference (|error| / max |v|).

Examples:
  bench/attention_cpu.py --n 512 4096 --out /tmp/quick.json
  bench/attention_cpu.py --out bench/results/attention_cpu.json && bench/report.py attention_cpu    # a quarter of an hour
"""

import argparse
import json
import pathlib
import platform
import random
import statistics
import sys
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests/attention"))
from tables import alibi_slopes, clip, decay, power, spread  # noqa: E402: the tests' formulas


APPEND = "replace what was measured again in --out, keep its other rows"
TABLES = ("clipped", "alibi", "inverse", "logarithmic", "noise")


def tables(heads: int, length: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Bias tables [heads, 2 * length - 1] by name, in the operator's layout (ascending in t = j - i)."""
    return {
        "clipped": spread(torch.randn(heads, 257, generator=generator), clip(length, 128)),
        "alibi": decay(length, alibi_slopes(heads)).float(),
        "inverse": power(length, torch.ones(heads)).float(),
        "logarithmic": power(length, torch.linspace(0.3, 2, heads)).float(),
        "noise": 3.0 * torch.randn(heads, 2 * length - 1, generator=generator),
    }


def textbook(q, k, v, projection, bias):
    """The published algorithm (paper.md: FFT embedding), per head, with nothing shared, packed or cached. q, k, v: [n, heads, d]."""
    n, heads, _ = q.shape
    size = 2 * n
    center = bias.shape[1] // 2
    out = torch.empty_like(v)
    for h in range(heads):
        phi = []
        for x in (q[:, h], k[:, h]):
            x = torch.nn.functional.normalize(x, dim=-1)
            phi.append(torch.exp(x @ projection.T - 0.5 * (x * x).sum(-1, keepdim=True)))
        c = torch.exp(bias[h] - bias[h].max())
        first = torch.zeros(size)
        first[0] = c[center]
        first[1:n] = c[center - n + 1 : center].flip(0)
        first[size - n + 1 :] = c[center + 1 : center + n].flip(0)
        spectrum = torch.fft.rfft(first)

        def toeplitz(x):
            return torch.fft.irfft(spectrum[:, None] * torch.fft.rfft(x, size, dim=0), size, dim=0)[:n]

        kv = (phi[1][:, :, None] * v[:, h][:, None, :]).reshape(n, -1)
        d1 = toeplitz(kv).reshape(n, projection.shape[0], -1)
        d2 = toeplitz(phi[1])
        numerator = torch.einsum("nm,nmd->nd", phi[0], d1)
        out[:, h] = numerator / (phi[0] * d2).sum(-1, keepdim=True)
    return out


def make_contenders(q, k, v, projection, bias, names):
    """Name -> callable that runs it once, and the planner's groups, for one problem. q, k, v: [1, n, heads, d]."""
    prepared = torch.classes.longwave.RelativeBias(bias, "prf", False, q.shape[1], 1e-5)

    def softmax():
        return torch.nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        ).transpose(1, 2)

    def ours(algorithm):
        return lambda: torch.ops.longwave.rpe_attention.prepared(
            q, k, v, projection, prepared, algorithm=algorithm
        )

    peers = {
        "softmax": softmax,
        "textbook": lambda: textbook(q[0], k[0], v[0], projection, bias)[None],
    }
    contenders = {name: peers.get(name) or ours(name) for name in names}
    plan = json.loads(
        torch.ops.longwave.plan_attention(prepared, [q.shape[1]], q.shape[3], projection.shape[0], "cpu", "float32", 0)
    )
    return contenders, plan["groups"]


def time_all(contenders, skip, seconds, limit, clock=time.perf_counter, again=0):
    """Times the contenders in turn by a clock of seconds. Returns name -> list of milliseconds, or the text of the error that a contender raised.

    A first call, which finds caches and memory cold, only counts for a contender that is too slow to be called more than `again` times more.
    """
    times, slow = {}, set()
    for name, run in contenders.items():
        if name in skip:
            continue
        try:
            start = clock()
            run()
            first = clock() - start
        except (RuntimeError, ValueError) as error:  # a forced algorithm that refuses, or memory
            times[name] = str(error).splitlines()[0]
            continue
        times[name] = []
        if first > limit:
            slow.add(name)
            if again == 0:
                times[name].append(first * 1e3)
            for _ in range(again):
                start = clock()
                run()
                times[name].append((clock() - start) * 1e3)
    end = clock() + seconds
    rounds, order = 0, random.Random(0)
    live = [n for n, t in times.items() if isinstance(t, list) and n not in slow]
    while live and (rounds < 3 or (clock() < end and rounds < 50)):
        rounds += 1
        # In an order of its own, as a call finds the caches as the one before has left them.
        for name in order.sample(live, len(live)):
            start = clock()
            contenders[name]()
            times[name].append((clock() - start) * 1e3)
    return times, slow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[512, 1024, 4096, 16384, 65536], help="lengths")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=64, help="head size d, and the number of features m")
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument(
        "--contenders", nargs="+", default=["softmax", "textbook", "auto", "structured", "low_rank", "direct", "fft"]
    )
    parser.add_argument(
        "--slow-tables", nargs="*", default=["noise"], help="tables for which slow contenders are timed at larger n, too"
    )
    parser.add_argument("--append", action="store_true", help=APPEND)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5, help="time per table and length")
    parser.add_argument("--limit", type=float, default=5, help="seconds; a first call slower than this is timed once")
    parser.add_argument("--check", type=int, default=1024, help="compare with float64 up to this length")
    parser.add_argument("--library", default=str(ROOT / "build/cpu-release/model/attention/liblongwave_attention.so"))
    parser.add_argument("--out", help="JSON file for the results; default: print them")
    args = parser.parse_args()

    torch.ops.load_library(args.library)
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    rows, too_slow = [], {}  # by table: what is slow on one may be fast on the next
    with torch.inference_mode():
        for n in args.n:
            q, k, v = (torch.randn(1, n, args.heads, args.dim, generator=generator) for _ in range(3))
            projection = torch.randn(args.dim, args.dim, generator=generator)
            for table, bias in tables(args.heads, n, generator).items():
                if table not in args.tables:
                    continue
                names = [c for c in args.contenders if c != "textbook" or table in args.slow_tables]
                contenders, plan = make_contenders(q, k, v, projection, bias, names)
                skip = too_slow.setdefault(table, set()) if table not in args.slow_tables else set()
                times, slow = time_all(contenders, skip, args.seconds, args.limit)
                skip |= slow
                exact = None
                if n <= args.check:
                    exact = torch.ops.longwave.rpe_attention(
                        q.double(), k.double(), v.double(), projection, bias, algorithm="reference"
                    )
                for name, result in times.items():
                    row = {"n": n, "table": table, "contender": name}
                    if name == "auto":
                        row["algorithms"] = sorted({group["algorithm"] for group in plan})
                        row["predicted_ms"] = sum(group["predicted_ms"] for group in plan)
                    if isinstance(result, str):
                        row["refused"] = result
                    else:
                        row.update(
                            median_ms=statistics.median(result), min_ms=min(result), max_ms=max(result), runs=len(result)
                        )
                        if exact is not None and name != "softmax":
                            error = (contenders[name]().double() - exact).abs().amax(1) / v.double().abs().amax(1)
                            row["error"] = error.max().item()
                    rows.append(row)
                    print(json.dumps(row), file=sys.stderr)
    if args.append:
        rows = merged(rows, args.out, ("n", "table", "contender"))
    document = {
        "benchmark": "attention_cpu",
        "machine": {"processor": cpu_name(), "threads": args.threads, "torch": torch.__version__},
        "shape": {"batch": 1, "heads": args.heads, "head_dim": args.dim, "features": args.dim, "dtype": "float32"},
        "rows": rows,
    }
    write(document, args.out)
    return 0


def merged(rows: list[dict], out: str, key: tuple[str, ...]) -> list[dict]:
    """The rows of the file `out`, if there is one, without those that `rows` measures again (the same values of `key`), then `rows`."""
    path, fresh = pathlib.Path(out), {tuple(row[k] for k in key) for row in rows}
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in old if tuple(row[k] for k in key) not in fresh] + rows


def write(document: dict, out: str | None) -> None:
    """Writes results as JSON to a file, or prints them where none is named."""
    text = json.dumps(document, indent=1) + "\n"
    if out:
        pathlib.Path(out).write_text(text)
    else:
        print(text)


def cpu_name() -> str:
    """The processor's name as Linux tells it."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
