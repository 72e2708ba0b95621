"""Distillation of SmolLM2-135M-Instruct into a recurrent model; its files are in $PARARNN_TRAIN_DIR."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from pararnn_server.fetch.fetch_error import FetchError

from checkpoints.distil import ask, commands
from checkpoints.distil.recipe import STAGES
from checkpoints.distil.trainer import DivergedError


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, with one subcommand for each function of commands.py."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.distil", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(run.__name__, help=text, description=text)
        added.add_argument("--cell", choices=("gru", "lstm"), default="gru", help="default: %(default)s")
        added.set_defaults(run=run)
        return added

    verb(commands.prepare, "download the teacher and the text, and tokenise it")
    _stages(_threads(verb(commands.train, "train until the last stage ends; continues a saved run")))
    _stages(_threads(verb(commands.start, "train in the background at the lowest priority")))
    verb(commands.stop, "save and end what `start` began")
    verb(commands.status, "say what is running, and the last row of the curve")
    added = _threads(verb(commands.replies, "let the teacher answer more of the written prompts"))
    added.add_argument("--tokens", type=int, default=100_000, help="how many more; default: %(default)s")
    added = verb(commands.curve, "draw the curve of the run")
    added.add_argument("--out", type=Path, default=Path("curve.png"), help="default: %(default)s")
    added = _mixers(verb(commands.export, "write the mixers in 4 bits, with the curve, as one file"))
    added.add_argument("--out", type=Path, required=True, help="a .safetensors.xz file")
    added = _threads(_mixers(verb(commands.evaluate, "measure the student beside the teacher")))
    added.add_argument("--every", type=int, default=1, help="only every so many-th held-out prompt")
    added.add_argument("--replies", action="store_true", help="show the replies")
    added = _threads(verb(commands.figures, "measure assembled checkpoints for their card"))
    added.add_argument(
        "checkpoints", type=Path, nargs="+", help="int4, int8 and bfloat16; the first is served"
    )
    added.add_argument(
        "--out", type=Path, required=True, help="a .json file, figures-CELL.json beside the mixers"
    )
    added = _server(verb(ask.ask, "ask a running server ten of the held-out prompts, and show its replies"))
    added.add_argument("--temperature", type=float, help="default: the model's own")
    added.add_argument("--top-p", type=float, help="default: the model's own")
    added.add_argument("--repetition-penalty", type=float, help="default: the model's own")
    _server(verb(ask.sampling, "count repetitions by settings of the sampler, on a running server"))
    added = verb(commands.held_out, "write the held-out prose as one text")
    added.add_argument("--out", type=Path, required=True, help="a .txt file")
    return parser


def _threads(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    verb.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    return verb


def _stages(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    kept = "kept with the run; default: as the run began"
    for stage in STAGES:
        verb.add_argument(f"--{stage}-tokens", type=int, help=f"length of this stage, {kept}")
        verb.add_argument(f"--{stage}-rate", type=float, help=f"learning rate of this stage, {kept}")
    rounded = "learn with the rounded matrices of a 4-bit checkpoint from now on, kept with the run"
    verb.add_argument("--rounded", action="store_true", help=rounded)
    return verb


def _server(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    verb.add_argument("--url", default="http://127.0.0.1:8000", help="default: %(default)s")
    verb.add_argument("--api-key", help="of a server that wants one")
    verb.add_argument("--seed", type=int, default=0, help="draws prompts and replies; default: %(default)s")
    verb.add_argument("--figures", type=Path, help="a figures-CELL.json to put the result into")
    return verb


def _mixers(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    verb.add_argument("--mixers", type=Path, help="a file of `export`; default: the run's saved state")
    return verb


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (BlockingIOError, DivergedError, FetchError, TimeoutError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
