"""The model that comes with the project: what it says of files whose kind is known."""

import json
import pathlib

import numpy as np
import pytest
import torch
from harness import Server, longwave
from longwave_torch.load import load_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model" / "pretrained"

# Files of this project that nothing was trained on.
KNOWN = {
    "client/client.cc": "C++",
    "CMakeLists.txt": "CMake",
    "CMakePresets.json": "JSON",
    "README.md": "Markdown",
    "docker-compose.yml": "YAML",
    "model/python/longwave_torch/encoder.py": "Python",
    "scripts/setup": "shell",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Server(REPOSITORY, tmp_path_factory.mktemp("pretrained")) as running:
        yield running


def test_it_knows_this_projects_files(served):
    paths = [str(ROOT / name) for name in KNOWN]
    ended = longwave("classify", "--json", "--truncate", "--max_tokens=8192", *paths, server=served)
    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout)["results"]
    found = {
        str(pathlib.Path(result["input"]).relative_to(ROOT)): result["labels"][0]["label"]
        for result in results
    }
    right = sum(found[name] == label for name, label in KNOWN.items())
    assert right >= len(KNOWN) - 1, found


def test_its_embeddings_equal_pythons(served, tmp_path):
    (folder,) = (REPOSITORY / "file-type").iterdir()
    model = load_model(folder).double()
    data = (ROOT / "client" / "client.cc").read_bytes()
    for length in (100, 1000, 5000):
        document = tmp_path / f"{length}"
        document.write_bytes(data[:length])
        out = tmp_path / "out.npy"
        ended = longwave("encode", str(document), "--npy", str(out), server=served)
        assert ended.returncode == 0, ended.stderr
        ids = torch.tensor([model.config.tokenizer.ids_of_bytes(data[:length])])
        with torch.no_grad():
            expected = model.encode(ids)[0].numpy()
        error = np.abs(np.load(out)[0] - expected).max() / np.abs(expected).max()
        assert error < 1e-5, length
