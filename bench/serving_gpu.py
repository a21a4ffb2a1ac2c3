#!/usr/bin/env python3
"""Puts a server on a GPU under load on this machine, as bench/serving.py does on the CPU, with a model of BERT-base's shape.

Scenarios, by part: a model that computes nothing, which is the server alone (null); 512 tokens with 64 callers (always), and with one (single);
ragged lengths with 32 callers (ragged); 16,384 tokens with four (16k); the same mixes through model/runtime without a server (runtime); half of the
capacity, and other parts of it, without and with a request of a million tokens always in flight (half, curve); three times the capacity
(overload); answers that are equal to the bit whoever shares the batch (invariant). Load and server share the machine. Takes about four minutes.

  bench/serving_gpu.py --build build/gpu --out bench/results/serving_gpu.json && bench/report.py serving_gpu
  bench/serving_gpu.py --build build/gpu --parts null overload --add --out bench/results/serving_gpu.json    keeps the other parts
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable

from random_bert import write_random_bert
from serving import ROOT, SHARES, Bench, cpu_name, kept_runs

PARTS = ("single", "ragged", "16k", "half", "curve", "overload", "runtime", "null", "invariant")
EQUAL = "mix:length=512,concurrency=64"
RAGGED = "mix:length=64..4096,concurrency=32,pool=1024"

# What the server promises of bfloat16 answers whatever batch a request was part of (model/runtime/model.h).
TOLERANCE = 3e-2


class GpuBench(Bench):
    """The same with a model of BERT-base's shape on a GPU."""

    prefix = "bert"
    long = "long:length=1048576,concurrency=1,pool=1"

    def __init__(self, build: pathlib.Path, repository: pathlib.Path, args: argparse.Namespace, runs: dict, save: Callable[[dict], None]):
        super().__init__(build, repository / "bert/1", args.scale, runs, save)
        self.repository, self.device, self.flags, self.shares, self.repeats = repository, args.device, args.server_flag, args.shares, args.repeats
        self.many = ("--threads", str(args.threads), "--connections", str(args.threads))
        self.options = ("--tolerance", str(TOLERANCE), *self.many)

    def sums(self) -> dict[str, float]:
        """What the server has counted since its start, over all labels."""
        found: dict[str, float] = {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as page:
            for line in page.read().decode().splitlines():
                if not line.startswith("#") and "_bucket{" not in line:
                    name = line.split("{")[0].split(" ")[0]
                    found[name] = found.get(name, 0) + float(line.rsplit(" ", 1)[1])
        return found

    def load(self, name: str, *classes: str, seconds: float, options: tuple = ()) -> dict:
        """One scenario, with the batches that the server made of it, warm-up and first requests included."""
        before = self.sums() if self.metrics_port else {}
        row = super().load(name, *classes, seconds=seconds, options=options)
        if before:
            more = {key: value - before.get(key, 0) for key, value in self.sums().items()}
            batches = more["longwave_compute_duration_seconds_count"]
            self.runs[name]["batches"] = {
                "count": batches,
                "mean_tokens": more["longwave_tokens_total"] / batches,
                "mean_compute_ms": 1e3 * more["longwave_compute_duration_seconds_sum"] / batches,
                "padded_tokens": more["longwave_padded_tokens_total"],
                "splits": more["longwave_batch_splits_total"],
            }
            self.save(self.runs)
        return row

    def run(self, parts: list[str]) -> None:
        if {"single", "ragged", "16k", "half", "curve", "overload"} & {*parts}:
            with self.serve_real():
                self.run_real(parts)
        if "runtime" in parts:
            self.direct("runtime_512", EQUAL, 5, self.device)
            self.direct("runtime_ragged", RAGGED, 5, self.device)
        if "null" in parts:
            self.run_null()
        if "invariant" in parts:
            with self.serve_real("--batch_invariant"):
                self.load("bert_invariant", EQUAL, seconds=4, options=self.options)
                self.load("bert_invariant_ragged", RAGGED, seconds=5, options=self.options)

    def run_single(self) -> None:
        one, tolerance = "one:length=512,concurrency=1", self.options[:2]  # on one connection
        tries: dict[str, list[dict]] = {}
        for _ in range(self.repeats):
            self.load_again(tries, "bert_1", one, seconds=2, options=tolerance)
            self.load_again(tries, "bert_1_spin", one, seconds=2, options=(*tolerance, "--spin"))
        self.keep_medians(tries, "p50")

    def run_null(self) -> None:
        ids = ("--vocab-size", "30522")
        self.metrics_port = 0
        tries: dict[str, list[dict]] = {}
        for _ in range(self.repeats):
            with self.serve(self.programs / "longwave-echo-server", "--api", "callback", ports=False):
                self.load_again(tries, "echo_1", "one:concurrency=1", seconds=2, options=ids)
                self.load_again(tries, "echo_paced", "one:rate=1000", seconds=2, options=ids)
                self.load_again(tries, "echo_16", "many:concurrency=16", seconds=2, options=(*ids, *self.many))
            with self.serve(self.programs / "longwave-null-server"):
                self.load_again(tries, "null_1", "one:concurrency=1", seconds=2)
                self.load_again(tries, "null_16", "many:concurrency=16", seconds=2, options=self.many)
        self.keep_medians(tries, "p50")

    @contextlib.contextmanager
    def serve_real(self, *flags: str):
        command = (self.server, f"--model_repository={self.repository}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", f"--device={self.device}")
        with self.serve(*command, *self.flags, *flags):
            yield

    def run_real(self, parts: list[str]) -> None:
        capacity = self.load("bert_64", EQUAL, seconds=6, options=self.options)["answered_per_s"]
        if "single" in parts:
            self.run_single()
        if "half" in parts:
            self.load_beside_long(0.5, capacity, 5, self.repeats, self.options)
        if "ragged" in parts:
            self.load("bert_ragged", RAGGED, seconds=8, options=self.options)
        if "16k" in parts:
            self.load("bert_16k", "mix:length=16384,concurrency=4,pool=16", seconds=5, options=self.options)
        if "overload" in parts:
            self.load("bert_overload", f"over:length=512,rate={3 * capacity:.1f},deadline=250ms", seconds=8, options=self.options)
        if "curve" in parts:
            for share in self.shares:
                self.load_beside_long(share, capacity, 5, options=self.options)


def gpu_name() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm", "--format=csv,noheader", "--id=0"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cpu-release")
    parser.add_argument("--device", default="cuda:0", help="cuda:N; cpu for a trial of the script")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--add", action="store_true", help="keep what --out holds of other parts")
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of the capacity, where latency over load is measured beside one half")
    parser.add_argument("--repeats", type=int, default=3, help="runs in turns with and without a long request at half of the capacity, of one caller, and without a model")
    parser.add_argument("--threads", type=int, default=4, help="threads and connections of the load")
    parser.add_argument("--scale", type=float, default=1, help="multiplies every duration; below 1 for a quick look")
    parser.add_argument("--server-flag", action="append", default=[], help="further flags of the server")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON file for the results")
    args = parser.parse_args()
    machine = {"processor": cpu_name(), "cores": os.cpu_count(), "gpu": gpu_name() if args.device != "cpu" else "none"}

    def save(runs: dict) -> None:
        """After every scenario, so that nothing is lost."""
        text = json.dumps({"benchmark": "serving_gpu", "machine": machine, "scale": args.scale, "server_flags": args.server_flag, "runs": runs}, indent=1)
        args.out.write_text(text + "\n")

    with tempfile.TemporaryDirectory() as repository:
        write_random_bert(pathlib.Path(repository, "bert/1"))
        GpuBench(args.build, pathlib.Path(repository), args, kept_runs(args.out, args.add), save).run(args.parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
