"""The committed files of the page are those of its source, and carry the licences of their parts."""

import filecmp
import shutil
import subprocess
from pathlib import Path

import pytest
from pararnn_server.app.page import BUILT

SOURCE = Path(__file__).parents[2] / "clients/page"
PARTS = ("@lucide/svelte", "highlight.js", "lowlight", "marked", "svelte", "uplot")


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm; `make browser` runs it")
@pytest.mark.skipif(not (SOURCE / "node_modules/vite").exists(), reason="run npm ci in clients/page")
def test_built_files_are_those_of_the_source(tmp_path: Path) -> None:
    built = tmp_path / "ui"
    command = ["npm", "run", "--silent", "build", "--", "--outDir", str(built), "--emptyOutDir"]
    subprocess.run(command, cwd=SOURCE, check=True, capture_output=True)

    def files(folder: Path) -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}

    assert files(built) == files(BUILT), "run npm run build in clients/page"
    stale = [name for name in files(built) if not filecmp.cmp(built / name, BUILT / name, shallow=False)]
    assert stale == [], "run npm run build in clients/page"


def test_licences_of_the_parts_are_beside_the_built_files() -> None:
    text = (BUILT / "LICENSES.txt").read_text()
    for part in PARTS:
        assert f"\n{part} " in text
    assert text.count("Copyright (c)") >= len(PARTS) - 1
    assert '"resolved"' not in (SOURCE / "package-lock.json").read_text()
