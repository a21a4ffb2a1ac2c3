"""Writes a model folder (docs/model-format.md)."""

import pathlib

import torch
from safetensors.torch import save

from longwave_torch.encoder import LongwaveModel

# The attention amplifies their rounding errors, and they are small.
_KEPT_IN_FLOAT32 = ("projection", "relative_bias")


def export_model(
    model: LongwaveModel, folder: pathlib.Path | str, dtype: torch.dtype = torch.float32
) -> None:
    """Writes config.json and model.safetensors with weights in `dtype` (float32, float16 or
    bfloat16).
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in model.state_dict().items():
        kept = name.rsplit(".", 1)[-1] in _KEPT_IN_FLOAT32
        tensors[name] = tensor.detach().to("cpu", torch.float32 if kept else dtype).contiguous()
        if bool(tensors[name].isnan().any() | (tensors[name] == torch.inf).any()):
            raise ValueError(f"{name}: NaN or infinity, in {dtype} at least")
    (folder / "config.json").write_text(model.config.to_json(), encoding="utf-8")
    # save_file would make a file that only its owner can read.
    (folder / "model.safetensors").write_bytes(save(tensors))
