"""The CUDA kernels without a GPU: their very text, with fibers for threads. Of speed it says nothing."""

import re

import pytest

from tests.native_build import run_program


@pytest.mark.timeout(1200)  # it may wait for another process that builds
def test_every_cuda_kernel_on_fibers_keeps_to_its_memory_and_its_error_bound() -> None:
    output = run_program("cuda_host_tests")
    print(output)
    assert re.search(r"^[1-9]\d{2,} checks, 0 failures$", output, re.MULTILINE)
