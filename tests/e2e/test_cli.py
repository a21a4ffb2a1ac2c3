"""The command line client in all its output forms, against the real server."""

import json
import re

import pytest
from harness import longwave
from models import HIDDEN, LABELS, MAX_LENGTH, NAME


def test_health(server):
    ended = longwave("health", server=server)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "SERVING\n", "")
    service = longwave("health", "--service=longwave.v1.InferenceService", server=server)
    assert service.returncode == 0
    assert longwave("health", "--service=no.such.Service", server=server).returncode == 4


def test_models(server):
    ended = longwave("models", "--json", server=server)
    assert ended.returncode == 0
    (model,) = json.loads(ended.stdout)["models"]
    assert model["name"] == NAME
    assert model["version"] == 1
    assert model["hidden_size"] == HIDDEN
    assert model["vocab_size"] == 257
    assert model["max_length"] == MAX_LENGTH
    assert model["tokenizer"] == "byte"
    assert model["heads"] == [{"name": "colour", "labels": list(LABELS)}]
    assert model["device"] == "cpu"
    assert model["parameters"] > 10_000
    assert "colour (5 labels)" in longwave("models", server=server).stdout


def test_classify_table_of_a_folder_and_standard_input(server, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("some text")
    (tmp_path / "sub" / "a.bin").write_bytes(bytes(range(256)))
    ended = longwave("classify", str(tmp_path), "-", "--nearest", server=server, stdin=b"piped")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].split() == [
        "INPUT",
        "SIZE",
        "TOKENS",
        "LABEL",
        "PROBABILITY",
        "MS",
        "NEAREST",
        "COSINE",
    ]
    names = [line.split()[0] for line in lines[1:4]]
    assert names == [str(tmp_path / "b.txt"), str(tmp_path / "sub" / "a.bin"), "(stdin)"]
    for line, tokens in zip(lines[1:4], (10, 257, 6), strict=True):
        assert re.search(
            rf" {tokens} +({'|'.join(LABELS)}) +[\d.]+% +[\d.]+ +\S+ +-?\d\.\d{{3}}$", line
        )
    assert lines[5].startswith("3 inputs, 270 B, 273 tokens in ")


def test_classify_json(server):
    ended = longwave("classify", "--json", "--top_k=2", "--text=one", "--text=two", server=server)
    assert ended.returncode == 0
    answer = json.loads(ended.stdout)
    assert answer["model"] == {"name": NAME, "version": 1}
    assert answer["usage"] == {"tokens": 8, "padded_tokens": 0, "inputs": 2}
    assert [result["input"] for result in answer["results"]] == ['"one"', '"two"']
    for result in answer["results"]:
        assert len(result["labels"]) == 2
        assert result["labels"][0]["probability"] >= result["labels"][1]["probability"]


def test_encode_json_and_precision(server):
    exact = longwave("encode", "--json", "--text=hello", server=server)
    half = longwave("encode", "--json", "--text=hello", "--precision=float16", server=server)
    exact, half = (json.loads(e.stdout)["results"][0]["embedding"] for e in (exact, half))
    assert len(exact) == HIDDEN
    assert exact != half
    assert half == pytest.approx(exact, abs=1e-3 * max(map(abs, exact)))


def test_one_bad_input_fails_alone(server, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "good").write_bytes(b"good")
    ended = longwave("classify", "--json", str(tmp_path), server=server)
    assert ended.returncode == 1
    assert f"longwave: {tmp_path / 'empty'}: " in ended.stderr
    empty, good = json.loads(ended.stdout)["results"]
    assert empty["error"]["code"] == "INVALID_ARGUMENT"
    assert good["tokens"] == 5


def test_too_long_inputs_fail_or_are_cut(server):
    ended = longwave("classify", "--text=0123456789", "--max_tokens=5", server=server)
    assert ended.returncode == 1
    assert "5" in ended.stderr
    ended = longwave(
        "classify", "--json", "--text=0123456789", "--max_tokens=5", "--truncate", server=server
    )
    assert ended.returncode == 0
    (result,) = json.loads(ended.stdout)["results"]
    assert (result["tokens"], result["tokens_dropped"]) == (5, 6)


def test_exit_codes(server):
    assert longwave("classify", "--text=a", "--model=other", server=server).returncode == 4
    ended = longwave("classify", "--text=a", "--head=shape", server=server)
    assert ended.returncode == 4
    assert "shape" in ended.stderr and "colour" in ended.stderr
    ended = longwave("classify", "--text=a", "--server=127.0.0.1:1", server=server)
    assert ended.returncode == 3
    assert "is longwave-server running there?" in ended.stderr
    assert longwave("classify", server=server).returncode == 2


def test_a_thousand_inputs_in_many_requests(server, tmp_path):
    for index in range(1000):
        (tmp_path / f"{index:04}").write_bytes(b"x" * (1 + index % 97))
    ended = longwave(
        "classify", "--json", "--in_flight=8", "--batch=10", str(tmp_path), server=server
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    results = json.loads(ended.stdout)["results"]
    assert [result["tokens"] for result in results] == [2 + index % 97 for index in range(1000)]
