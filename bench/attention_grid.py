#!/usr/bin/env python3
"""Times the attention operator for grids (images) on the CPU beside softmax attention, in one process.

Contenders, float32, batch 1, one head: softmax (scaled_dot_product_attention, no relative bias), auto, structured, direct, fft. What is timed
is the CPU's time of one thread, which other work on the machine disturbs least. Contenders take turns, with one prepared table; a row
keeps the median, the minimum and the maximum. One whose first call takes longer than --limit seconds is timed in one more and left out of larger
grids. auto's row says how many times the least time of the fastest algorithm it takes.

Tables: clipped, random for |dy|, |dx| <= 7 and clipped beyond, as a model trained on smaller images has it; decay, -0.1 (|dy| + |dx|); axial,
random by[dy] + bx[dx]; noise, random everywhere.

  bench/attention_grid.py --out bench/results/attention_grid.json && bench/report.py attention_grid
"""

import argparse
import json
import statistics
import sys
import time

import torch

from attention_cpu import APPEND, ROOT, cpu_name, merged, time_all, write


def tables(heads: int, side: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Bias tables [heads, 2 side - 1, 2 side - 1] by name; the clipped one is smaller than the grid."""

    def normal(*shape):
        return torch.randn(heads, *shape, generator=generator)

    decay = -0.1 * torch.arange(1 - side, side).abs().float()
    return {
        "clipped": normal(15, 15),
        "decay": (decay[:, None] + decay).expand(heads, -1, -1).contiguous(),
        "axial": normal(2 * side - 1, 1) + normal(1, 2 * side - 1),
        "noise": normal(2 * side - 1, 2 * side - 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32, 64, 128, 256], help="of square grids")
    parser.add_argument("--dim", type=int, default=64, help="head size, and the number of features")
    parser.add_argument("--tables", nargs="+", default=["clipped", "decay", "axial", "noise"])
    parser.add_argument("--contenders", nargs="+", default=["softmax", "auto", "structured", "direct", "fft"])
    parser.add_argument("--seconds", type=float, default=2, help="time per table and grid")
    parser.add_argument("--limit", type=float, default=2)
    parser.add_argument("--check", type=int, default=32, help="compare with float64 up to this side")
    parser.add_argument("--append", action="store_true", help=APPEND)
    parser.add_argument("--library", default=str(ROOT / "build/cpu-release/model/attention/liblongwave_attention.so"))
    parser.add_argument("--out", help="JSON file for the results; default: print them")
    args = parser.parse_args()

    torch.ops.load_library(args.library)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rows, too_slow = [], set()
    with torch.inference_mode():
        for side in args.sides:
            n = side * side
            q, k, v = (torch.randn(1, n, 1, args.dim, generator=generator) for _ in range(3))
            w = torch.randn(args.dim, args.dim, generator=generator)
            for table, bias in tables(1, side, generator).items():
                if table not in args.tables:
                    continue
                prepared = torch.classes.longwave.RelativeBias2d(bias, [side, side], "prf", 1e-5)
                run = {
                    name: lambda name=name: torch.ops.longwave.rpe_attention_2d.prepared(q, k, v, w, prepared, algorithm=name)
                    for name in args.contenders
                }
                if "softmax" in run:
                    run["softmax"] = lambda: torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
                plan = json.loads(torch.ops.longwave.plan_attention_2d.prepared(prepared, args.dim, args.dim, "cpu", "float32", 0))["groups"]
                times, slow = time_all(run, too_slow, args.seconds, args.limit, time.process_time, again=1)
                too_slow |= slow
                exact = None
                if side <= args.check:
                    exact = torch.ops.longwave.rpe_attention_2d(*(x.double() for x in (q, k, v)), w, bias, [side, side], algorithm="reference")
                for name, result in times.items():
                    row = {"side": side, "table": table, "contender": name}
                    if name == "auto":
                        row["algorithms"] = sorted({group["algorithm"] for group in plan})
                        row["predicted_ms"] = sum(group["predicted_ms"] for group in plan)
                    if isinstance(result, str):
                        row["refused"] = result
                    else:
                        row.update({f"{key}_ms": of(result) for key, of in (("median", statistics.median), ("min", min), ("max", max))})
                        row["runs"] = len(result)
                        if name == "auto":
                            row["ratio"] = min(result) / min(min(ms) for ours, ms in times.items() if ours != "softmax" and not isinstance(ms, str))
                        if exact is not None and name != "softmax":
                            error = (run[name]().double() - exact).abs().amax(1) / v.double().abs().amax(1)
                            row["error"] = error.max().item()
                    rows.append(row)
                    print(json.dumps(row), file=sys.stderr)
    if args.append:
        rows = merged(rows, args.out, ("side", "table", "contender"))
    document = {
        "benchmark": "attention_grid",
        "machine": {"processor": cpu_name(), "threads": 1, "torch": torch.__version__},
        "shape": {"batch": 1, "heads": 1, "head_dim": args.dim, "features": args.dim, "dtype": "float32"},
        "rows": rows,
    }
    write(document, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
