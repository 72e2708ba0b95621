import hashlib
import json
import struct
from pathlib import Path

import pytest

from pararnn_core.checkpoint import load_checkpoint, save_checkpoint
from pararnn_core.checkpoint.fingerprint import Fingerprint
from tests.fixtures import tiny_model, tiny_tokenizer


def section(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def test_the_fingerprint_is_the_documented_sha256(tmp_path: Path) -> None:
    model = tiny_model()
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    save_checkpoint(model, tmp_path / "model", tmp_path / "tokenizer.json")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    stored = config.pop("fingerprint")
    content = section(b"pararnn checkpoint 1")
    content += section(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    content += section((tmp_path / "tokenizer.json").read_bytes())
    for name, tensor in sorted(model.weights()):
        entry = json.dumps([name, "F32", list(tensor.shape)], separators=(",", ":")).encode()
        content += section(entry) + tensor.numpy().tobytes()
    assert stored == hashlib.sha256(content).hexdigest()
    assert load_checkpoint(tmp_path / "model", pack=False).fingerprint == stored


def test_tensors_out_of_order_are_refused() -> None:
    fingerprint = Fingerprint({}, None)
    fingerprint.begin_tensor("b", "F32", (1,))
    with pytest.raises(ValueError, match="by name"):
        fingerprint.begin_tensor("a", "F32", (1,))
