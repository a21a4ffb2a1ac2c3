"""The whole server on a GPU: the answers of the CPU, and metrics that say where and how they were computed."""

import json
import pathlib

import pytest
from harness import Server, longwave, run_server_that_cannot_start

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model" / "pretrained"
NO_GPU = "device cuda:0: "

# The largest difference of a probability.
TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}


@pytest.fixture(scope="module")
def start_on_gpu(tmp_path_factory):
    """Starts a server on the first GPU; tests that ask for it are skipped where there is none."""
    running = []

    def start(*flags):
        scratch = tmp_path_factory.mktemp("gpu")
        running.append(Server(REPOSITORY, scratch, "--device=cuda:0", *flags))
        return running[-1]

    try:
        start()
    except RuntimeError as error:
        if NO_GPU not in str(error):
            raise
        pytest.skip(str(error)[str(error).index(NO_GPU) :].splitlines()[0])
    yield start
    for server in running:
        server.__exit__()


@pytest.fixture(scope="module")
def files():
    folders = (ROOT / name for name in ("docs", "scripts", "client"))
    return sorted(str(path) for folder in folders for path in folder.rglob("*") if path.is_file())


def classify(server, files):
    """Probabilities by file, then by label."""
    flags = ("--json", "--top_k=0", "--truncate", "--max_tokens=5000")
    ended = longwave("classify", *flags, *files, server=server)
    assert ended.returncode == 0, ended.stderr
    return {
        result["input"]: {score["label"]: score["probability"] for score in result["labels"]}
        for result in json.loads(ended.stdout)["results"]
    }


@pytest.fixture(scope="module")
def expected(start_on_gpu, files, tmp_path_factory):
    with Server(REPOSITORY, tmp_path_factory.mktemp("cpu"), "--device=cpu") as server:
        return classify(server, files)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_gpu_answers_as_the_cpu_does(dtype, start_on_gpu, files, expected):
    server = start_on_gpu(f"--dtype={dtype}")
    for _ in range(3):  # launched, captured, replayed
        found = classify(server, files)
        assert found.keys() == expected.keys()
        for name, probabilities in expected.items():
            difference = max(abs(found[name][label] - p) for label, p in probabilities.items())
            assert difference <= TOLERANCES[dtype], name
    samples = server.scrape()
    (info,) = samples["longwave_model_info"]
    assert dict(info)["device"] == "cuda:0"  # one series per device
    algorithms = {dict(labels)["algorithm"] for labels in samples["longwave_model_attention_heads"]}
    assert algorithms <= {"direct", "structured", "low_rank", "fft"}
    assert f"parameters on cuda:0 in {dtype}" in server.log()


def test_a_million_tokens_on_a_gpu(start_on_gpu, tmp_path):
    path = tmp_path / "long.txt"
    path.write_bytes(b"What is written here is said again. " * 29000)
    server = start_on_gpu()
    ended = longwave("classify", "--json", str(path), server=server)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["results"][0]["tokens"] > 1_000_000


def test_the_log_says_where_models_run(start_server):
    server = start_server("--device=auto")
    log = server.log()
    assert "parameters on cuda:0 in bfloat16" in log or (
        "parameters on cpu in float32; no GPU is used: device cuda:0: " in log
    )


def test_a_gpu_that_is_not_there_is_named():
    code, output = run_server_that_cannot_start(REPOSITORY, "--device=cuda:999")
    assert code == 1
    assert "cannot start: " in output and "device cuda:999: " in output
    code, output = run_server_that_cannot_start(REPOSITORY, "--device=gpu")
    assert code == 2
    assert "device: found 'gpu', expected 'auto', 'cpu' or 'cuda:N'" in output
