"""The real binaries as objects: a server process on free ports, and the command line client."""

import json
import os
import pathlib
import signal
import subprocess
import urllib.request

import grpc
from prometheus_client.parser import text_string_to_metric_families

SERVER = os.environ["LONGWAVE_SERVER_BINARY"]
CLI = os.environ["LONGWAVE_CLI_BINARY"]
PATIENCE_S = 60  # for what should take no time; only a hang meets it


class Server:
    """longwave-server with a repository, ready when constructed. A context manager that kills what is left."""

    def __init__(self, repository: pathlib.Path, scratch: pathlib.Path, *flags: str):
        port_file = scratch / "ports.json"
        self._log = scratch / "server.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    SERVER,
                    f"--model_repository={repository}",
                    "--listen=127.0.0.1:0",
                    "--metrics_listen=127.0.0.1:0",
                    f"--port_file={port_file}",
                    "--device=cpu",  # unless the flags say otherwise
                    *flags,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        # The banner is written when the server is ready; an early exit closes the pipe instead.
        if not self.process.stdout.readline():
            raise RuntimeError(f"exit code {self.process.wait(PATIENCE_S)}: {self.log()}")
        ports = json.loads(port_file.read_text())
        self.address = f"127.0.0.1:{ports['grpc']}"
        self.metrics_url = f"http://127.0.0.1:{ports['metrics']}/metrics"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()

    def log(self) -> str:
        return self._log.read_text()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(
            self.address, options=[("grpc.max_receive_message_length", 256 << 20)]
        )

    def scrape(self) -> dict[str, dict[frozenset, float]]:
        """Samples by name, then by labels, as Prometheus's own Python parser reads them."""
        with urllib.request.urlopen(self.metrics_url, timeout=PATIENCE_S) as response:
            text = response.read().decode()
        samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return samples

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def run_server_that_cannot_start(repository: pathlib.Path, *flags: str) -> tuple[int, str]:
    """Exit code and everything it wrote. Fails by timeout if it starts after all."""
    flags = flags or ("--listen=127.0.0.1:0",)
    ended = subprocess.run(
        [SERVER, f"--model_repository={repository}", "--metrics_listen=127.0.0.1:0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    )
    return ended.returncode, ended.stdout.decode()


def longwave(*arguments: str, server: Server, stdin: bytes = b"") -> subprocess.CompletedProcess:
    """The command line client, its output as text."""
    environment = {**os.environ, "LONGWAVE_SERVER": server.address}
    ended = subprocess.run(
        [CLI, *arguments], input=stdin, env=environment, capture_output=True, timeout=PATIENCE_S
    )
    ended.stdout, ended.stderr = ended.stdout.decode(), ended.stderr.decode()
    return ended
