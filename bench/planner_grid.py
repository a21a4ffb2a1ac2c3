#!/usr/bin/env python3
"""Shows how far the planner's pick is from the fastest algorithm, over a grid of bias tables and lengths or batches.

For every table and length each algorithm that serves it is timed, forced, in turn, round after round: on the CPU by the clock, on a GPU as a
CUDA graph by events. `auto` is not timed, as it is the pick plus the planning, except where it
splits the heads over several algorithms: then it is the pick. A row keeps the pick, the least time of every algorithm (other work on the machine only adds), and pick / best. An algorithm
that is predicted to take more than --skip times as long as the pick is left out: it would have to be mispredicted that much to matter.

  bench/planner_grid.py --out bench/results/planner_grid.json && bench/report.py planner_grid
  bench/planner_grid.py --device cuda --heads 12 --dtype bfloat16 --out bench/results/planner_grid_gpu.json && bench/report.py planner_grid_gpu
"""

import argparse
import json
import math
import re
import sys
import time

import torch

import attention_cpu
from tables import spread, t5_bucket, window


def tables(heads: int, length: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Those of attention_cpu, T5's buckets, and a window of 200 neighbours on either side."""
    return attention_cpu.tables(heads, length, generator) | {
        "t5": spread(torch.randn(heads, 32, generator=generator), t5_bucket(length)),
        "window": window(length, 200, heads).float(),
    }


def on_cpu(run) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


class OnGpu:
    """The same, replayed from a CUDA graph; short ones several times between two events."""

    def __init__(self):
        self.graphs = {}

    def __call__(self, run) -> float:
        if run not in self.graphs:
            run()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            self.graphs[run] = [graph, 1]
            self.replay(run)
            self.graphs[run][1] = max(1, min(50, int(2 / self.replay(run))))
        return self.replay(run)

    def replay(self, run) -> float:
        graph, replays = self.graphs[run]
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(replays):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / replays


def best_times(runs: dict, seconds: float, clock) -> dict[str, float]:
    """Name -> least milliseconds, all in turn, at least twice."""
    times = {name: math.inf for name in runs}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 2 or time.perf_counter() < end:
        rounds += 1
        for name, run in runs.items():
            times[name] = min(times[name], clock(run))
    return times


def measure(batch: int, n: int, table: str, bias: torch.Tensor, args: argparse.Namespace, generator: torch.Generator) -> dict:
    heads, dim, skip = bias.shape[0], args.dim, args.skip
    dtype = getattr(torch, args.dtype)
    q, k, v = (torch.randn(batch, n, heads, dim, generator=generator).to(args.device, dtype) for _ in range(3))
    if not args.normalize:  # as softmax attention scales them
        q, k = q * dim**-0.25, k * dim**-0.25
    projection = torch.randn(dim, dim, generator=generator).to(args.device)
    prepared = torch.classes.longwave.RelativeBias(bias.contiguous(), "prf", False, n, 1e-5)
    groups = json.loads(torch.ops.longwave.plan_attention(prepared, [n] * batch, dim, dim, args.device, args.dtype, 0, normalize=args.normalize))["groups"]
    # A group's reason names every algorithm that serves its heads, with its prediction for one of them.
    served = [
        {name: batch * len(group["heads"]) * float(ms) for name, ms in re.findall(r"(\w+) takes ([0-9.e+-]+) ms", group["reason"])}
        for group in groups
    ]
    predicted = {name: sum(ms[name] for ms in served) for name in served[0] if all(name in ms for ms in served)}
    pick = groups[0]["algorithm"] if len(groups) == 1 else "auto"  # only that computes heads of several algorithms
    predicted[pick] = sum(group["predicted_ms"] for group in groups)
    runs = {
        name: lambda name=name: torch.ops.longwave.rpe_attention.prepared(q, k, v, projection, prepared, normalize=args.normalize, algorithm=name)
        for name, ms in predicted.items()
        if ms <= skip * predicted[pick]
    }
    times = best_times(runs, args.seconds, OnGpu() if args.device == "cuda" else on_cpu)
    return {
        "batch": batch, "n": n, "table": table, "normalize": args.normalize, "pick": pick, "predicted_ms": predicted,
        "measured_ms": times, "ratio": times[pick] / min(times.values()),
    }


def batch_of(text: str) -> tuple[int, int]:
    """n or BATCHxN."""
    batch, _, n = text.rpartition("x")
    return int(batch or 1), int(n)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=batch_of, nargs="+", default=[(1, n) for n in (128, 256, 512, 1024, 4096, 16384)],
                        help="lengths, or batches of sequences of one length: 32x512")  # fmt: skip
    parser.add_argument("--tables", nargs="+", default=["clipped", "t5", "alibi", "inverse", "noise", "window"])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dim", type=int, default=64, help="head size, and the number of features")
    parser.add_argument("--unnormalised", dest="normalize", action="store_false",
                        help="features of any size: then structured and low_rank do not apply")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1, help="time per table and length, at least two rounds")
    parser.add_argument("--skip", type=float, default=4, help="leave out algorithms predicted to be this many times slower")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--build", default=str(attention_cpu.ROOT / "build/cpu-release"), help="build folder with the operator libraries")
    parser.add_argument("--commit", help="what was built, for the results")
    parser.add_argument("--append", action="store_true", help=attention_cpu.APPEND)
    parser.add_argument("--out", help="JSON file for the results; default: print them")
    args = parser.parse_args()
    torch.ops.load_library(f"{args.build}/model/attention/liblongwave_attention.so")
    if args.device == "cuda":
        torch.ops.load_library(f"{args.build}/lib/liblongwave_cuda.so")
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    rows = []
    with torch.inference_mode():
        for batch, n in args.n:
            biases = tables(args.heads, n, generator)
            for table in args.tables:
                rows.append(measure(batch, n, table, biases[table], args, generator))
                print(json.dumps(rows[-1]), file=sys.stderr)
    if args.append:
        rows = attention_cpu.merged(rows, args.out, ("batch", "n", "table", "normalize"))
    machine = {"gpu": torch.cuda.get_device_name()} if args.device == "cuda" else {
        "processor": attention_cpu.cpu_name(), "threads": args.threads}  # fmt: skip
    document = {
        "benchmark": "planner_grid",
        "machine": machine | {"torch": torch.__version__} | ({"commit": args.commit} if args.commit else {}),
        "shape": {"heads": args.heads, "head_dim": args.dim, "features": args.dim, "dtype": args.dtype},
        "rows": rows,
    }
    attention_cpu.write(document, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
