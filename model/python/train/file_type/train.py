"""Trains the file-type model on samples.zip and exports it as a model folder.

train.py --samples .cache/filetype/samples.zip --out model/pretrained/file-type/1 [--steps 16000]
[--seed 1]
"""

import argparse
import math
import pathlib
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

import dataset
import evaluate
import labels
from longwave_torch.config import AttentionConfig, EncoderConfig, HeadConfig, TokenizerConfig
from longwave_torch.encoder import LongwaveModel
from longwave_torch.export import export_model

PREFIX, HIDDEN_BYTE = 256, 257  # special tokens; the second only in training
TOKENS_PER_STEP = 65536
# Windows have up to this many tokens in a step, and a step this share of all.
LENGTHS = {128: 0.2, 512: 0.35, 2048: 0.25, 8192: 0.2}


def model_config() -> EncoderConfig:
    return EncoderConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=768,
        norm_position="pre",
        vocab_size=260,
        max_length=1 << 20,
        attention=AttentionConfig(
            feature_map="prf", num_features=32, normalize=True, max_distance=129
        ),
        tokenizer=TokenizerConfig(type="byte", prefix_ids=(PREFIX,)),
        heads=(HeadConfig(name="file_type", labels=tuple(labels.LABELS)),),
    )


class HeadScale(nn.Module):
    """Scales W by one learned factor per head. For normalised q and k it is the operator's `scale`,
    folded into W.
    """

    def __init__(self, heads: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, projection: Tensor) -> Tensor:
        return projection * self.log_scale.exp()


def new_model(config: EncoderConfig) -> LongwaveModel:
    model = LongwaveModel(config)
    nn.init.normal_(model.encoder.embeddings.token.weight, std=0.3)
    for layer in model.encoder.layers:
        parametrize.register_parametrization(
            layer.attention, "projection", HeadScale(config.num_attention_heads)
        )
        layer.attention.relative_bias.data.copy_(first_bias(config.attention.max_distance))
    return model


def first_bias(max_distance: int) -> Tensor:
    """One head that sees everything alike, five that see the previous byte, the next one, or more
    of the surroundings.
    """
    t = torch.arange(1 - max_distance, max_distance, dtype=torch.float32)
    heads = [(0, math.inf), (-1, 0.3), (1, 0.3), (-2, 1), (0, 4), (0, 16)]  # centre, width
    return torch.stack([-((t - centre).abs() / width).clamp(max=12) for centre, width in heads])


class Windows:
    """Draws labelled windows of files on the device: classes alike, packages by the root of what
    they have.
    """

    def __init__(self, samples: list[dataset.Sample], device: torch.device, seed: int):
        data, offsets = flat(samples)
        group = np.array([f"{s.label}/{s.source}" for s in samples])
        last_of_group = np.append(np.flatnonzero(group[1:] != group[:-1]), len(group) - 1)
        sizes = np.diff(last_of_group, prepend=-1)
        size_of = np.repeat(sizes, sizes)
        label = np.array([labels.LABELS.index(s.label) for s in samples])
        weight = size_of**-0.5
        weight /= np.bincount(label, weight, len(labels.LABELS))[label]
        tensor = lambda array: torch.as_tensor(array, device=device)
        self.data = tensor(data.copy())
        self.begin, self.end = tensor(offsets[:-1]), tensor(offsets[1:])
        self.group_end = tensor(np.repeat(offsets[1:][last_of_group], sizes))
        self.label = tensor(label)
        self.binary = tensor(np.isin(label, [labels.LABELS.index(name) for name in labels.BINARY]))
        self.weight = tensor(weight)
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, rows: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """ids [rows, n], mask [rows, n], labels [rows]: n / 4 to n tokens, fewer where a file is
        shorter.
        """
        uniform = lambda: torch.rand(rows, device=self.data.device, generator=self.generator)
        i = torch.multinomial(self.weight, rows, replacement=True, generator=self.generator)
        begin, end = self.begin[i], self.end[i]
        length = ((n - 1) * 4 ** -uniform()).long().clamp_min(16)
        # A window starts where its file starts, or anywhere in it; the inside of a binary file says
        # little.
        anywhere = uniform() > torch.where(self.binary[i], 0.9, 0.5)
        room = (end - begin - length).clamp_min(0)
        begin = begin + (uniform() * room * anywhere).long()
        # Half of the long windows run on into the package's next files of this class.
        if n > 1024:
            end = torch.where(uniform() < 0.5, self.group_end[i], end)
        length = torch.minimum(length, end - begin)
        column = torch.arange(n, device=self.data.device) - 1
        ids = self.data[(begin[:, None] + column).clamp(0, len(self.data) - 1)].long()
        hidden = torch.rand(ids.shape, device=ids.device, generator=self.generator) < 0.02
        ids = ids.masked_fill(hidden, HIDDEN_BYTE).masked_fill(column == -1, PREFIX)
        return ids, column < length[:, None], self.label[i]


def flat(samples: list[dataset.Sample]) -> tuple[np.ndarray, np.ndarray]:
    """All bytes in one array, and the offsets of the samples in it [samples + 1]."""
    lengths = np.array([len(sample.data) for sample in samples])
    return np.frombuffer(b"".join(s.data for s in samples), np.uint8), np.concatenate(
        [[0], lengths.cumsum()]
    )


def optimizer_of(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    tables, matrices, rest = [], [], []
    for name, parameter in model.named_parameters():
        if "relative_bias" in name or "log_scale" in name:
            tables.append(parameter)
        else:
            (matrices if parameter.dim() > 1 else rest).append(parameter)
    groups = [
        {"params": matrices, "lr": rate, "weight_decay": 0.05},
        {"params": rest, "lr": rate, "weight_decay": 0.0},
        {"params": tables, "lr": 5 * rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=next(model.parameters()).is_cuda)


def train(
    options: argparse.Namespace, samples: list[dataset.Sample], device: torch.device
) -> LongwaveModel:
    torch.manual_seed(options.seed)
    model = new_model(model_config()).to(device)
    windows = Windows(dataset.of_split(samples, "train"), device, options.seed)
    validation = dataset.of_split(samples, "validation")
    optimizer = optimizer_of(model, options.rate)
    warm_up = options.steps // 25
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warm_up, 0.02 + 0.49 * (1 + math.cos(math.pi * step / options.steps))
        ),
    )

    def loss_of(ids: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model.logits(ids, mask)
        return functional.cross_entropy(logits.float(), target, label_smoothing=0.05)

    step_loss = torch.compile(loss_of, dynamic=False) if options.compile else loss_of
    rng = np.random.default_rng(options.seed)
    lengths = rng.choice(list(LENGTHS), size=options.steps, p=list(LENGTHS.values()))
    start, recent = time.monotonic(), []
    for step, n in enumerate(lengths.tolist()):
        loss = step_loss(*windows.draw(max(1, options.tokens // n), n))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        recent.append(loss.detach())
        if step % options.log_every == 0 or step == options.steps - 1:
            mean = torch.stack(recent).mean().item()
            print(f"step {step} loss {mean:.4f} seconds {time.monotonic() - start:.1f}", flush=True)
            recent.clear()
        if (step + 1) % (options.steps // 4) == 0:
            shown = [s.data[:2048] for s in validation]
            guesses, _ = evaluate.run(model, shown)
            right = [labels.LABELS[i] == s.label for i, s in zip(guesses, validation, strict=True)]
            print(f"step {step} validation, first 2048 bytes: {np.mean(right):.4f}", flush=True)
    for layer in model.encoder.layers:
        parametrize.remove_parametrizations(layer.attention, "projection", leave_parametrized=True)
    return model.eval()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the model folder to write")
    parser.add_argument("--steps", type=int, default=16000)
    parser.add_argument("--tokens", type=int, default=TOKENS_PER_STEP, help="per step")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-every", type=int, default=500)
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available()
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    samples, _ = dataset.read(options.samples)
    model = train(options, samples, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    export_model(model, options.out, torch.float16)


if __name__ == "__main__":
    main()
