"""Write the table and the picture again from a file of results.

python -m benchmarks.beside_teacher.pages
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.beside_teacher.picture import draw
from benchmarks.beside_teacher.report import page
from benchmarks.beside_teacher.results_file import read_results

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "beside-teacher.json"
PICTURE = ROOT / "docs" / "beside-teacher.svg"


def write_pages(results: Path, picture: Path) -> None:
    """Write the table beside the results, print it, and draw the picture."""
    read = read_results(results)
    written = page(read)
    print(written)
    results.with_suffix(".md").write_text(written, encoding="utf-8")
    draw(read, picture)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_teacher.pages", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the parts; the table is beside it")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="file for the picture")
    options = parser.parse_args()
    write_pages(options.results, options.picture)


if __name__ == "__main__":
    main()
