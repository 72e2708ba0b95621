"""The tables of a GPU, made on a CPU with tiny sizes: every one is written, and says what its figures say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pararnn_server.bench.timing import Spread
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import scans
from benchmarks.gpu.found import Found, ServedFigure
from benchmarks.gpu.instructions import StepCount, least_seconds, read_counts
from benchmarks.gpu.limits import DeviceLimits
from benchmarks.gpu.model import DecodeFigure, PrefillFigure
from benchmarks.gpu.parts import Part
from benchmarks.gpu.products import ProductsAlone
from benchmarks.gpu.report import Report
from benchmarks.gpu.scan_problem import Shape, solver_name
from benchmarks.gpu.scans import LoopFigure, ScanFigure, Solve
from benchmarks.gpu.sizes import TINY
from benchmarks.gpu.targets import targets
from pararnn_core.device.tune_solvers import SOLVERS

ROOT = Path(__file__).resolve().parents[2]
SERVERS_PACKAGES = (
    *("fastapi", "uvicorn", "pydantic", "pydantic_settings", "prometheus_client", "jinja2"),
    *("httpx", "typer", "rich"),
)


def run(folder: Path, *options: str, code: str = "") -> dict[str, Any]:
    """The JSON of a tiny run in a process of its own; code: what that does before."""
    arguments = ["--device", "cpu", "--tiny", "--output", str(folder), *options]
    script = f"import sys\n{code}\nfrom benchmarks.gpu.__main__ import main\nsys.exit(main({arguments!r}))"
    path = [str(ROOT), str(ROOT / "server"), str(ROOT / "clients" / "python")]
    script = f"import sys\nsys.path[:0] = {path!r}\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.json")
    assert done.stdout == found.with_suffix(".md").read_text() + "\n"
    result: dict[str, Any] = json.loads(found.read_text())
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    """Return the report of a run of all parts."""
    return run(folder)


def median(spread: dict[str, float]) -> float:
    assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    return spread["median"]


def test_every_table_is_written(report: dict[str, Any], folder: Path) -> None:
    found = report["found"]
    (path,) = folder.glob("*.md")
    text = path.read_text()
    titles = [line[3:].partition(",")[0] for line in text.splitlines() if line.startswith("## ")]
    assert [title.partition(" of ")[0] for title in titles] == [
        "Limits",
        "Decode",
        "Prefill",
        "Scans",
        "Beside a loop in torch",
        "Server",
        "Stages",
        "Stages",
        "Targets",
        "Notes",
    ]
    absent = "The original's fused kernel is absent: --original names no checkout of its code."
    assert found["notes"] == [command._TINY, absent]
    assert len(found["decodes"]) == len(TINY.batches) + 2 * len(TINY.narrow_batches)
    assert [each["tokens"] for each in found["prefills"]] == [600, 1100, 48, TINY.longest_prompt]
    grid = len(TINY.lengths) * len(TINY.widths) * len(TINY.sequences)
    assert len(found["scans"]) == 2 * len(TINY.dtypes) * grid
    assert len(found["loops"]) == 2 * len(TINY.widths) * len(TINY.sequences)
    assert len(found["served"]) == 1
    assert len(found["profiles"]) == 2
    assert "a scan at equal accuracy, of the original's fused kernel" in text


def test_ratios_are_those_of_the_numbers_beside_them(report: dict[str, Any]) -> None:
    found = report["found"]
    values = {each["what"]: each["value"] for each in report["targets"]}
    steps = {(each["weights"], each["batch"]): median(each["seconds"]) for each in found["decodes"]}
    alone = next(each for each in found["decodes"] if each["weights"] == "bf16" and each["batch"] == 1)
    share = alone["nbytes"] / median(alone["seconds"]) / median(found["limits"]["read"])
    assert values["bf16 decode, batch 1, share of the read bandwidth"] == pytest.approx(share)
    for weights in ("int8", "int4"):
        ratio = steps["bf16", 1] / steps[weights, 1]
        assert values[f"{weights} decode, batch 1, of bf16's tokens/s"] == pytest.approx(ratio)
    ratios = [
        median(each["seconds"]) / median(each["products"]) for each in found["prefills"] if each["products"]
    ]
    assert values["bf16 prefill, the slowest of its products alone"] == pytest.approx(max(ratios))
    (served,) = found["served"]
    rate = median(served["tokens_per_second"])
    assert values["server, all streams, of the model alone on the same work"] == pytest.approx(
        rate / median(served["alone"])
    )
    assert values["server, all streams, of the model's decodes of that batch (no prompts)"] == pytest.approx(
        rate * steps["bf16", 2] / 2
    )
    assert served["late_first"] > 0
    for cell in ("gru", "lstm"):
        loops = [each for each in found["loops"] if each["shape"]["cell"] == cell]
        best = max(median(each["loop"]) / median(each["auto"]) for each in loops)
        assert values[f"{cell}, auto, of a time loop in torch, its best shape"] == pytest.approx(best)


def test_what_a_device_does_not_have_is_not_measured(report: dict[str, Any]) -> None:
    assert {solver for each in report["found"]["scans"] for solver in each["seconds"]} == {
        "sequential",
        "auto",
    }
    assert report["found"]["limits"]["node"] is None
    reached = {each["what"]: each["is_reached"] for each in report["targets"]}
    assert reached["auto, at worst against the fastest solver"] is None


def test_without_the_servers_packages_all_else_is_there_and_the_reason_is_said(tmp_path: Path) -> None:
    code = f"for name in {SERVERS_PACKAGES!r}:\n    sys.modules[name] = None"
    found = run(tmp_path, "--only", "server", code=code)["found"]
    assert found["served"] == []
    assert found["limits"] is not None
    (_, note) = found["notes"]
    assert note.startswith("The server is left out: ")
    assert "WHEELS" in note


def main(folder: Path, *options: str) -> int:
    return command.main(["--device", "cpu", "--tiny", "--output", str(folder), *options])


def notes(folder: Path) -> list[str]:
    (path,) = folder.glob("*.json")
    found: list[str] = json.loads(path.read_text())["found"]["notes"]
    return found[1:]


def test_what_time_leaves_out_is_named(tmp_path: Path) -> None:
    assert main(tmp_path, "--time-limit", "0") == 0
    names = (
        *("limits", "decodes", "prefills", "scans", "time loops", "original"),
        *("server", "stages", "longest prompt"),
    )
    assert notes(tmp_path) == [f"Left out for want of time: {name}." for name in names]


def test_a_part_that_fails_is_a_note_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    ran: list[str] = []
    after = Part("after", "scans", 0.5, lambda *_: ran.append("after"))
    monkeypatch.setattr(command, "PARTS", (Part("first", "", 0.5, fail), after))
    assert main(tmp_path) == 1
    assert notes(tmp_path) == ["first failed: RuntimeError: out of luck"]
    assert ran == ["after"]


def test_figures_of_a_cpu_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--device", "cpu", "--output", str(tmp_path)])
    assert "--tiny" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def spread(value: float) -> Spread:
    return Spread(value, value * 0.9, value * 1.1, 9)


def scan(sequential: float, newton: tuple[float, float], auto: float, **shape: Any) -> ScanFigure:
    """newton: with one time warp and with two."""
    fields = {"cell": "gru", "dtype": "float32", "sequences": 1, "tokens": 4096, "channels": 1024, **shape}
    taken = {"sequential": sequential, "newton": newton[0], "newton 2": newton[1], "auto": auto}
    solves = {"newton": Solve(2, 1e-7, 0), "newton 2": Solve(3, 1e-7, 0)}
    seconds = {solver: spread(each) for solver, each in taken.items()}
    return ScanFigure(Shape(**fields), seconds, "newton 2", solves)


def invented() -> Found:
    """A chip of 100 multiprocessors of 1 GHz that copies 1 TB/s."""
    rates = {"copy": 1e12, "read": 2e12, "matrix": 1e15, "launch": 2e-6}
    limits = DeviceLimits(
        "a chip", 100, 1e9, reader="sum of float32", node=None, **{k: spread(v) for k, v in rates.items()}
    )
    full = {"sequences": 64, "channels": 2048, "tokens": 1024}
    return Found(
        limits=limits,
        decodes=[
            DecodeFigure("bf16", 1, spread(1e-3), 10**9),
            DecodeFigure("bf16", 4, spread(2e-3), 10**9),
            DecodeFigure("int8", 1, spread(0.5e-3), 5 * 10**8),
            DecodeFigure("int4", 1, spread(0.5e-3), 3 * 10**8),
        ],
        prefills=[
            PrefillFigure(2048, 512, spread(0.12), spread(0.1), 1000),
            PrefillFigure(8192, 512, spread(0.52), spread(0.4), 1010),
            PrefillFigure(8192, 2048, spread(0.4), spread(0.38), 9999),
            PrefillFigure(1_000_000, 512, spread(50.0), None, 1020),
        ],
        scans=[scan(2e-3, (1.5e-3, 1e-3), 1.05e-3), scan(5e-3, (9e-3, 8e-3), 6e-3, **full)],
        loops=[
            LoopFigure(Shape("gru", "float32", 1, 512, 1024), spread(0.05), spread(1e-4)),
            LoopFigure(Shape("lstm", "float32", 1, 512, 1024), spread(0.05), spread(1e-4)),
        ],
        served=[
            ServedFigure("bf16", 4, spread(1900.0), spread(2500.0), 0.1, 0.01, 0.02, 2000, 0.5, 0.05),
        ],
        counts={"newton 2": {"gru float32": StepCount(40, 4, 80, 5)}},
        notes=["something is absent"],
    )


def test_targets_are_judged_by_the_figures_of_the_run() -> None:
    measured = [each for each in targets(invented()) if each.value is not None]
    judged = {each.what: (each.value, each.is_reached) for each in measured}
    steps = 4096 * 1024
    cycles = max((40 + 3 * 80) / 128, (4 + 3 * 5) / 16)
    moved = 64 * 2048 * 1024 * (3 * 4 + 4)
    expected: dict[str, tuple[float, bool]] = {
        "bf16 decode, batch 1, share of the read bandwidth": (0.5, False),
        "int8 decode, batch 1, of bf16's tokens/s": (2.0, True),
        "int4 decode, batch 1, of bf16's tokens/s": (2.0, False),
        "bf16 prefill, the slowest of its products alone": (1.3, False),
        "prefill, working memory, most of least over all lengths": (1.02, True),
        "sequential, least share of the copy bandwidth from 131,072 channels on": (
            moved / 5e-3 / 1e12,
            False,
        ),
        "newton, least share of its instruction bound from 2,048 tokens on if it is the fastest solver": (
            steps * cycles / 1e11 / 1e-3,
            False,
        ),
        "auto, at worst against the fastest solver": (1.2, False),
        "gru, auto, of a time loop in torch, its best shape": (500.0, True),
        "lstm, auto, of a time loop in torch, its best shape": (500.0, False),
        "server, all streams, of the model's decodes of that batch (no prompts)": (0.95, True),
        "server, all streams, of the model alone on the same work": (0.76, False),
    }
    assert list(judged) == list(expected)
    for what, (value, is_reached) in expected.items():
        assert judged[what] == (pytest.approx(value), is_reached), what


def test_what_was_not_measured_reaches_no_target() -> None:
    assert {each.is_reached for each in targets(Found(counts={}))} == {None}


def test_a_bound_is_unknown_until_instructions_are_counted(tmp_path: Path) -> None:
    figure = scan(2e-3, (1.5e-3, 1e-3), 1e-3)
    found = invented()
    assert found.bound_share(figure, "sequential") is None
    assert found.bound_share(figure, "newton 2") == pytest.approx(4096 * 1024 * 280 / 128 / 1e11 / 1e-3)
    text = Report("a chip", _host(), "torch", "2026-01-01", "command", "a model", 1.0, found).to_markdown()
    (row,) = [line for line in text.splitlines() if "| 4,096 |" in line]
    assert "| unknown " in row
    assert "something is absent" in text
    assert read_counts(tmp_path / "absent.json") == {}
    path = tmp_path / "counts.json"
    path.write_text('{"sequential": {"gru float32": {"issued": 64, "special": 16}}}')
    counts = read_counts(path)
    assert least_seconds(counts, "sequential", "gru float32", 1000, 0, 1e9) == pytest.approx(1e-6)
    assert least_seconds(counts, "sequential", "lstm float32", 1000, 0, 1e9) is None
    assert least_seconds(counts, "sequential", "gru float32", 1000, 0, None) is None


def test_a_scan_that_does_not_fit_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape("gru", "bfloat16", 64, 65536, 1024)
    assert shape.moved == 64 * 65536 * 1024 * (3 * 2 + 4)
    monkeypatch.setattr(scans, "free_bytes", lambda device: 45 << 30)
    assert scans._lacking(shape, torch.device("cuda")) is None
    monkeypatch.setattr(scans, "free_bytes", lambda device: 44 << 30)
    assert scans._lacking(shape, torch.device("cuda")) == "40.0 GiB where 44.0 GiB are free"
    assert scans._lacking(shape, torch.device("cpu")) is None


def _host() -> Any:
    return command.Machine.here()


def test_counts_that_are_there_name_kernels_cells_and_types() -> None:
    names = {f"{cell} {dtype}" for cell in ("gru", "lstm") for dtype in ("float32", "bfloat16")}
    counts = read_counts()
    assert set(counts) <= {solver_name(warps) for warps in SOLVERS}
    assert all(set(by_name) <= names for by_name in counts.values())


def test_products_alone_are_those_of_a_prefill() -> None:
    config = TINY.config
    products = ProductsAlone(config, torch.float32, torch.device("cpu"), rows=8)
    tokens = 20
    with FlopCounterMode(display=False) as counter:
        products.prefill(tokens, chunk=8)
    d, layers = config.hidden_size, config.num_hidden_layers
    mixer = 3 * d * d + 3 * d * (d // config.num_heads)
    mlp = 3 * d * config.mlp_hidden_size
    # Three chunks: after the last recurrence one row of each is needed, after the last layer one of all.
    rows = tokens * (layers - 1) * (mixer + mlp) + tokens * (mixer - d * d) + 3 * (d * d + mlp)
    assert counter.get_total_flops() == 2 * (rows + d * config.vocab_size)
