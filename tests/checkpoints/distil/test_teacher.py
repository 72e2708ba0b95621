from pathlib import Path

import torch
from torch.nn import functional as F

from checkpoints.distil.replies import greedy, replies, sampler
from checkpoints.distil.teacher import Teacher, rotate, rotations
from checkpoints.distil.teacher_decoder import TeacherDecoder
from checkpoints.distil.teacher_weights import read_tokenizer, read_weights
from tests.checkpoints.distil.tiny import SIZES, tiny_weights, write_gguf

NO_TOKEN = -1


def test_weights_and_tokenizer_are_those_of_the_file(tmp_path: Path) -> None:
    weights = tiny_weights()
    write_gguf(weights, tmp_path / "tiny.gguf")
    read = read_weights(tmp_path / "tiny.gguf")
    assert read.sizes.hidden_size == SIZES.hidden_size
    assert read.sizes.vocab_size == SIZES.vocab_size
    assert torch.equal(read.embedding, weights.embedding)
    assert torch.equal(read.norm, weights.norm)
    for block, expected in zip(read.blocks, weights.blocks, strict=True):
        for name, tensor in vars(expected).items():
            assert torch.equal(getattr(block, name), tensor), name
    tokenizer = read_tokenizer(tmp_path / "tiny.gguf")
    assert tokenizer.decode(tokenizer.encode("Grüße 42").ids) == "Grüße 42"
    assert tokenizer.encode("<|1|>").ids == [1]


def test_attention_is_causal_and_knows_distances() -> None:
    teacher = Teacher(tiny_weights(), torch.float32)
    tokens = torch.randint(0, SIZES.vocab_size, (1, 12))
    whole = teacher.hidden(tokens)
    assert torch.allclose(whole[:, :7], teacher.hidden(tokens[:, :7]), atol=1e-5)
    # Scores depend on the distance of two positions, not on the positions.
    q, k = torch.randn(1, 1, 1, SIZES.head_size), torch.randn(1, 1, 1, SIZES.head_size)
    at = rotations(9, SIZES)
    scores = [rotate(q, at[i + 3 : i + 4]) @ rotate(k, at[i : i + 1]).mT for i in range(6)]
    assert torch.allclose(torch.stack(scores), scores[0].expand(6, 1, 1, 1, 1), atol=1e-5)


def test_every_layer_reports_its_own_input_and_output() -> None:
    teacher = Teacher(tiny_weights(), torch.float32)
    seen = []

    def on_layer(layer: int, x: torch.Tensor, u: torch.Tensor, a: torch.Tensor) -> None:
        assert torch.allclose(u, F.rms_norm(x, (SIZES.hidden_size,), teacher.norms[layer], SIZES.norm_eps))
        assert a.shape == x.shape
        seen.append(layer)

    teacher.hidden(torch.randint(0, SIZES.vocab_size, (2, 5)), on_layer)
    assert seen == list(range(SIZES.num_layers))


def test_replies_in_a_batch_equal_replies_alone_and_those_without_a_cache() -> None:
    teacher = Teacher(tiny_weights(), torch.float32)
    prompts = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
    decoder = TeacherDecoder(teacher, max_length=32)
    together = replies(decoder, prompts, greedy, NO_TOKEN, max_tokens=8)
    for prompt, reply in zip(prompts, together, strict=True):
        assert replies(decoder, [prompt], greedy, NO_TOKEN, max_tokens=8) == [reply]
        ids = list(prompt)
        for _ in range(8):
            ids.append(int(teacher.logits(teacher.hidden(torch.tensor([ids]))[0, -1]).argmax()))
        assert reply.tokens == ids[len(prompt) :]
        assert not reply.ended


def test_replies_that_end_leave_the_batch_and_the_others_stay_as_they_are() -> None:
    decoder = TeacherDecoder(Teacher(tiny_weights(), torch.float32), max_length=32)
    prompts = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
    whole = replies(decoder, prompts, greedy, NO_TOKEN, max_tokens=8)
    end = whole[1].tokens[3]
    cut = replies(decoder, prompts, greedy, end, max_tokens=8)
    for reply, long in zip(cut, whole, strict=True):
        expected = long.tokens[: long.tokens.index(end)] if end in long.tokens else long.tokens
        assert reply.tokens == expected
        assert reply.ended == (end in long.tokens)


def test_a_drawn_token_is_among_the_likeliest_ones() -> None:
    logits = torch.tensor([[4.0, 3.9, 0.0, -3.0]]).expand(200, 4)
    drawn = sampler(temperature=1.0, top_p=0.9, seed=1)(logits)
    assert set(drawn.tolist()) == {0, 1}
    assert torch.equal(drawn, sampler(temperature=1.0, top_p=0.9, seed=1)(logits))
