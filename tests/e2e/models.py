"""Model folders with random weights."""

import json
import pathlib
import struct

import torch
from longwave_torch.config import AttentionConfig, EncoderConfig, HeadConfig, TokenizerConfig
from longwave_torch.encoder import LongwaveModel
from longwave_torch.export import export_model

NAME = "toy"
LABELS = ("red", "green", "blue", "grey", "white")
HIDDEN = 48
MAX_LENGTH = 300_000
PREFIX_ID = 256

CONFIG = EncoderConfig(
    hidden_size=HIDDEN,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    norm_position="pre",
    vocab_size=257,
    max_length=MAX_LENGTH,
    attention=AttentionConfig(feature_map="prf", num_features=16, normalize=True, max_distance=40),
    tokenizer=TokenizerConfig(type="byte", prefix_ids=(PREFIX_ID,)),
    heads=(HeadConfig(name="colour", labels=LABELS),),
)


def write_random_model(repository: pathlib.Path, seed: int, version: int = 1) -> pathlib.Path:
    """Writes <repository>/toy/<version> and returns it."""
    torch.manual_seed(seed)
    model = LongwaveModel(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("relative_bias"):
                parameter.normal_()
            elif "norm" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    folder = repository / NAME / str(version)
    export_model(model, folder)
    return folder


def edit_config(folder: pathlib.Path, edit) -> None:
    """Applies `edit` to the parsed config.json."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def edit_safetensors_header(folder: pathlib.Path, edit) -> None:
    """Applies `edit` to the header of model.safetensors; the data stay as they are, and aligned."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
