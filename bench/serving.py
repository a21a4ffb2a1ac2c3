#!/usr/bin/env python3
"""Puts servers under load on this machine, one scenario after the other, and keeps what was measured in one file.

Scenarios: a bare gRPC echo and Longwave around a model that computes nothing (the server alone); a thousand callers for two minutes; a slow
model asked for three times what it can; a real model at capacity, at half of it with and without a long request always in
flight, with ragged lengths, and at three times its capacity; the same mixes through model/runtime without a server. Load and
server share the machine. Takes about seven minutes.

  bench/serving.py --build build/cpu-release --out bench/results/serving.json && bench/report.py serving

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
import subprocess
import sys
import tempfile
import time

from attention_cpu import ROOT, cpu_name

STREAMS = "many:rate=4000,streams=1000,rpc=stream"
RAGGED = "mix:length=64..4096,concurrency=32"
LONG = "long:length=65536,concurrency=1,pool=1"


class Bench:
    """Starts servers and sends them traffic; the measurements land in `runs`."""

    def __init__(self, build: pathlib.Path, model: pathlib.Path, scale: float):
        self.programs, self.server = build / "bench/serving", build / "server/longwave-server"
        self.model, self.scale, self.runs, self.address, self.metrics_port, self.pid = model, scale, {}, "", 0, 0

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
            run["server_memory_bytes"] = {"first": memory[0], "min": min(memory), "max": max(memory), "samples": len(memory)}
        self.runs[name] = run
        return run["classes"][0]

    def direct(self, name: str, traffic: str, seconds: float, device: str = "cpu") -> None:
        """The same traffic without a server."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [self.programs / "longwave-runtime-load", "--model", self.model, "--device", device, "--class", traffic]
            subprocess.run([*command, "--duration", str(seconds * self.scale), "--json", file.name], check=True, stdout=sys.stderr)
            self.runs[name] = json.loads(pathlib.Path(file.name).read_text())

    def soak(self) -> None:
        with self.serve(self.programs / "longwave-null-server", "--us-per-token", "2"):
            watch = ("--watch-pid", str(self.pid))
            # All streams at once, so that memory has been as large as it needs to be.
            capacity = self.load("soak_capacity", "cap:concurrency=1000,rpc=stream", seconds=20)["answered_per_s"]
            self.load("soak", f"many:rate={0.8 * capacity:.1f},streams=1000,rpc=stream", seconds=600, options=watch)

    def run(self) -> None:
        ids = ("--vocab-size", "1000")
        with self.serve(self.programs / "longwave-echo-server", "--api", "callback", ports=False):
            self.load("echo_1", "one:concurrency=1", seconds=8, options=ids)
            self.load("echo_16", "many:concurrency=16", seconds=8, options=ids)
        with self.serve(self.programs / "longwave-null-server"):
            self.load("null_1", "one:concurrency=1", seconds=8)
            self.load("null_16", "many:concurrency=16", seconds=8)
            self.load("null_streams", STREAMS, seconds=120, options=("--watch-pid", str(self.pid)))
        with self.serve(self.programs / "longwave-null-server", "--us-per-token", "20"):
            capacity = self.load("slow_capacity", "cap:concurrency=64", seconds=10)["answered_per_s"]
            self.load("slow_overload", f"over:rate={3 * capacity:.1f},deadline=500ms", seconds=20)
        with tempfile.TemporaryDirectory() as repository:
            version = self.model.resolve()
            shutil.copytree(version, pathlib.Path(repository, version.parent.name, version.name))
            with self.serve(self.server, f"--model_repository={repository}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", "--device=cpu"):
                capacity = self.load("real_capacity", "cap:length=512,concurrency=32", seconds=15)["answered_per_s"]
                half = f"short:length=512,rate={capacity / 2:.1f}"
                self.load("real_half", half, seconds=40)
                self.load("real_half_long", half, LONG, seconds=40)
                self.load("real_ragged", RAGGED, seconds=40)
                self.load("real_overload", f"over:length=512,rate={3 * capacity:.1f},deadline=500ms", seconds=20)
        self.direct("runtime_512", "mix:length=512,concurrency=32", 15)
        self.direct("runtime_ragged", RAGGED, 40)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cpu-release")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "model/pretrained/file-type/1", help="the folder of a version")
    parser.add_argument("--scale", type=float, default=1, help="multiplies every duration; below 1 for a quick look")
    parser.add_argument("--soak", action="store_true", help="ten minutes of a thousand streams, and nothing else")
    parser.add_argument("--out", help="JSON file for the results; default: print them")
    args = parser.parse_args()
    bench = Bench(args.build, args.model, args.scale)
    bench.soak() if args.soak else bench.run()
    machine = {"processor": cpu_name(), "cores": os.cpu_count()}
    text = json.dumps({"benchmark": "serving_soak" if args.soak else "serving", "machine": machine, "scale": args.scale, "runs": bench.runs}, indent=1) + "\n"
    if args.out:
        pathlib.Path(args.out).write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
