"""A checkpoint that writes scripts: each token is followed by one other, whatever came before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import AddedToken

from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model, tiny_tokenizer


def scripted_checkpoint(path: Path, scripts: Sequence[Sequence[str]], chat_template: str) -> Path:
    """Write the checkpoint; returns `path`.

    scripts: texts of tokens. A script is written, at temperature 0, after its first text, which is the last
    token of a prompt. A text that the tokenizer does not have becomes a token of its own.
    """
    tokenizer = tiny_tokenizer()
    for text in dict.fromkeys(text for script in scripts for text in script):
        if len(tokenizer.encode(text).ids) > 1:
            tokenizer.add_tokens([AddedToken(text, special=False, normalized=False)])
    # Random rows of this width are far from parallel.
    model = tiny_model(vocab_size=TINY_VOCAB_SIZE + 64, hidden_size=64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out_proj.weight", "down_proj.weight")):
                # Nothing is added to the residual stream: the last row is that of the last token.
                parameter.zero_()
            elif name.endswith(("norm.weight", "residual_scale")):
                parameter.fill_(1.0)
        rows = torch.nn.functional.normalize(model.embedding.weight, dim=1)
        model.embedding.weight.copy_(rows)
        model.lm_head.weight.zero_()
        for script in scripts:
            for text, following in pairwise(script):
                [first], [second] = tokenizer.encode(text).ids, tokenizer.encode(following).ids
                model.lm_head.weight[second] += 8 * rows[first]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        tokenizer.save(str(file))
        save_checkpoint(model, path, file, chat_template=chat_template)
    return path
