"""What keeps the server from starting: an exit code other than 0 and a message that names the thing."""

import math
import socket
import struct

import numpy as np
import pytest
from harness import run_server_that_cannot_start
from models import edit_config, edit_safetensors_header, write_random_model

WEIGHTS = "model.safetensors"
Q_WEIGHT = "encoder.layers.0.attention.q.weight"


@pytest.fixture
def folder(tmp_path):
    """A good model folder, to be broken, at <tmp_path>/toy/1."""
    return write_random_model(tmp_path, seed=23)


def assert_does_not_start(repository, *words):
    code, output = run_server_that_cannot_start(repository)
    assert code == 1, output
    for word in words:
        assert word in output


def truncate(folder):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])


def header_beyond_the_file(folder):
    path = folder / WEIGHTS
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])


def nan(folder):
    """Into the last element of the file."""
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4] + np.float32(np.nan).tobytes())


def in_header(edit):
    return lambda folder: edit_safetensors_header(folder, edit)


def in_config(edit):
    return lambda folder: edit_config(folder, edit)


def overlap(header):
    names = [name for name in header if name != "__metadata__"]
    first, second = sorted(names, key=lambda name: header[name]["data_offsets"])[:2]
    size = header[second]["data_offsets"][1] - header[second]["data_offsets"][0]
    start = header[first]["data_offsets"][0]
    header[second]["data_offsets"] = [start, start + size]


def beyond(header):
    """The last tensor grows by 2^40 rows."""
    last = max(
        (name for name in header if name != "__metadata__"),
        key=lambda name: header[name]["data_offsets"],
    )
    rows, *others = header[last]["shape"]
    header[last]["shape"] = [rows + (1 << 40), *others]
    header[last]["data_offsets"][1] += 4 * (1 << 40) * math.prod(others)


def wrong_dtype(header):
    header[Q_WEIGHT]["dtype"] = "I32"


def wrong_shape(header):
    header[Q_WEIGHT]["shape"] = [
        header[Q_WEIGHT]["shape"][0] // 2,
        header[Q_WEIGHT]["shape"][1] * 2,
    ]


def missing(header):
    header["encoder.renamed"] = header.pop(Q_WEIGHT)


# What is done to the folder, and words that the message must have.
BROKEN = {
    "truncated weights": (truncate, [WEIGHTS]),
    "header length beyond the file": (header_beyond_the_file, [WEIGHTS]),
    "overlapping offsets": (in_header(overlap), [WEIGHTS]),
    "offsets beyond the file": (in_header(beyond), [WEIGHTS, "data_offsets"]),
    "wrong dtype": (in_header(wrong_dtype), [Q_WEIGHT, "I32"]),
    "wrong shape": (in_header(wrong_shape), [Q_WEIGHT]),
    "missing tensor": (in_header(missing), [Q_WEIGHT]),
    "NaN weight": (nan, [WEIGHTS, "NaN"]),
    "missing key": (
        in_config(lambda config: config.pop("hidden_size")),
        ["config.json", "hidden_size"],
    ),
    "unknown attention key": (
        in_config(lambda config: config["attention"].update(sharpness=1)),
        ["config.json", "sharpness"],
    ),
    "newer format": (in_config(lambda config: config.update(format_version=2)), ["format_version"]),
    "label count": (
        in_config(lambda config: config["heads"][0]["id2label"].pop("4")),
        ["heads.colour.out"],
    ),
    "config that is not JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        ["config.json"],
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), [WEIGHTS]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_model_folder(folder, tmp_path, name):
    damage, words = BROKEN[name]
    damage(folder)
    assert_does_not_start(tmp_path, *words)


def test_no_repository(tmp_path):
    assert_does_not_start(tmp_path / "nowhere", "nowhere")


def test_port_in_use(server, repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = "{}:{}".format(*taken.getsockname())
        for flag in (f"--listen={listen}", f"--listen={server.address}"):
            code, output = run_server_that_cannot_start(repository, flag)
            assert code == 1, output
            assert flag.split("=")[1] in output
        code, output = run_server_that_cannot_start(
            repository, "--listen=127.0.0.1:0", f"--metrics_listen={listen}"
        )
        assert code == 1 and listen in output


def test_bad_flags(repository):
    code, output = run_server_that_cannot_start(repository, "--max_inputs=0")
    assert code == 2 and "max_inputs" in output
    code, output = run_server_that_cannot_start(repository, "--no_such_flag")
    assert code == 1 and "no_such_flag" in output
