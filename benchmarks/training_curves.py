"""Loss curves of `pararnn train` by type of products and by step size, on the same data in the same order.

Use: python -m benchmarks.training_curves --text PATH --products bfloat16 --seed 0 --accumulate 1
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from pararnn_core.training.held_out import HeldOutProbe
from pararnn_core.training.plan import Plan
from pararnn_core.training.prepare import Prepared, prepare, prepared
from pararnn_core.training.run import use_threads
from pararnn_core.training.run_folder import Row, RunFolder
from pararnn_core.training.schedule import Budget
from pararnn_core.training.trainer import Recipe, Trainer
from pararnn_core.training.windows import Windows

# Steps between two lines of a curve.
EVERY = 50


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, whose defaults are those of the figures in README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--size", default="5m")
    parser.add_argument("--products", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of the weights; the order of the data is fixed")
    parser.add_argument("--accumulate", type=int, default=1, help="batches of 2,048 tokens in a step")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def curve(data: Prepared, folder: RunFolder, options: argparse.Namespace) -> None:
    """Train and print the tokens, the mean training loss and the held-out bits per byte."""
    recipe = Recipe(products=options.products, seed=options.seed, accumulate=options.accumulate)
    trainer = Trainer(data.config, recipe, data.training, folder)
    # Curves of two seeds differ by the first weights alone.
    trainer.windows = Windows(data.training, recipe.seq_len, seed=0)
    probe, losses = HeldOutProbe(data.held_out, data.held_out_bytes), list[float]()

    def on_step(row: Row) -> None:
        losses.append(row["loss"])
        if row["step"] % EVERY == 0 or row["step"] == options.steps:
            held_out = probe.bits_per_byte(trainer.forward)
            mean = sum(losses) / len(losses)
            print(f"{row['tokens']:,.0f} tokens  loss {mean:.4f}  held out {held_out:.4f}", flush=True)
            losses.clear()

    trainer.run(Budget(options.steps, None), on_step)


def main() -> None:
    """Run the command line."""
    options = build_parser().parse_args()
    use_threads(options.threads)
    with TemporaryDirectory() as place:
        folder = RunFolder(Path(place), resume=False)
        plan = Plan(text=str(options.text), size=options.size, steps=options.steps)
        prepare(plan, folder, lambda *_: None)
        curve(prepared(folder), folder, options)


if __name__ == "__main__":
    main()
