"""Every instruction set level that this machine has passes the kernel tests, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pararnn_core import ops

HERE = Path(__file__).resolve().parent
KERNEL_TESTS = (
    "recurrence",
    "linear",
    "quantized_linear",
    "elementwise",
    "causal_conv1d",
    "vector_math",
    "threads",
    "limits",
    "sampling",
)
LEVELS = ("baseline", "avx2", "avx512", "avx512vnni")


def run(level: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PARARNN_ISA": level, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_passes_the_kernel_tests(level: str) -> None:
    if level not in ops.available_isa_levels():
        pytest.skip(f"this machine has no {level}")
    if level == ops.isa_level():
        pytest.skip("the level of this very process")
    files = [str(HERE / f"test_{name}.py") for name in KERNEL_TESTS]
    done = run(level, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *files)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("level", LEVELS)
def test_the_named_level_is_the_one_in_use(level: str) -> None:
    if level not in ops.available_isa_levels():
        pytest.skip(f"this machine has no {level}")
    done = run(level, "-c", "from pararnn_core import ops; print(ops.isa_level())")
    assert done.stdout.strip() == level, done.stderr


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    done = run("avx9000", "-c", "from pararnn_core import ops; ops.isa_level()")
    assert done.returncode != 0
    assert f"PARARNN_ISA=avx9000: this machine has {','.join(ops.available_isa_levels())}" in done.stderr
