import pytest
import torch

from checkpoints.distil.replies import greedy, replies
from checkpoints.distil.student import is_mixer, mixer_parameters
from checkpoints.distil.student_decoder import StudentDecoder
from tests.checkpoints.distil.tiny import SIZES, tiny_batches, tiny_learner, tiny_weights

CELLS = ("gru", "lstm")


@pytest.mark.parametrize("cell", CELLS)
def test_all_but_the_mixers_are_the_teachers_and_stay_so(cell: str) -> None:
    model, weights = tiny_learner(cell).model, tiny_weights()
    assert torch.equal(model.embedding.get_parameter("weight"), weights.embedding)
    assert torch.equal(model.norm.weight, weights.norm)
    for block, source in zip(model.blocks, weights.blocks, strict=True):
        assert torch.equal(block.norm.weight, source.norm)
        assert torch.equal(block.mlp_norm.weight, source.mlp_norm)
        assert torch.equal(block.mlp.gate_proj.get_parameter("weight"), source.gate)
        assert torch.equal(block.mlp.up_proj.get_parameter("weight"), source.up)
        assert torch.equal(block.mlp.down_proj.get_parameter("weight"), source.down)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == is_mixer(name)
    assert {name.split(".")[2] for name, _ in mixer_parameters(model)} == {
        "in_proj", "conv", "cell", "gate_norm", "out_proj",
    }  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_a_mixer_starts_close_to_the_values_of_its_attention(cell: str) -> None:
    learner = tiny_learner(cell)
    tokens = tiny_batches().batch(0).inputs
    learner.start(tokens)
    cosines = []

    def compare(layer: int, _: torch.Tensor, u: torch.Tensor, a: torch.Tensor) -> None:
        y = learner.mix(learner.model.blocks[layer], u)
        cosines.append(float((y * a).sum() / (y.norm() * a.norm())))

    with torch.no_grad():
        learner.teacher.hidden(tokens, compare)
    assert min(cosines) > 0.3


def test_channels_forget_over_one_to_150_tokens() -> None:
    block = tiny_learner("gru").model.blocks[0]
    kept = 1 - torch.sigmoid(block.cell.b[0].detach())
    tokens = 1 / (1 - kept)
    assert float(tokens.min()) < 2
    assert 100 < float(tokens.max()) < 200
    assert not block.cell.A.detach().any()


@pytest.mark.parametrize("cell", CELLS)
def test_the_training_form_equals_the_models_own(cell: str) -> None:
    learner = tiny_learner(cell)
    tokens = torch.randint(0, SIZES.vocab_size, (2, 16))
    with torch.no_grad():
        assert torch.allclose(learner.hidden(tokens), learner.model.hidden(tokens), atol=1e-4)


def test_replies_in_a_batch_equal_replies_alone_and_the_training_form() -> None:
    learner = tiny_learner()
    prompts = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
    whole = replies(StudentDecoder(learner.model), prompts, greedy, -1, max_tokens=6)
    for prompt, reply in zip(prompts, whole, strict=True):
        assert replies(StudentDecoder(learner.model), [prompt], greedy, -1, max_tokens=6) == [reply]
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(learner.model.logits(torch.tensor([ids]))[0, -1].argmax()))
        assert reply.tokens == ids[len(prompt) :]
    end = whole[0].tokens[2]
    cut = replies(StudentDecoder(learner.model), prompts, greedy, end, max_tokens=6)
    assert cut[0].tokens == whole[0].tokens[: whole[0].tokens.index(end)]
    assert cut[0].ended
