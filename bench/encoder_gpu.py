#!/usr/bin/env python3
"""Runs longwave_bench_encoder_gpu and keeps what it measured, with the machine that it was measured on.

  bench/encoder_gpu.py --program build/cpu-release/bench/encoder_gpu/longwave_bench_encoder_gpu --out bench/results/encoder_gpu.json

Needs a GPU and LD_LIBRARY_PATH as docs/gpu.md says; no Python packages. Other flags (--shapes=1x512,32x512) are the program's. The
JSON is written after each batch, so a run that is cut short keeps what it has. bench/report.py makes the tables.
"""

import argparse
import json
import pathlib
import subprocess
import sys

QUERY = ("name", "driver_version", "clocks.max.sm", "clocks.sm", "clocks.mem", "power.limit")


def gpu() -> dict[str, str]:
    """What nvidia-smi says of the first GPU."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(zip(QUERY, (value.strip() for value in line.split(","))))


def commit() -> str | None:
    """The commit of the sources, where they are a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--commit", default=None, help="of the program, where the sources are not here")
    parser.add_argument("--append", action="store_true", help="keep the batches of --out that this run does not measure")
    options, flags = parser.parse_known_args()
    result = {"machine": {}, "commit": options.commit or commit(), "rows": [], "steps": {}}
    if options.append and options.out.exists():
        kept = json.loads(options.out.read_text())
        result |= {"rows": kept["rows"], "steps": kept.get("steps", {})}
        for row in result["rows"]:
            row.setdefault("commit", kept["commit"])
    program = subprocess.Popen([options.program.resolve(), *flags], stdout=subprocess.PIPE, text=True)
    for line in program.stdout:
        measured = json.loads(line)
        row = measured.pop("row", None)
        if row is not None:
            batch = (row["sequences"], row["length"])
            others = [r for r in result["rows"] if (r["sequences"], r["length"]) != batch]
            result["rows"] = sorted([*others, row | {"commit": result["commit"]}], key=lambda r: (r["length"], r["sequences"]))
        result["steps"] |= measured.pop("steps", {})
        result |= measured
        # The clocks right after a run, while the GPU is warm.
        result["machine"] = gpu()
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
