"""Every kernel on memory of exact size, at every level of this machine and at those of AVX-512, emulated."""

import platform
import re

import pytest

from tests.native_build import run_program


@pytest.mark.timeout(1200)
def test_every_kernel_keeps_to_its_memory_and_its_error_bound_at_every_level() -> None:
    output = run_program("native_tests")
    print(output)
    assert re.search(r"^[1-9]\d{4,} checks, 0 failures$", output, re.MULTILINE)
    if platform.machine() == "x86_64":
        assert "avx512_emulated" in output
        assert "avx512vnni_emulated" in output
