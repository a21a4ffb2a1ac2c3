#!/usr/bin/env python3
"""Puts servers under load on this machine, one scenario after the other, and keeps what was measured in one file.

Scenarios, by part: a bare gRPC echo and Longwave around a model that computes nothing, which is the server alone (null); a thousand
callers for a minute (streams); a slow model asked for three times what it can (slow); a real model at capacity and with ragged lengths
(capacity), at parts of its capacity with and without a long request always in flight (half, curve), at three times its capacity
(overload), and made to answer equal to the bit whoever shares the batch (invariant); the same mixes through model/runtime without a server
(runtime). Load and server share the machine. Takes about eight minutes.

  bench/serving.py --build build/cpu-release --out bench/results/serving.json && bench/report.py serving
  bench/serving.py --parts half curve --add --out bench/results/serving.json    measures these again and keeps the others

--soak instead: a thousand streams at 80% of what a server around a slow model answers, for ten minutes. The model sleeps, so that the device
is what is short, and not the cores, whatever else runs on them.

  bench/serving.py --soak --build build/cpu-release --out bench/results/serving_soak.json && bench/report.py serving_soak
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from attention_cpu import ROOT, cpu_name
from encoder_gpu import commit

PARTS = ("null", "streams", "slow", "capacity", "half", "curve", "overload", "invariant", "runtime")
STREAMS = "many:rate=4000,streams=1000,rpc=stream"
EQUAL = "mix:length=512,concurrency=32"
RAGGED = "mix:length=64..4096,concurrency=32,pool=256"
SHARES = (0.25, 0.75, 0.9)  # of the capacity, beside one half


def memory_summary(samples: list[int]) -> dict:
    """What is kept of memory that was sampled each second. The medians of the first and the last minute, or half of a run shorter than two,
    tell growth from what comes and goes."""
    window = min(60, max(1, len(samples) // 2))
    return {
        "first": samples[0],
        "last": samples[-1],
        "min": min(samples),
        "max": max(samples),
        "samples": len(samples),
        "window_samples": window,
        "first_median": statistics.median(samples[:window]),
        "last_median": statistics.median(samples[-window:]),
    }


class Bench:
    """Starts servers and sends them traffic; the measurements land in `runs`, which `save` gets after every scenario."""

    prefix = "real"
    shares: Sequence[float] = SHARES
    long = "long:length=65536,concurrency=1,pool=1"

    def __init__(self, build: pathlib.Path, model: pathlib.Path, scale: float, runs: dict | None = None, save: Callable[[dict], None] = lambda runs: None):
        self.programs, self.server = build / "bench/serving", build / "server/longwave-server"
        self.model, self.scale, self.address, self.metrics_port, self.pid = model, scale, "", 0, 0
        self.runs, self.save, self.commit = runs if runs is not None else {}, save, commit()

    def keep(self, name: str, run: dict) -> None:
        self.runs[name] = {**run, "commit": self.commit} if self.commit else run
        self.save(self.runs)

    @contextlib.contextmanager
    def serve(self, *command, ports: bool = True):
        """Runs a server for the block. ports: it writes a port file; otherwise the port is fixed by the command."""
        with tempfile.TemporaryDirectory() as folder:
            port_file = pathlib.Path(folder, "ports.json")
            options = [f"--port_file={port_file}"] if command[0] == self.server else ["--port-file", str(port_file)]
            process = subprocess.Popen([*command, *(options if ports else [])], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                if ports:
                    while not port_file.exists() or not port_file.read_text():
                        if process.poll() is not None:
                            raise SystemExit(f"{command[0]} ended with {process.returncode} before it served")
                        time.sleep(0.05)
                    bound = json.loads(port_file.read_text())
                    self.address, self.metrics_port = f"127.0.0.1:{bound['grpc']}", bound["metrics"]
                else:
                    self.address = f"127.0.0.1:{process.stdout.readline().split()[-1]}"
                self.pid = process.pid
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()

    def load(self, name: str, *classes: str, seconds: float, options: tuple = ()) -> dict:
        """One scenario; returns its first class."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [self.programs / "longwave-load", "--server", self.address, "--duration", str(seconds * self.scale), "--json", file.name]
            command += [word for text in classes for word in ("--class", text)]
            print(f"{name}: {' '.join(classes)}", file=sys.stderr)
            done = subprocess.run([*command, *options], stdout=sys.stderr, stderr=subprocess.DEVNULL)
            run = json.loads(pathlib.Path(file.name).read_text())
        if done.returncode != 0:
            raise SystemExit(f"{name}: lost, wrong or repeated answers")
        memory = run.pop("server_memory_bytes", None)
        if memory:
            run["server_memory_bytes"] = memory_summary(memory)
        self.keep(name, run)
        return run["classes"][0]

    def load_beside_long(self, share: float, capacity: float, seconds: float, repeats: int = 1, options: tuple = ()) -> None:
        """A part of the capacity without and with a long request, in turns; keeps the runs of median p99."""
        name, traffic = f"{self.prefix}_at_{share:.0%}", f"short:length=512,rate={share * capacity:.1f}"
        tries: dict[str, list[dict]] = {}
        for _ in range(repeats):
            for suffix, classes in (("", (traffic,)), ("_long", (traffic, self.long))):
                self.load_again(tries, name + suffix, *classes, seconds=seconds, options=options)
        self.keep_medians(tries, "p99")

    def load_again(self, tries: dict[str, list[dict]], name: str, *classes: str, seconds: float, options: tuple = ()) -> None:
        """One run of a scenario that has several, in turns with others, since other work on the machine comes and goes."""
        self.load(name, *classes, seconds=seconds, options=options)
        tries.setdefault(name, []).append(self.runs[name])

    def keep_medians(self, tries: dict[str, list[dict]], quantile: str) -> None:
        """Of each scenario's runs the one whose quantile is the median, of two the worse."""
        for name, runs in tries.items():
            ordered = sorted(runs, key=lambda run: run["classes"][0]["answered_ms"][quantile])
            self.keep(name, {**ordered[len(ordered) // 2], f"{quantile}_ms_of_runs": [run["classes"][0]["answered_ms"][quantile] for run in runs]})

    def direct(self, name: str, traffic: str, seconds: float, device: str = "cpu") -> None:
        """The same traffic without a server."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [self.programs / "longwave-runtime-load", "--model", self.model, "--device", device, "--class", traffic]
            subprocess.run([*command, "--duration", str(seconds * self.scale), "--json", file.name], check=True, stdout=sys.stderr)
            self.keep(name, json.loads(pathlib.Path(file.name).read_text()))

    def soak(self) -> None:
        with self.serve(self.programs / "longwave-null-server", "--us-per-token", "2"):
            # All streams at once, so that memory has been as large as it needs to be; then it takes seconds until what is free is given back.
            capacity = self.load("soak_capacity", "cap:concurrency=1000,rpc=stream", seconds=20)["answered_per_s"]
            self.load("soak", f"many:rate={0.8 * capacity:.1f},streams=1000,rpc=stream", seconds=600, options=self.watch(30))

    def watch(self, warm_up: float) -> tuple:
        """Options of a load that samples the server's memory after so many seconds of it."""
        return ("--watch-pid", str(self.pid), "--warmup", str(max(1.0, warm_up * self.scale)))

    def run(self, parts: list[str]) -> None:
        if "null" in parts:
            ids = ("--vocab-size", "1000")
            with self.serve(self.programs / "longwave-echo-server", "--api", "callback", ports=False):
                self.load("echo_1", "one:concurrency=1", seconds=8, options=ids)
                self.load("echo_16", "many:concurrency=16", seconds=8, options=ids)
            with self.serve(self.programs / "longwave-null-server"):
                self.load("null_1", "one:concurrency=1", seconds=8)
                self.load("null_16", "many:concurrency=16", seconds=8)
        if "streams" in parts:
            with self.serve(self.programs / "longwave-null-server"):
                self.load("null_streams_capacity", "cap:concurrency=1000,rpc=stream", seconds=10)  # as in soak()
                self.load("null_streams", STREAMS, seconds=60, options=self.watch(10))
        if "slow" in parts:
            with self.serve(self.programs / "longwave-null-server", "--us-per-token", "20"):
                capacity = self.load("slow_capacity", "cap:concurrency=64", seconds=10)["answered_per_s"]
                self.load("slow_overload", f"over:rate={3 * capacity:.1f},deadline=500ms", seconds=20)
        if {"capacity", "half", "curve", "overload"} & {*parts}:
            with self.serve_real():
                self.run_real(parts)
        if "invariant" in parts:
            with self.serve_real("--batch_invariant"):
                self.load("real_invariant", EQUAL, seconds=10)
                self.load("real_invariant_ragged", RAGGED, seconds=20)
        if "runtime" in parts:
            self.direct("runtime_512", EQUAL, 15)
            self.direct("runtime_ragged", RAGGED, 25)

    @contextlib.contextmanager
    def serve_real(self, *flags: str):
        """Serves the model and no other for the block."""
        with tempfile.TemporaryDirectory() as repository:
            version = self.model.resolve()
            shutil.copytree(version, pathlib.Path(repository, version.parent.name, version.name))
            with self.serve(self.server, f"--model_repository={repository}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", "--device=cpu", *flags):
                yield

    def run_real(self, parts: list[str]) -> None:
        if "capacity" in parts or "real_capacity" not in self.runs:
            self.load("real_capacity", EQUAL, seconds=15)
            self.load("real_ragged", RAGGED, seconds=25)
        capacity = self.runs["real_capacity"]["classes"][0]["answered_per_s"]
        if "half" in parts:
            self.load_beside_long(0.5, capacity, seconds=25)
        if "curve" in parts:
            for share in self.shares:
                self.load_beside_long(share, capacity, seconds=10)
        if "overload" in parts:
            self.load("real_overload", f"over:length=512,rate={3 * capacity:.1f},deadline=500ms", seconds=20)


def kept_runs(path: pathlib.Path | None, add: bool) -> dict:
    """What is to be kept of a file of results."""
    return json.loads(path.read_text())["runs"] if add and path is not None and path.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cpu-release")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "model/pretrained/file-type/1", help="the folder of a version")
    parser.add_argument("--scale", type=float, default=1, help="multiplies every duration; below 1 for a quick look")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of the capacity, for the curve")
    parser.add_argument("--add", action="store_true", help="keep what --out holds of other parts")
    parser.add_argument("--soak", action="store_true", help="ten minutes of a thousand streams, and nothing else")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON file for the results, written after every scenario")
    args = parser.parse_args()
    machine = {"processor": cpu_name(), "cores": os.cpu_count()}

    def save(runs: dict) -> None:
        args.out.write_text(json.dumps({"benchmark": "serving_soak" if args.soak else "serving", "machine": machine, "scale": args.scale, "runs": runs}, indent=1) + "\n")

    bench = Bench(args.build, args.model, args.scale, kept_runs(args.out, args.add), save)
    bench.shares = args.shares
    bench.soak() if args.soak else bench.run(args.parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
