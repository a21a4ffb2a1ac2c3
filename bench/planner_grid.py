#!/usr/bin/env python3
"""Shows how far the planner's pick is from the fastest algorithm, over a grid of bias tables and lengths on the CPU.

For every table and length each algorithm that serves it is timed, forced, in turn, round after round; `auto` is not timed, as it is the pick
plus the planning. A row keeps the pick, the least time of every algorithm (other work on the machine only adds), and pick / best. An algorithm
that is predicted to take more than --skip times as long as the pick is left out: it would have to be mispredicted that much to matter.

  bench/planner_grid.py --out bench/results/planner_grid.json && bench/report.py planner_grid
"""

import argparse
import json
import math
import pathlib
import re
import sys
import time

import torch

import attention_cpu


def t5_buckets(heads: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """T5's bidirectional buckets: 32, logarithmic up to |t| = 128."""
    t = torch.arange(-(length - 1), length)
    far = 8 + (torch.log(t.abs().clamp(min=1) / 8) / math.log(16) * 8).floor().clamp(max=7)
    bucket = torch.where(t.abs() < 8, t.abs().float(), far) + 16 * (t > 0)
    return torch.randn(heads, 32, generator=generator)[:, bucket.long()]


def best_times(runs: dict, seconds: float) -> dict[str, float]:
    """Name -> least milliseconds, all in turn, at least twice."""
    times = {name: math.inf for name in runs}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 2 or time.perf_counter() < end:
        rounds += 1
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name] = min(times[name], (time.perf_counter() - start) * 1e3)
    return times


def measure(n: int, table: str, bias: torch.Tensor, dim: int, seconds: float, skip: float, generator: torch.Generator) -> dict:
    heads = bias.shape[0]
    q, k, v = (torch.randn(1, n, heads, dim, generator=generator) for _ in range(3))
    projection = torch.randn(dim, dim, generator=generator)
    prepared = torch.classes.longwave.RelativeBias(bias, "prf", False, n, 1e-5)
    groups = json.loads(torch.ops.longwave.plan_attention(prepared, [n], dim, dim, "cpu", "float32", 0))["groups"]
    if len(groups) != 1:
        raise SystemExit(f"{table}, {n} tokens: expected one group for tables of one kind, found {len(groups)}")
    # The plan's reason names every algorithm that serves the heads, with its prediction.
    predicted = {name: float(ms) for name, ms in re.findall(r"(\w+) takes ([0-9.e+-]+) ms", groups[0]["reason"])}
    pick = groups[0]["algorithm"]
    runs = {
        name: lambda name=name: torch.ops.longwave.rpe_attention.prepared(q, k, v, projection, prepared, algorithm=name)
        for name, ms in predicted.items()
        if ms <= skip * predicted[pick]
    }
    times = best_times(runs, seconds)
    return {
        "n": n, "table": table, "pick": pick, "predicted_ms": {name: ms * heads for name, ms in predicted.items()},
        "measured_ms": times, "ratio": times[pick] / min(times.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[128, 256, 512, 1024, 4096, 16384], help="lengths")
    parser.add_argument("--tables", nargs="+", default=["clipped", "t5", "alibi", "inverse", "noise"])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dim", type=int, default=64, help="head size, and the number of features")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1, help="time per table and length, at least two rounds")
    parser.add_argument("--skip", type=float, default=4, help="leave out algorithms predicted to be this many times slower")
    parser.add_argument("--library", default=str(attention_cpu.ROOT / "build/cpu-release/model/attention/liblongwave_attention.so"))
    parser.add_argument("--out", help="JSON file for the results; default: print them")
    args = parser.parse_args()
    torch.ops.load_library(args.library)
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    rows = []
    with torch.inference_mode():
        for n in args.n:
            tables = attention_cpu.tables(args.heads, n, generator) | {"t5": t5_buckets(args.heads, n, generator)}
            for table in args.tables:
                rows.append(measure(n, table, tables[table], args.dim, args.seconds, args.skip, generator))
                print(json.dumps(rows[-1]), file=sys.stderr)
    document = {
        "benchmark": "planner_grid",
        "machine": {"processor": attention_cpu.cpu_name(), "threads": args.threads, "torch": torch.__version__},
        "shape": {"batch": 1, "heads": args.heads, "head_dim": args.dim, "features": args.dim, "dtype": "float32"},
        "rows": rows,
    }
    text = json.dumps(document, indent=1) + "\n"
    if args.out:
        pathlib.Path(args.out).write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
