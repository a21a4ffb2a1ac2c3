#!/usr/bin/env python3
"""Checks README's numbers of one attention layer on this machine, in half a minute.

Times PyTorch's softmax attention and ours, in turn, at one length, and compares how many times faster ours is with what README says, which is
made from bench/results/attention_cpu.json. PASS: at least 80 % of every ratio there was measured; else FAIL, and exits with 1.

  .deps/pytorch/bin/python bench/check_claims.py    # after scripts/test
"""

import argparse
import json
import statistics
import sys

import torch

import attention_cpu
import report

# Other processors share their time between products and exponentials otherwise: so much of a claimed ratio is enough.
ENOUGH = 0.8


def claimed(data: dict, n: int) -> dict[str, float]:
    """Table -> times faster than softmax at that length, as README has it."""
    softmax = report.softmax_times(data).get(n)
    rows = [row for row in data["rows"] if (row["n"], row["contender"]) == (n, "auto") and softmax]
    return {row["table"]: softmax / row["median_ms"] for row in rows if row["table"] in report.CLAIMED}


def measured(table: str, n: int, heads: int, dim: int, seconds: float) -> float:
    """Times faster than softmax, here and now."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, heads, dim, generator=generator) for _ in range(3))
    projection = torch.randn(dim, dim, generator=generator)
    bias = attention_cpu.tables(heads, n, generator)[table]
    contenders, _ = attention_cpu.make_contenders(q, k, v, projection, bias, ["softmax", "auto"])
    times, _ = attention_cpu.time_all(contenders, set(), seconds, limit=60)
    return statistics.median(times["softmax"]) / statistics.median(times["auto"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4096, help="a length in README's table")
    parser.add_argument("--seconds", type=float, default=5, help="time per table")
    parser.add_argument("--library", default=str(attention_cpu.ROOT / "build/cpu-release/model/attention/liblongwave_attention.so"))
    args = parser.parse_args()
    data = json.loads((attention_cpu.ROOT / "bench/results/attention_cpu.json").read_text())
    claims, shape = claimed(data, args.n), data["shape"]
    if not claims:
        parser.error(f"--n: found {args.n}, expected one of {sorted({row['n'] for row in data['rows']})}")
    torch.ops.load_library(args.library)
    torch.set_num_threads(data["machine"]["threads"])
    holds = True
    with torch.inference_mode():
        for table, column in report.CLAIMED.items():
            if table not in claims:
                continue
            ratio = measured(table, args.n, shape["heads"], shape["head_dim"], args.seconds)
            holds &= ratio >= ENOUGH * claims[table]
            print(f"{column}, {args.n:,} tokens: {ratio:.2f}x as fast as softmax; README: {claims[table]:.2f}x")
    print(f"{'PASS' if holds else 'FAIL'}: README's claim {'holds' if holds else 'does not hold'} on this machine "
          f"(at least {ENOUGH:.0%} of every ratio counts as holding)")  # fmt: skip
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
