"""Publication of a run as a checkpoint: `python -m checkpoints.publish --run runs/gru --out DIR`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkpoints.card import CardFacts, render_card
from checkpoints.evaluate import evaluate
from checkpoints.samples import TEMPERATURE, TOP_P, draw_samples
from pararnn_core.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.training.card import CURVE_FILE
from pararnn_core.training.chat_template import END_OF_TEXT, END_OF_TURN
from pararnn_core.training.curve import save_curve
from pararnn_core.training.prepare import prepared
from pararnn_core.training.run_folder import RunFolder
from pararnn_core.training.tokenizer import load_tokenizer, token_id


def save_weights(folder: RunFolder, out: Path) -> ModelConfig:
    """Write weights rounded to bfloat16, tokenizer and generation defaults; return the config."""
    state = folder.load_state()
    model = ParaRNNForCausalLM(ModelConfig.from_dict(state["identity"]["config"]))
    model.load_state_dict(state["model"])
    tokenizer = load_tokenizer(folder.path / "tokenizer")
    generation: dict[str, Any] = {
        "eos_token_id": [token_id(tokenizer, END_OF_TURN), token_id(tokenizer, END_OF_TEXT)],
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
    }
    save_checkpoint(model, out, tokenizer=folder.path / "tokenizer", generation=generation, dtype="bfloat16")
    return model.config


def publish(folder: RunFolder, out: Path) -> None:
    """Write the weights, then measure the saved weights for the card. Raises CheckpointError."""
    save_weights(folder, out)
    figures = evaluate(out)
    model, tokenizer = load_checkpoint(out), load_tokenizer(out)
    run, rows, samples = prepared(folder), folder.rows(), draw_samples(model, tokenizer)
    facts = CardFacts(out.name, model.config, run.facts, len(run.training), rows, figures, samples)
    (out / "README.md").write_text(render_card(facts))
    baselines = {"5-gram of tokens": figures["token_5gram"], "xz -9e": figures["xz"]}
    save_curve(rows, baselines, run.bits_per_nat, out / CURVE_FILE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Save, measure and describe the model of a finished run.")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    options = parser.parse_args(arguments)
    try:
        publish(RunFolder(options.run, resume=True), options.out)
    except (CheckpointError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
