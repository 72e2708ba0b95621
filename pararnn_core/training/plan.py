"""The plan of a training: the options of a run, which are kept in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.training.trainer import Recipe

# 1m and 5m are small enough for an hour of two cores. The vocabulary of each suits its size.
SIZES: dict[str, dict[str, Any]] = {
    "1m": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 320, "vocab_size": 2048},
    "5m": {"hidden_size": 256, "num_hidden_layers": 5, "intermediate_size": 640, "vocab_size": 4096},
    "12m": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1024, "vocab_size": 4096},
    "25m": {"hidden_size": 384, "num_hidden_layers": 10, "vocab_size": 8192},
    "130m": {"hidden_size": 768, "num_hidden_layers": 12, "vocab_size": 32768},
}
_COMMON: dict[str, Any] = {"num_heads": 4, "tie_embeddings": True, "dtype": "bfloat16"}
# The tokenizer decides these.
OF_THE_TOKENIZER = frozenset({"vocab_size"})


@dataclass(frozen=True)
class Plan:
    """The options of a run. text: the path as the user gave it; overrides: fields of ModelConfig.

    tokenizer: path of a tokenizer.json or its folder, "bytes", or None to train one of vocab_size tokens
    steps, minutes, epochs: limits of the run; the first that is reached ends it
    recipe: settings of the trainer; its products and compiled are decided for the machine before
    options: what the user gave, by name, which a resumed run must not contradict
    """

    text: str
    encoding: str = "utf-8"
    tokenizer: str | None = None
    vocab_size: int | None = None
    size: str = "5m"
    cell: str = "gru"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    minutes: float | None = None
    epochs: float | None = None
    device: str = "cpu"
    threads: int = 1
    recipe: Recipe = field(default_factory=Recipe)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens_of_the_tokenizer(self) -> int:
        """Vocabulary of a tokenizer that is trained."""
        return self.vocab_size or int(SIZES[self.size]["vocab_size"])

    def config(self, vocab_size: int, bos: int | None, eos: int | None) -> ModelConfig:
        """Return the model's config. Raises ValueError naming the field that has a wrong value."""
        special = {"bos_token_id": bos, "eos_token_id": eos, "model_type": "pararnn"}
        fields = {**SIZES[self.size], **_COMMON, **special, "cell": self.cell, "vocab_size": vocab_size}
        config = ModelConfig.from_dict({**fields, **self.overrides})
        if config.quantization is not None:
            raise ValueError("quantization_config: a model is trained in floats; quantise its checkpoint")
        return config

    def check(self) -> None:
        """Raise ValueError for a wrong option, before any text is read."""
        if fixed := OF_THE_TOKENIZER & self.overrides.keys():
            raise ValueError(f"{', '.join(fixed)} follows from the tokenizer: give --vocab-size")
        # Ids of special tokens may be anything below the vocabulary's size, which is not known yet.
        most = max(int(self.overrides.get(name) or 0) for name in ("bos_token_id", "eos_token_id"))
        self.config(max(self.tokens_of_the_tokenizer, most + 1), None, None)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan that to_dict gave."""
        return cls(**{**data, "recipe": Recipe(**data["recipe"])})

    def with_recipe(self, **fields: Any) -> Plan:
        """Return the plan with other fields of its recipe."""
        return replace(self, recipe=replace(self.recipe, **fields))
