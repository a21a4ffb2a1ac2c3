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

from longwave_torch import reference
from longwave_torch.encoder import pool
from longwave_torch.export import export_model
from longwave_torch.load import load_model

ROOT = pathlib.Path(__file__).parents[2]
TOLERANCE = 1e-5  # of a row's largest absolute value
LENGTHS = [1, 2, 65, 130, 600]  # of random models; Python leaves its dense form beyond 512


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
def expected_rows(model, tokens: torch.Tensor, item: dict) -> torch.Tensor:
    """What RunResult holds for the item, in float64 but for the weights: [rows, cols]. tokens: what
    the encoder makes of its ids, [1, n, E].
    """
    if item["task"] == "classify":
        head = model.heads[model.config.heads[item["head"]].name]
        return head(pool(tokens, None, head.pooling)).softmax(-1)
    rows = pool(tokens, None, item["pooling"]).flatten(0, -2)
    return torch.nn.functional.normalize(rows, dim=-1) if item["normalize"] else rows


@torch.no_grad()
def cancellation(model, ids: torch.Tensor) -> float:
    """sum|w| / |sum w| of an attention row's weights w: the largest of all layers, heads and rows.

    The operator promises its error times this (model/attention/operators.h). Weights of "prf" are
    positive: 1. Those of "trf" have both signs, so the digits of their sum are fewer than those of
    its terms.
    """
    c = model.config.attention
    if c.feature_map == "prf":
        return 1.0
    found = []

    def look(attention, args):
        x, _, shared = args
        owner = {True: shared, False: attention}
        bias = owner[c.shared_bias].relative_bias
        q, k = (
            getattr(attention, t)(x[0]).unflatten(-1, (attention.heads, -1)).transpose(0, 1)
            for t in ("q", "k")
        )
        projection = owner[c.shared_projection].projection
        (phi_q, log_q), (phi_k, log_k) = (
            reference.features(
                reference.prepare(y, c.normalize, c.scale), projection, c.feature_map
            )
            for y in (q, k)
        )
        t = torch.arange(x.shape[1])
        reach = bias.shape[-1] // 2
        b = bias[:, (t[None] - t[:, None]).clamp(-reach, reach) + reach]
        w = (b + log_k.mT).exp() * (phi_q @ phi_k.mT)
        found.append(float((w.abs().sum(-1) / w.sum(-1).abs()).max()))

    hooks = [layer.attention.register_forward_pre_hook(look) for layer in model.encoder.layers]
    model.encoder(ids)
    for hook in hooks:
        hook.remove()
    return max(found)


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
    tokens, tolerance = {}, {}
    for n in lengths:
        ids = torch.tensor([sequence(model, n, seed=n)])
        with torch.no_grad():
            tokens[n] = model.encoder(ids)
        tolerance[n] = TOLERANCE * cancellation(model, ids)
        assert tolerance[n] < 10 * TOLERANCE, "the denominators leave nothing to compare"
    for item, result in zip(items, results):
        n = len(item["ids"])
        what = f"{n} tokens, {item['task']}, {item['pooling']}, head {item['head']}"
        assert result["status"] == "OK", what
        expected = expected_rows(model, tokens[n], item)
        found = torch.tensor(result["values"], dtype=torch.float64).reshape(
            result["rows"], result["cols"]
        )
        assert found.shape == expected.shape, what
        difference = (found - expected).abs() / expected.abs().amax(dim=-1, keepdim=True)
        assert float(difference.max()) < tolerance[n], what


@pytest.mark.parametrize("variant", models.VARIANTS)
def test_random_model(variant, tmp_path):
    export_model(models.random_model(variant), tmp_path)
    check(tmp_path, LENGTHS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights(dtype, tmp_path):
    export_model(models.random_model("pre_norm"), tmp_path, dtype)
    check(tmp_path, [5, 130])


def test_trained_model():
    check(ROOT / "model/pretrained/file-type/1", [1, 30, 128, 129, 257, 1000, 4096])
