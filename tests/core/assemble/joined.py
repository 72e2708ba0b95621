"""A tiny transformer's GGUF file and mixers for it, as `assemble` takes them."""

import json
import lzma
import random
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from checkpoints.distil.mixers_file import Mixers, write_mixers
from checkpoints.distil.student import mixer_parameters, new_student
from checkpoints.distil.teacher_weights import TeacherBlock, TeacherWeights
from pararnn_core.assemble.mixers_file import VERSION, format_of
from pararnn_core.assemble.portable_rounding import round_portably
from pararnn_core.models.pararnn.quantization_config import MATRICES_OF_A_LAYER
from pararnn_core.quantize.quantize_model import as_rows
from tests.checkpoints.distil.tiny import RECIPE, tiny_weights, write_gguf


def tiny_sources(folder: Path, cell: str = "gru") -> tuple[Path, Path]:
    """Write and return a GGUF file and a file of mixers."""
    source, mixers = folder / "tiny.gguf", folder / f"mixers-{cell}.safetensors.xz"
    write_gguf(tiny_weights(), source)
    write_mixers(Mixers(replace(RECIPE, cell=cell), 123, _mixers(cell), []), mixers)
    return source, mixers


def plain_sources(folder: Path) -> tuple[Path, Path]:
    """Write the same files with weights that do not depend on torch, whose draws differ between machines."""
    source, mixers = folder / "plain.gguf", folder / "mixers-gru.safetensors.xz"
    draw, weights = random.Random(0), tiny_weights()
    blocks = [TeacherBlock(**{n: _plain(t, draw) for n, t in vars(each).items()}) for each in weights.blocks]
    embedding, norm = _plain(weights.embedding, draw), _plain(weights.norm, draw)
    write_gguf(TeacherWeights(weights.sizes, embedding, blocks, norm), source)
    tensors: dict[str, Tensor] = {}
    parameters = {name: _plain(tensor, draw) for name, tensor in _mixers("gru").items()}
    for name, tensor in parameters.items():
        if name.endswith(MATRICES_OF_A_LAYER):
            tensors.update(round_portably([as_rows(tensor)], format_of(name)).stored(name))
        else:
            tensors[name] = tensor
    facts = {"version": VERSION, "recipe": asdict(RECIPE), "tokens": 0}
    texts = {"facts": facts, "shapes": {}, "curve": []}
    mixers.write_bytes(
        lzma.compress(save(tensors, {name: json.dumps(value) for name, value in texts.items()}))
    )
    return source, mixers


def _plain(tensor: Tensor, draw: random.Random) -> Tensor:
    return torch.tensor([draw.uniform(-1, 1) for _ in range(tensor.numel())]).view(tensor.shape)


def _mixers(cell: str) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = new_student(tiny_weights(), cell)
    return {name: parameter.detach() for name, parameter in mixer_parameters(student)}
