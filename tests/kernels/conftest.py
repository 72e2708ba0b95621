import random
from collections.abc import Iterator

import pytest
import torch

from pararnn_core import ops


@pytest.fixture(autouse=True)
def nan_in_fresh_memory() -> Iterator[None]:
    """Fill outputs that operations allocate with NaN, so that elements that a kernel does not write show."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def generator() -> torch.Generator:
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = ops.num_threads()
    yield
    ops.set_num_threads(threads)
