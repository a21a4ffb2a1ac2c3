"""config.json of a model folder (docs/model-format.md) as Python objects with the same names and
defaults.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

FORMAT_VERSION = 1


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key."""


@dataclass(frozen=True)
class AttentionConfig:
    feature_map: str
    num_features: int
    normalize: bool
    max_distance: int
    norm_eps: float = 1e-12
    scale: float = 1.0
    causal: bool = False
    shared_projection: bool = False
    shared_bias: bool = False


@dataclass(frozen=True)
class HeadConfig:
    name: str
    labels: tuple[str, ...]
    pooling: str = "mean"
    dense: bool = False


@dataclass(frozen=True)
class TokenizerConfig:
    type: str
    file: str | None = None
    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()

    def ids_of_bytes(self, data: bytes) -> list[int]:
        """Byte-level tokenizers only: byte b is id b, between the special tokens."""
        if self.type != "byte":
            raise ConfigError(f'tokenizer.type: found "{self.type}", only "byte" takes bytes')
        return [*self.prefix_ids, *data, *self.suffix_ids]


@dataclass(frozen=True)
class EncoderConfig:
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    norm_position: str
    vocab_size: int
    max_length: int
    attention: AttentionConfig
    tokenizer: TokenizerConfig
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    embedding_norm: bool | None = None  # None: as for norm_position "post"
    max_position_embeddings: int = 0
    tasks: tuple[str, ...] | None = None  # None: encode, and classify when there are heads
    pooling: str = "mean"
    heads: tuple[HeadConfig, ...] = field(default=())

    def __post_init__(self):
        if self.embedding_norm is None:
            object.__setattr__(self, "embedding_norm", self.norm_position == "post")
        if self.tasks is None:
            object.__setattr__(self, "tasks", ("encode", "classify") if self.heads else ("encode",))
        _one_of("norm_position", self.norm_position, "pre", "post")
        _one_of("hidden_act", self.hidden_act, "gelu", "gelu_tanh")
        _one_of("pooling", self.pooling, "mean", "first_token", "none")
        _one_of("attention.feature_map", self.attention.feature_map, "prf", "trf")
        _one_of("attention.norm_eps", self.attention.norm_eps, 1e-12)
        _one_of("tokenizer.type", self.tokenizer.type, "byte", "ids", "sentencepiece")
        for head in self.heads:
            _one_of(f"heads.{head.name}.pooling", head.pooling, "mean", "first_token")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size: {self.hidden_size} is not divisible by "
                f"{self.num_attention_heads} heads"
            )
        if 0 < self.max_position_embeddings < self.max_length:
            raise ConfigError(
                f"max_length: {self.max_length} exceeds max_position_embeddings "
                f"{self.max_position_embeddings}"
            )

    @classmethod
    def from_json(cls, text: str) -> EncoderConfig:
        raw = json.loads(text)
        version = raw.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ConfigError(f"format_version: found {version}, expected {FORMAT_VERSION}")
        _one_of("model_type", raw.pop("model_type", "longwave_encoder"), "longwave_encoder")
        unknown = set(raw.get("attention", {})) - {
            f.name for f in dataclasses.fields(AttentionConfig)
        }
        if unknown:
            raise ConfigError(f"attention.{min(unknown)}: unknown key")
        raw["attention"] = _build(AttentionConfig, "attention.", raw.get("attention", {}))
        raw["tokenizer"] = _build(TokenizerConfig, "tokenizer.", raw.get("tokenizer", {}))
        raw["heads"] = tuple(_head(head) for head in raw.get("heads", []))
        return _build(cls, "", raw)

    def to_json(self) -> str:
        raw = {
            "format_version": FORMAT_VERSION,
            "model_type": "longwave_encoder",
            **dataclasses.asdict(self),
        }
        raw["heads"] = [
            {
                "name": head.name,
                "pooling": head.pooling,
                "dense": head.dense,
                "id2label": {str(i): label for i, label in enumerate(head.labels)},
            }
            for head in self.heads
        ]
        if raw["tokenizer"]["file"] is None:
            del raw["tokenizer"]["file"]
        return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"


def _one_of(key: str, found: Any, *expected: Any) -> None:
    if found not in expected:
        raise ConfigError(f"{key}: found {found!r}, expected one of {list(expected)}")


def _build(cls: type, prefix: str, raw: dict[str, Any]) -> Any:
    """Unknown keys are left out; a missing one without a default is an error."""
    known = {f.name: f for f in dataclasses.fields(cls)}
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in raw.items()
        if key in known
    }
    for name, f in known.items():
        has_default = (
            f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise ConfigError(f"{prefix}{name}: missing")
    return cls(**values)


def _head(raw: dict[str, Any]) -> HeadConfig:
    if "name" not in raw or "id2label" not in raw:
        raise ConfigError("heads: name and id2label are required")
    labels = raw["id2label"]
    if sorted(labels, key=int) != [str(i) for i in range(len(labels))]:
        raise ConfigError(f'heads.{raw["name"]}.id2label: keys must be "0" to "{len(labels) - 1}"')
    return HeadConfig(
        name=raw["name"],
        labels=tuple(labels[str(i)] for i in range(len(labels))),
        pooling=raw.get("pooling", "mean"),
        dense=raw.get("dense", False),
    )
