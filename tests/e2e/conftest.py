"""Fixtures: the wire's Python code generated from proto/, a repository with a random model, servers."""

import importlib
import pathlib
import sys
import types

import grpc
import pytest
from grpc_tools import protoc
from harness import Server
from models import write_random_model

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def wire(tmp_path_factory) -> types.SimpleNamespace:
    """The generated modules: inference, model (messages), inference_grpc, model_grpc (stubs)."""
    out = tmp_path_factory.mktemp("stubs")
    names = ("inference", "model")
    files = [f"longwave/v1/{name}.proto" for name in names]
    flags = [f"-I{_ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert protoc.main(["protoc", *flags, *files]) == 0
    sys.path.insert(0, str(out))
    modules = {name: importlib.import_module(f"longwave.v1.{name}_pb2") for name in names}
    stubs = {
        f"{name}_grpc": importlib.import_module(f"longwave.v1.{name}_pb2_grpc") for name in names
    }
    return types.SimpleNamespace(**modules, **stubs)


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> pathlib.Path:
    """One model with random weights."""
    folder = tmp_path_factory.mktemp("repository")
    write_random_model(folder, seed=11)
    return folder


@pytest.fixture(scope="session")
def server(repository, tmp_path_factory):
    """A server that tests share: they must not count what it counts."""
    with Server(repository, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def start_server(repository, tmp_path):
    """Starts a server of the test's own, with flags, on the random model."""
    running = []

    def start(*flags: str) -> Server:
        scratch = tmp_path / f"server{len(running)}"
        scratch.mkdir()
        running.append(Server(repository, scratch, *flags))
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture(scope="session")
def channel(server):
    with server.channel() as channel:
        yield channel


@pytest.fixture(scope="session")
def inference(wire, channel):
    return wire.inference_grpc.InferenceServiceStub(channel)


@pytest.fixture
def code_of():
    """Calls and returns the status code and details that the call must fail with."""

    def call(method, request, **options) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            method(request, timeout=60, **options)
        return caught.value.code(), caught.value.details()

    return call
