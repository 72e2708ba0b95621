"""Short completions and one chat, greedy and sampled, for the card."""

from dataclasses import dataclass

from tokenizers import Tokenizer

from pararnn_core.generate import generate
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.training.chat_template import END_OF_TEXT, render_chat
from pararnn_core.training.tokenizer import encode_chat, encode_source, token_id

MAX_TOKENS = 96
# They end where a token ends. A final newline would not: it belongs to the token of the next indentation.
PROMPTS = (
    "def fibonacci(n):",
    "class Stack:\n    def __init__(self):",
    '"""Read and write comma-separated files."""\n\nimport',
)
QUESTION = "Write a Python function `is_empty` that does this: Return True if the list has no items."
TEMPERATURE = 0.8
TOP_P = 0.95


@dataclass(frozen=True)
class Sample:
    """A sample. prompt: as the card shows it; reply: the model's text."""

    title: str
    prompt: str
    reply: str


def draw_samples(model: ParaRNNForCausalLM, tokenizer: Tokenizer) -> list[Sample]:
    """Complete every prompt, greedily and with seed 1. All results are shown."""
    samples = []
    for prompt in PROMPTS:
        (ids,) = encode_source(tokenizer, [prompt])
        samples += _both(model, tokenizer, prompt, ids)
    chat = render_chat([{"role": "user", "content": QUESTION}], add_generation_prompt=True)
    (ids,) = encode_chat(tokenizer, [chat])
    return samples + _both(model, tokenizer, f"(chat) {QUESTION}\n", ids)


def _both(model: ParaRNNForCausalLM, tokenizer: Tokenizer, prompt: str, ids: list[int]) -> list[Sample]:
    stops = (token_id(tokenizer, END_OF_TEXT),)
    greedy = SamplingParams(max_tokens=MAX_TOKENS, temperature=0.0, stop_token_ids=stops)
    sampled = SamplingParams(
        max_tokens=MAX_TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=1, stop_token_ids=stops
    )
    titles = ("greedy", f"temperature {TEMPERATURE}, top_p {TOP_P}, seed 1")
    return [
        Sample(title, prompt, tokenizer.decode(list(generate(model, ids, params)), skip_special_tokens=False))
        for title, params in zip(titles, (greedy, sampled), strict=True)
    ]
