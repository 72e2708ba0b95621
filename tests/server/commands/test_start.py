"""What a command waits for before it starts."""

import subprocess
import sys

OTHERS = {"httpx", "pararnn_client", "openai", "matplotlib", "sympy", "torch._dynamo"}


def test_serving_imports_no_library_that_it_does_not_use() -> None:
    code = (
        "import sys, pararnn_server.serve; from pararnn_server.cli import build_app;"
        "build_app(['serve']); print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert {"torch", "fastapi"} <= loaded
    assert not loaded & OTHERS
