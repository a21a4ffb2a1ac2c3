"""The C++ runtime against the Python modules: random models of every architecture, and the trained
one.
"""

import json
import os
import pathlib
import subprocess

import models
import pytest
import torch

from longwave_torch.encoder import pool
from longwave_torch.export import export_model
from longwave_torch.load import load_model

ROOT = pathlib.Path(__file__).parents[2]
TOLERANCE = 1e-5  # of a row's largest absolute value


def run_model(folder: pathlib.Path, items: list[dict]) -> list[dict]:
    """Runs all items as one batch through longwave::Model."""
    program = pathlib.Path(os.environ["LONGWAVE_BUILD_DIR"]) / "tests/runtime/longwave_run_model"
    request = json.dumps({"items": items})
    done = subprocess.run(
        [program, folder], input=request, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


def sequence(model, n: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (n,), generator=generator).tolist()


@torch.no_grad()
def expected_rows(model, item: dict) -> torch.Tensor:
    """What RunResult holds for the item, in float64 but for the weights: [rows, cols]."""
    ids = torch.tensor([item["ids"]])
    if item["task"] == "classify":
        return model.logits(ids, head=model.config.heads[item["head"]].name).softmax(-1)
    rows = pool(model.encoder(ids), None, item["pooling"]).flatten(0, -2)
    return torch.nn.functional.normalize(rows, dim=-1) if item["normalize"] else rows


def check(folder: pathlib.Path, lengths: list[int]) -> None:
    model = load_model(folder).double()
    items = [
        {
            "ids": sequence(model, n, seed=n),
            "task": "encode",
            "pooling": pooling,
            "normalize": n % 2 == 0,
            "head": 0,
        }
        for n in lengths
        for pooling in ("mean", "first_token", "none")
    ]
    items += [
        {
            "ids": sequence(model, n, seed=n),
            "task": "classify",
            "pooling": "mean",
            "normalize": False,
            "head": head,
        }
        for n in lengths
        for head in range(len(model.config.heads))
    ]
    results = run_model(folder, items)
    assert len(results) == len(items)
    for item, result in zip(items, results):
        what = f"{len(item['ids'])} tokens, {item['task']}, {item['pooling']}, head {item['head']}"
        assert result["status"] == "OK", what
        expected = expected_rows(model, item)
        found = torch.tensor(result["values"], dtype=torch.float64).reshape(
            result["rows"], result["cols"]
        )
        assert found.shape == expected.shape, what
        difference = (found - expected).abs() / expected.abs().amax(dim=-1, keepdim=True)
        assert float(difference.max()) < TOLERANCE, what


@pytest.mark.parametrize("variant", models.VARIANTS)
def test_random_model(variant, tmp_path):
    export_model(models.random_model(variant), tmp_path)
    check(tmp_path, [1, 2, 31, 64, 65, 129, 300, 600])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights(dtype, tmp_path):
    export_model(models.random_model("pre_norm"), tmp_path, dtype)
    check(tmp_path, [5, 130])


def test_trained_model():
    check(ROOT / "model/pretrained/file-type/1", [1, 30, 128, 129, 257, 1000, 4096])
