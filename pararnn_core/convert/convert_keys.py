"""Maps from this package's names of weights to those of other programs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

from pararnn_core.storage.untrusted_file import CheckpointError, read_json

# These fields change results, and the weights do not show them. A wrong guess would not be noticed.
STATED_CONFIG = ("conv_activation", "gate_order", "mlp_residual", "norm_eps")

_MAX_KEY_MAP_BYTES = 4 << 20
_INDEX = re.compile(r"\{([1-9]\d*)?i(?:\+(\d+))?\}")


@dataclass(frozen=True)
class KeyMap:
    """A map of names.

    keys: our name -> the source's. In both, {i} is the layer; a source may also use {2i} or {2i+1}.
    config: fields of the model's config
    ignore: patterns (* and ?) of source names that are not converted
    """

    keys: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> KeyMap:
        """Read {"keys": {...}, "config": {...}, "ignore": [...]}. Raises CheckpointError for other JSON."""
        fields = read_json(path, _MAX_KEY_MAP_BYTES, within=None)
        unknown = sorted(fields.keys() - {"keys", "config", "ignore"})
        if unknown:
            raise CheckpointError(
                path, f"has unknown entries {', '.join(unknown)}: use keys, config and ignore"
            )
        keys, config, ignore = fields.get("keys"), fields.get("config", {}), fields.get("ignore", [])
        if not isinstance(keys, dict) or not keys or not all(isinstance(k, str) for k in keys.values()):
            raise CheckpointError(path, "keys must map our names of weights to the source's")
        for ours, theirs in keys.items():
            # With an index on our side alone every layer would find the tensor, and resolve would never end.
            if _has_index(ours) != _has_index(theirs):
                raise CheckpointError(path, f"{ours}: {theirs}: both or neither must hold the layer, {{i}}")
        if not isinstance(config, dict):
            raise CheckpointError(path, "config must be an object with fields of the model's config")
        if not isinstance(ignore, list) or not all(isinstance(pattern, str) for pattern in ignore):
            raise CheckpointError(path, "ignore must be a list of patterns")
        return cls(keys, config, tuple(ignore))

    def resolve(self, names: Collection[str]) -> dict[str, str]:
        """Return our name -> the source's for all keys whose source is in `names`, layer by layer from 0."""
        found = {
            ours: theirs for ours, theirs in self.keys.items() if not _has_index(ours) and theirs in names
        }
        layered = {ours: theirs for ours, theirs in self.keys.items() if _has_index(ours)}
        for i in count():
            layer = {
                _expanded(ours, i): _expanded(theirs, i)
                for ours, theirs in layered.items()
                if _expanded(theirs, i) in names
            }
            if not layer:
                return found
            found |= layer
        raise AssertionError("count() ended")

    def left_over(self, names: Collection[str]) -> list[str]:
        """Return the source names that no key uses and no pattern ignores."""
        used = set(self.resolve(names).values())
        return sorted(name for name in names if name not in used and not is_ignored(name, self.ignore))


def is_ignored(name: str, patterns: Collection[str]) -> bool:
    """Return True if any pattern (* and ?) matches the whole name."""
    # fnmatch would ignore case on some systems.
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _has_index(name: str) -> bool:
    return _INDEX.search(name) is not None


def _expanded(name: str, i: int) -> str:
    return _INDEX.sub(lambda match: str(int(match[1] or 1) * i + int(match[2] or 0)), name)


# The public fork's language-model trainer: mixers at even blocks, MLPs at odd ones.
FORK_KEYS = KeyMap(
    keys={
        "embedding.weight": "embedding.weight",
        "layers.{i}.norm.weight": "blocks.{2i}.norm.weight",
        "layers.{i}.in_proj.weight": "blocks.{2i}.in_proj.weight",
        "layers.{i}.conv.weight": "blocks.{2i}.conv.conv.weight",
        "layers.{i}.conv.bias": "blocks.{2i}.conv.conv.bias",
        "layers.{i}.cell.A": "blocks.{2i}.rnn_cell.A",
        "layers.{i}.cell.B": "blocks.{2i}.rnn_cell.B",
        "layers.{i}.cell.b": "blocks.{2i}.rnn_cell.b",
        "layers.{i}.cell.C": "blocks.{2i}.rnn_cell.C",
        "layers.{i}.gate_norm.weight": "blocks.{2i}.gate_norm.weight",
        "layers.{i}.out_proj.weight": "blocks.{2i}.out_proj.weight",
        "layers.{i}.residual_scale": "blocks.{2i}.residual_scale",
        "layers.{i}.mlp_norm.weight": "blocks.{2i+1}.0.weight",
        "layers.{i}.mlp.gate_proj.weight": "blocks.{2i+1}.1.w1.weight",
        "layers.{i}.mlp.down_proj.weight": "blocks.{2i+1}.1.w2.weight",
        "layers.{i}.mlp.up_proj.weight": "blocks.{2i+1}.1.w3.weight",
        "norm.weight": "final_norm.weight",
        "lm_head.weight": "lm_head.weight",
    },
    config={
        "conv_activation": "silu",
        "gate_order": "norm_then_gate",
        "mlp_residual": False,
        "norm_eps": 1e-6,
    },
)
