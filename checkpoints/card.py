"""The card of a checkpoint: description, training, quality and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from checkpoints.samples import Sample
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.training.card import CURVE_FILE, processor_name
from pararnn_core.training.run_folder import Row


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card. run: contents of run.json; rows: of the log; figures: from evaluate.py."""

    name: str
    config: ModelConfig
    run: Mapping[str, Any]
    training_tokens: int
    rows: Sequence[Row]
    figures: Mapping[str, float]
    samples: Sequence[Sample]


def render_card(facts: CardFacts) -> str:
    """Return the card in Markdown."""
    parts = (_summary(facts), _training(facts), _quality(facts), _samples(facts), LIMITS)
    return "\n".join(parts)


LIMITS = """## Limits

A toy by today's measure, small enough for tests and demonstrations. It has seen one library and nothing
else: it writes what looks like Python, with plausible names and indentation, but seldom correct and often
senseless. It repeats itself under greedy decoding, knows no facts, follows instructions only in the shape of
its chat examples, and can reproduce short passages of its training text. Do not run its code unread; do not
use it to decide anything.

## Licence

The recipes and the weights are under this project's licence (Apache-2.0). The training text is the Python
standard library, under the Python Software Foundation License; passages that the model reproduces from it
stay under that one.
"""


def _summary(facts: CardFacts) -> str:
    config = facts.config
    return f"""# {facts.name}

A Para{config.cell.upper()} language model of {config.num_parameters:,} parameters, trained from scratch on
the sources of the Python standard library. Weights are {config.dtype}.

| | |
|---|---|
| layers, hidden size, heads | {config.num_hidden_layers}, {config.hidden_size}, {config.num_heads} |
| MLP hidden size | {config.mlp_hidden_size} |
| vocabulary | {config.vocab_size} byte-level BPE tokens, embeddings tied |
| trained on sequences of | {facts.run["plan"]["recipe"]["seq_len"]} tokens |
"""


def _training(facts: CardFacts) -> str:
    run, plan, last = facts.run, facts.run["plan"], facts.rows[-1]
    recipe = plan["recipe"]
    epochs = last["tokens"] / facts.training_tokens
    optimizer = "Muon for matrices, AdamW for the rest" if recipe["use_muon"] else "AdamW"
    shape = f"{recipe['batch_size']} x {recipe['seq_len']}"
    return f"""## Training

{last["tokens"] / 1e6:.2f} million tokens, in {int(last["step"]):,} steps of {shape}, from \
{facts.training_tokens / 1e6:.2f} million different ones ({epochs:.1f} epochs).
About a tenth of them are chats made from functions and their docstrings.
{optimizer}; peak learning rate {recipe["learning_rate"]}, falling to zero; recurrent weights within +-0.5.
Matrix products in {recipe["products"]}.
{last["seconds"] / 60:.0f} minutes on {plan["threads"]} thread of {processor_name()}, shared with other work.
Corpus: Python {run["python"]}, SHA-256 `{run["text_sha256"]}`. PyTorch {run["torch"]}.

![Learning curve]({CURVE_FILE})
"""


def _quality(facts: CardFacts) -> str:
    figures = facts.figures
    return f"""## Quality

Bits per byte, lower is better, on {int(figures["held_out_files"])} held-out files \
({int(figures["held_out_bytes"]):,} bytes) that no training token comes from.
The model reads each file in full from a zero state, through the serving path, with the weights as saved here.

| | bits per byte |
|---|---|
| **{facts.name}** | **{figures["model"]:.3f}** |
| 5-gram of the same tokens, modified Kneser-Ney, same training files | {figures["token_5gram"]:.3f} |
| `xz -9e` over the held-out files joined | {figures["xz"]:.3f} |
| 5-gram of bytes, modified Kneser-Ney, same training files | {figures["byte_5gram"]:.3f} |

The probe in the curve is a part of the same files. Optimizer and batch size were chosen by it in short runs
before this one; nothing was chosen by it during this one.
Measure again, with the same Python: `python -m checkpoints.evaluate checkpoints/{facts.name}`
"""


def _samples(facts: CardFacts) -> str:
    blocks = [f"{s.title}:\n\n````text\n{s.prompt}{s.reply}\n````\n" for s in facts.samples]
    return "## Samples\n\nThe first ones drawn, prompt included.\n\n" + "\n".join(blocks)
