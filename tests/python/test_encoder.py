"""The encoder and its model folders."""

import dataclasses
import json

import models
import pytest
import torch
from safetensors.torch import load_file, save_file

from longwave_torch.config import ConfigError, EncoderConfig
from longwave_torch.export import export_model
from longwave_torch.load import load_model


def ids_for(model, n, seed):
    return torch.randint(
        0, model.config.vocab_size, (2, n), generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("variant", models.VARIANTS)
def test_folder_gives_back_the_model(variant, tmp_path):
    model = models.random_model(variant)
    export_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    ids = ids_for(model, 90, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(again.encode(ids), model.encode(ids), rtol=0, atol=0)
        for head in model.config.heads:
            torch.testing.assert_close(
                again.logits(ids, head=head.name), model.logits(ids, head=head.name), rtol=0, atol=0
            )


def test_half_precision_folder(tmp_path):
    model = models.random_model("pre_norm")
    export_model(model, tmp_path, torch.float16)
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name for name, tensor in tensors.items() if tensor.dtype == torch.float32}
    assert kept == {
        f"encoder.layers.{i}.attention.{t}" for i in (0, 1) for t in ("projection", "relative_bias")
    }
    ids = ids_for(model, 90, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(
            load_model(tmp_path).encode(ids), model.encode(ids), rtol=0, atol=2e-2
        )


def test_names_are_those_of_the_format():
    names = set(models.random_model("two_heads").state_dict())
    layer = {f"attention.{t}.{w}" for t in ("q", "k", "v", "out") for w in ("weight", "bias")}
    layer |= {
        f"{t}.{w}"
        for t in ("attention_norm", "mlp.in", "mlp.out", "mlp_norm")
        for w in ("weight", "bias")
    }
    layer |= {"attention.projection", "attention.relative_bias"}
    expected = {f"encoder.layers.{i}.{name}" for i in (0, 1) for name in layer}
    expected |= {f"encoder.final_norm.{w}" for w in ("weight", "bias")} | {
        "encoder.embeddings.token.weight"
    }
    expected |= {
        f"heads.{t}.{w}"
        for t in ("dense.dense", "dense.out", "plain.out")
        for w in ("weight", "bias")
    }
    assert names == expected


@pytest.mark.parametrize("variant", ["pre_norm", "post_norm", "causal", "positions"])
def test_padding_changes_nothing(variant):
    model = models.random_model(variant)
    ids = ids_for(model, 200, seed=2)
    mask = torch.arange(200) < torch.tensor([200, 77])[:, None]
    with torch.no_grad():
        together = model.encode(ids, mask, normalize=True)
        alone = model.encode(ids[1:, :77], normalize=True)
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=2e-6)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2), rtol=0, atol=1e-6)


def test_pooling():
    model = models.random_model("pre_norm")
    ids = ids_for(model, 50, seed=3)
    with torch.no_grad():
        tokens = model.encode(ids, pooling="none")
        torch.testing.assert_close(model.encode(ids, pooling="mean"), tokens.mean(1))
        torch.testing.assert_close(model.encode(ids, pooling="first_token"), tokens[:, 0])


def test_bytes_get_special_tokens():
    tokenizer = models.random_model("pre_norm").config.tokenizer
    assert dataclasses.replace(tokenizer, suffix_ids=(257,)).ids_of_bytes(b"a\xff") == [
        256,
        97,
        255,
        257,
    ]


@pytest.mark.parametrize(
    "key,change",
    [
        ("format_version", lambda c: c.update(format_version=2)),
        ("hidden_size", lambda c: c.pop("hidden_size")),
        ("hidden_size", lambda c: c.update(hidden_size=50)),
        ("attention.max_distance", lambda c: c["attention"].pop("max_distance")),
        ("attention.colour", lambda c: c["attention"].update(colour="red")),
        ("norm_position", lambda c: c.update(norm_position="middle")),
        ("max_length", lambda c: c.update(max_position_embeddings=10)),
        ("heads.kind.id2label", lambda c: c["heads"][0].update(id2label={"0": "a", "2": "b"})),
    ],
)
def test_bad_config_is_named(key, change):
    raw = json.loads(models.random_model("pre_norm").config.to_json())
    change(raw)
    with pytest.raises(ConfigError, match=f"^{key}"):
        EncoderConfig.from_json(json.dumps(raw))


def test_bad_tensors_are_named(tmp_path):
    name = "encoder.layers.1.mlp.in.weight"
    export_model(models.random_model("pre_norm"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    whole = tensors.pop(name)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load_model(tmp_path)
    save_file({**tensors, name: whole[:-1].contiguous()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} has shape \[79, 48\], expected \[80, 48\]"):
        load_model(tmp_path)


def test_nan_is_not_exported(tmp_path):
    model = models.random_model("pre_norm")
    model.encoder.final_norm.bias.data[3] = torch.nan
    with pytest.raises(ValueError, match="encoder.final_norm.bias"):
        export_model(model, tmp_path)
