from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from checkpoints.corpus import Document
from checkpoints.evaluate import CHUNK, document_nats, main, model_bits_per_byte
from checkpoints.token_data import encode_documents
from pararnn_core.training.forward import Forward
from pararnn_core.training.held_out import HeldOutProbe
from pararnn_core.training.tokenizer import save_tokenizer, train_tokenizer
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model


@pytest.mark.parametrize("length", [1, 2, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_chunks_cost_what_the_whole_document_costs(length: int) -> None:
    model = tiny_model("gru")
    ids = torch.randint(TINY_VOCAB_SIZE, (length + 1,), generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        logits = model.logits(ids[None, :-1])[0]
    expected = float(F.cross_entropy(logits, ids[1:], reduction="sum"))
    assert document_nats(model, ids) == pytest.approx(expected, rel=1e-5)


def test_a_uniform_model_costs_the_same_bits_for_every_token(tmp_path: Path) -> None:
    texts = ["x = 1\n" * 30, "print(x)\n"]
    tokenizer = train_tokenizer(texts, vocab_size=270)
    save_tokenizer(tokenizer, tmp_path)
    model = tiny_model("lstm", vocab_size=tokenizer.get_vocab_size(), bos_token_id=0, eos_token_id=0)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    documents = [Document(f"{i}.py", text) for i, text in enumerate(texts)]
    tokens = sum(len(ids) for ids in encode_documents(tokenizer, documents))
    size = sum(map(len, texts))
    expected = tokens * torch.log2(torch.tensor(float(tokenizer.get_vocab_size()))).item() / size
    assert model_bits_per_byte(model, tmp_path, documents) == pytest.approx(expected, rel=1e-5)
    probe = HeldOutProbe(np.concatenate(encode_documents(tokenizer, documents)), size)
    forward = Forward(model, torch.float32, compiled=False)
    assert probe.bits_per_byte(forward) == pytest.approx(expected, rel=1e-5)


def test_a_folder_that_is_no_checkpoint_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path)])
    assert stopped.value.code == 1
    assert "tokenizer.json" in capsys.readouterr().err
