"""Loads hostile checkpoints in a process that may hardly grow.

python -m tests.core.checkpoint.fuzz_checkpoints SEED CASES
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pararnn_core.checkpoint import CheckpointError, load_checkpoint
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.core.checkpoint.checkpoint_files import same_bits, weights_of
from tests.core.checkpoint.checkpoint_parts import Parts
from tests.core.checkpoint.hostile_bytes import BYTES, DAMAGE
from tests.core.checkpoint.hostile_fields import FIELDS
from tests.quantized_fixtures import tiny_quantized_checkpoint

KINDS = (*FIELDS, *BYTES, *DAMAGE)
MAY_GROW = 256 << 20
MAY_TAKE_SECONDS = 5.0
"""Bound of the processor time of one case. Most take 10 ms."""


@dataclass
class Outcome:
    """kinds: how often each was tried.  wrong: what went wrong.  longest: seconds of processor time."""

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0


def fault_of_refusal(path: Path, sound: ParaRNNForCausalLM, may_be_same: bool) -> str | None:
    """Return the fault of the refusal of `path`; None if it was refused correctly."""
    try:
        loaded = load_checkpoint(path, pack=False)
    except CheckpointError as error:
        text = str(error)
        named = text.startswith(str(path)) and len(text) <= 1000 and text.isprintable()
        return None if named else f"the message names no file, or cannot be read: {text!r}"
    except BaseException as error:  # any other is what is looked for
        return f"{type(error).__name__}: {error}"
    same = same_bits(weights_of(loaded), weights_of(sound)) and loaded.config == sound.config
    return None if may_be_same and same else "a model"


def try_case(case: int, base: Path, path: Path, sound: ParaRNNForCausalLM, outcome: Outcome) -> None:
    """The number of a case decides all about it."""
    source = random.Random(case)
    kind = KINDS[case % len(KINDS)]
    parts = Parts.read(base, source)
    if kind not in DAMAGE and source.random() < 0.7:
        # Without it only the other checks apply.
        del parts.config["fingerprint"]
    kind(parts)
    parts.write(path)
    start = time.process_time()
    fault = fault_of_refusal(path, sound, kind in DAMAGE)
    took = time.process_time() - start
    outcome.longest = max(outcome.longest, took)
    if took > MAY_TAKE_SECONDS:
        fault = f"took {took:.1f} s"
    outcome.kinds[kind.__name__] += 1
    if fault is not None:
        outcome.wrong.append(f"{kind.__name__} {case}: {fault}"[:300])


def run(seed: int, cases: int) -> Outcome:
    """Cases seed .. seed + cases."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        base = tiny_quantized_checkpoint(Path(folder) / "sound", intermediate_size=33)
        sound = load_checkpoint(base, pack=False)
        path = Path(folder) / "hostile"
        path.mkdir()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MAY_GROW, resource.RLIM_INFINITY))
        for case in range(seed, seed + cases):
            try_case(case, base, path, sound, outcome)
    return outcome


def main() -> None:
    torch.set_num_threads(1)
    outcome = run(int(sys.argv[1]), int(sys.argv[2]))
    kinds = outcome.kinds
    result = {"cases": sum(kinds.values()), "kinds": len(kinds), "longest": outcome.longest}
    print(json.dumps(result | {"wrong": outcome.wrong[:50]}))


if __name__ == "__main__":
    main()
