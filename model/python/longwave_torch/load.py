"""Reads a model folder (docs/model-format.md)."""

import pathlib
import warnings

import torch
from safetensors.torch import load_file

from longwave_torch.config import EncoderConfig
from longwave_torch.encoder import LongwaveModel


def load_model(folder: pathlib.Path | str) -> LongwaveModel:
    """The model of a folder on the CPU in float32, in evaluation mode. Raises ValueError naming the
    tensor or key.
    """
    folder = pathlib.Path(folder)
    config = EncoderConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    model = LongwaveModel(config)
    expected = model.state_dict()
    for name in sorted(set(tensors) - set(expected)):
        warnings.warn(f"{folder}: tensor {name} is unknown and ignored", stacklevel=2)
    for name, target in expected.items():
        if name not in tensors:
            raise ValueError(f"{folder}: tensor {name} is missing")
        found = tensors[name].to(torch.float32)
        if name.endswith(".projection") and found.dim() == 2:
            found = found.expand(target.shape)  # one W for all heads
        if found.shape != target.shape:
            raise ValueError(
                f"{folder}: tensor {name} has shape {list(found.shape)}, "
                f"expected {list(target.shape)}"
            )
        target.copy_(found)
    return model.eval()
