#!/usr/bin/env python3
"""Serves the pretrained model on the CPU and on a GPU and compares what the two answer for the files of this repository; shows where
the GPU's metrics say that the model runs, and with which algorithms.

  bench/serving_gpu_answers.py --build build/gpu --out bench/results/serving_gpu_answers.json
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

from encoder_gpu import commit
from serving import ROOT, Bench
from serving_gpu import gpu_name

FOLDERS = ("bench", "client", "cmake", "deploy", "docs", "model", "proto", "server", "tests")
MAX_BYTES = 200_000
MAX_FILES = 160
LONG_INPUT = ("all work and no play makes a dull boy\n" * 26_000).encode()  # 988,000 tokens

# Largest difference of a probability from the CPU's in float32.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}


def classify(build: pathlib.Path, address: str, inputs: list[str]) -> list[dict[str, float]]:
    """Label -> probability, for each input."""
    command = [build / "client/cli/longwave", "classify", "--json", "--top_k", "0", "--server", address, *inputs]
    results = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"]
    return [{label["label"]: label["probability"] for label in result["labels"]} for result in results]


def metrics(port: int, *names: str) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        return [line for line in page.read().decode().splitlines() if line.startswith(names)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cpu-release")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--commit", help="of the server, where the sources are not a repository")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results; default: print them")
    args = parser.parse_args()
    files = sorted(str(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file() and 0 < path.stat().st_size <= MAX_BYTES)
    files = files[:: -(-len(files) // MAX_FILES)]
    bench = Bench(args.build, ROOT / "model/pretrained/file-type/1", 1)
    command = [bench.server, f"--model_repository={ROOT / 'model/pretrained'}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0"]
    answers = {}
    report = {"benchmark": "serving_gpu_answers", "commit": args.commit or commit(), "gpu": gpu_name(), "inputs": len(files) + 1, "dtypes": {}}
    with tempfile.NamedTemporaryFile() as long_input:
        long_input.write(LONG_INPUT)
        long_input.flush()
        for device, dtype in (("cpu", "float32"), (args.device, "float32"), (args.device, "bfloat16")):
            with bench.serve(*command, f"--device={device}", f"--dtype={dtype}"):
                answers[device, dtype] = classify(args.build, bench.address, [*files, long_input.name])
                shown = metrics(bench.metrics_port, "longwave_model_info", "longwave_model_attention_heads")
            if device != "cpu":
                report["dtypes"][dtype] = {"metrics": shown}
    failed = False
    for dtype, row in report["dtypes"].items():
        pairs = list(zip(answers["cpu", "float32"], answers[args.device, dtype], strict=True))
        row["largest_difference"] = max(abs(found[label] - p) for expected, found in pairs for label, p in expected.items())
        row["labels_that_differ"] = sum(max(expected, key=expected.get) != max(found, key=found.get) for expected, found in pairs)
        failed |= not row["largest_difference"] <= TOLERANCES[dtype]
        print(f"{dtype}: {row['largest_difference']:.1e}, {row['labels_that_differ']} of {len(pairs)} labels differ", file=sys.stderr)
    text = json.dumps(report, indent=1) + "\n"
    if args.out:
        args.out.write_text(text)
    else:
        print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
