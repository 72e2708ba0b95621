"""`python -m benchmarks.gpu` measures this machine's GPU, prints tables and saves them in benchmarks/results.

It needs torch and the packages that load a checkpoint. The server's packages are needed only for its part.
With --tiny it also runs on a CPU, as a test of the benchmark itself.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from pararnn_server.bench.machine import Machine, slug

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.found import Found
from benchmarks.gpu.parts import GROUPS, PARTS, Part, Setting
from benchmarks.gpu.report import Report
from benchmarks.gpu.sizes import FULL, TINY
from pararnn_core.ops.devices import DeviceUnavailable, usable_device

RESULTS = Path(__file__).parents[1] / "results"
_SECONDS = 420.0
_TINY = "A tiny run: it shows that everything runs. Quote no figure and no target of it."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 1 if a part failed; the other parts are saved."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure the GPU at hand.")
    parser.add_argument("--only", choices=GROUPS, help="only this group of tables, beside the limits")
    parser.add_argument("--time-limit", type=float, default=_SECONDS, metavar="SECONDS", help="for all")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="for the two files")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="show that it runs; nothing to quote")
    parser.add_argument(
        "--original",
        type=Path,
        metavar="DIR",
        help="a built checkout of xaviergonzalez/ml-pararnn, as a peer",
    )
    options = parser.parse_args(arguments)
    try:
        device = usable_device(options.device)
    except DeviceUnavailable as error:
        parser.error(str(error))
    if device.type != "cuda" and not options.tiny:
        parser.error("--device: figures are for GPUs; on a CPU --tiny shows that everything runs")
    command = ["python", "-m", "benchmarks.gpu", *(sys.argv[1:] if arguments is None else arguments)]
    return _run(options, device, shlex.join(command))


def _run(options: argparse.Namespace, device: torch.device, command: str) -> int:
    host, date, began = Machine.here(), datetime.date.today().isoformat(), time.monotonic()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else host.cpu
    sizes = TINY if options.tiny else FULL
    torch.set_num_threads(1)
    setting = Setting(sizes, DeviceClock(device), name, began + options.time_limit, options.original)
    found, failed = Found(notes=[_TINY] if options.tiny else []), False
    path = options.output / "-".join((date, slug(name), *(["tiny"] if options.tiny else [])))
    report = partial(
        Report,
        name,
        host,
        f"torch {torch.__version__}, CUDA {torch.version.cuda}",
        date,
        command,
        f"{sizes.name} {sizes.config.cell}",
    )
    parts = [part for part in PARTS if not part.group or options.only in (None, part.group)]
    for index, part in enumerate(parts):
        start = time.monotonic()
        failed |= not _measure(part, parts[index:], setting, found)
        report(time.monotonic() - began, found).write(path)
        print(f"({index + 1}/{len(parts)}) {part.name}: {time.monotonic() - start:.1f} s", file=sys.stderr)
    print(report(time.monotonic() - began, found).to_markdown())
    print(f"kept in {path}.md and .json", file=sys.stderr)
    return int(failed)


def _measure(part: Part, still: Sequence[Part], setting: Setting, found: Found) -> bool:
    """Measure a part within its share of the time left. Returns False if it failed."""
    if setting.left <= part.least:
        found.notes.append(f"Left out for want of time: {part.name}.")
        return True
    end = time.monotonic() + max(part.least, setting.left * part.share / sum(each.share for each in still))
    try:
        part.measure(setting, found, lambda: end - time.monotonic())
    except Exception as error:
        traceback.print_exc()
        found.notes.append(f"{part.name} failed: {type(error).__name__}: {str(error)[:200]}")
        return False
    finally:
        gc.collect()
        if setting.clock.device.type == "cuda":
            torch.cuda.empty_cache()
    return True


if __name__ == "__main__":
    sys.exit(main())
