"""Writes a model folder of BERT-base's shape with random weights of BERT's scale: what a server has to compute does not depend on
what they are. As bench/encoder_gpu makes it: 12 post-norm layers of width 768 with 12 heads, inner width 3072, 64 positive
random features, a relative bias that is constant from a distance of 128 on. 440 MB in float32, 220 MB in bfloat16.

  bench/random_bert.py build/bert/1
"""

import json
import pathlib
import sys

import torch

WIDTH, LAYERS, HEADS, INNER, VOCABULARY, FEATURES, MAX_DISTANCE = 768, 12, 12, 3072, 30522, 64, 129
SCALE = 0.02

CONFIG = {
    "format_version": 1,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "norm_position": "post",
    "embedding_norm": True,
    "vocab_size": VOCABULARY,
    "max_length": 1 << 20,
    "attention": {"feature_map": "prf", "num_features": FEATURES, "normalize": True, "max_distance": MAX_DISTANCE},
    "tokenizer": {"type": "ids"},
}

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def random_tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = SCALE) -> torch.Tensor:
        return torch.randn(shape, generator=generator).mul_(scale)

    def linear(name: str, out: int, width: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": normal(out, width).bfloat16(), f"{name}.bias": normal(out).bfloat16()}

    def norm(name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": normal(WIDTH).add_(1).bfloat16(), f"{name}.bias": normal(WIDTH).bfloat16()}

    tensors = {"encoder.embeddings.token.weight": normal(VOCABULARY, WIDTH, scale=1).bfloat16(), **norm("encoder.embeddings.norm")}
    for i in range(LAYERS):
        layer = f"encoder.layers.{i}"
        for part in ("q", "k", "v", "out"):
            tensors |= linear(f"{layer}.attention.{part}", WIDTH, WIDTH)
        tensors[f"{layer}.attention.projection"] = normal(FEATURES, WIDTH // HEADS, scale=1)
        tensors[f"{layer}.attention.relative_bias"] = normal(HEADS, 2 * MAX_DISTANCE - 1, scale=1)
        tensors |= linear(f"{layer}.mlp.in", INNER, WIDTH) | linear(f"{layer}.mlp.out", WIDTH, INNER)
        tensors |= norm(f"{layer}.attention_norm") | norm(f"{layer}.mlp_norm")
    return tensors


def write_safetensors(tensors: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """As the library of that name writes it, which is not everywhere where PyTorch is."""
    # Larger elements first, so that every offset is a multiple of its element's size.
    ordered = sorted(tensors.items(), key=lambda entry: -entry[1].element_size())
    header, offset = {}, 0
    for name, tensor in ordered:
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            file.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())


def write_random_bert(folder: pathlib.Path, seed: int = 1) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    write_safetensors(random_tensors(seed), folder / "model.safetensors")


if __name__ == "__main__":
    write_random_bert(pathlib.Path(sys.argv[1]))
