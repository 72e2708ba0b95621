import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pararnn_core.storage.untrusted_file import CheckpointError
from pararnn_core.weights.safetensors_file import SafetensorsFile

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.dictionaries(
        st.text("abc.0_é", min_size=1, max_size=8), st.lists(st.integers(0, 5), max_size=4), max_size=5
    ),
    data=st.data(),
)
def test_what_the_library_writes_is_read_bit_for_bit(
    shapes: dict[str, list[int]], data: st.DataObject, tmp_path: Path
) -> None:
    tensors = {
        name: torch.randn(shape).to(data.draw(st.sampled_from(DTYPES))) for name, shape in shapes.items()
    }
    save_file(tensors, tmp_path / "file.safetensors", metadata={"format": "pt"})
    with SafetensorsFile(tmp_path / "file.safetensors") as file:
        assert file.tensors.keys() == tensors.keys()
        for name, tensor in tensors.items():
            read = file.read(name)
            assert read.dtype == tensor.dtype
            assert torch.equal(read, tensor)


def test_chunks_are_the_tensors_bytes_in_order(tmp_path: Path) -> None:
    tensor = torch.randn(5 << 20)
    save_file({"a": tensor}, tmp_path / "file.safetensors")
    chunks: list[bytes] = []
    with SafetensorsFile(tmp_path / "file.safetensors") as file:
        file.read("a", lambda chunk: chunks.append(bytes(chunk)))
    assert len(chunks) > 1
    assert b"".join(chunks) == tensor.numpy().tobytes()


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50])
def test_a_header_whose_length_looks_like_a_pickle_is_read(length: int, tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(length)
    path = tmp_path / "file.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header + struct.pack("<f", 2.5))
    with SafetensorsFile(path) as file:
        assert file.read("a").tolist() == [2.5]


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    with SafetensorsFile(path) as file:
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(CheckpointError, match="ends early"):
            file.read("a")
