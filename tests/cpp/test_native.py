"""Every kernel on memory of exact size, at every level of this machine and at those of AVX-512, emulated."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
OWN_BUILD = ROOT / "build" / "native-tests"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def build_folder() -> Path:
    """The library's own, whose object files are the ones to be tested, or else one like it."""
    for cache in sorted(ROOT.glob("build/py3-*/CMakeCache.txt")):
        return cache.parent
    run(TOOLS / "cmake", "-S", "csrc", "-B", OWN_BUILD, "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}", f"-DPython_EXECUTABLE={sys.executable}")  # fmt: skip
    return OWN_BUILD


@pytest.mark.timeout(1200)
def test_every_kernel_keeps_to_its_memory_and_its_error_bound_at_every_level() -> None:
    folder = build_folder()
    run(TOOLS / "cmake", "--build", folder, "--target", "native_tests")
    output = run(folder / "native_tests" / "native_tests")
    print(output)
    assert re.search(r"^[1-9]\d{4,} checks, 0 failures$", output, re.MULTILINE)
    if platform.machine() == "x86_64":
        assert "avx512_emulated" in output
        assert "avx512vnni_emulated" in output
