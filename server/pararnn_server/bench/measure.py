"""Models, peers and the machine's limits, measured in turn in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pararnn_core import ops
from pararnn_server.bench.core import CoreRun
from pararnn_server.bench.limits import Multiplier, ReadBuffer
from pararnn_server.bench.subject import Subject
from pararnn_server.bench.timing import Repetition, Spread, interleaved

Progress = Callable[[str], None]
READ_BANDWIDTH, MATRIX_RATE = "read bandwidth", "matrix rate"
UNITS = ("float32", "int8")


@dataclass(frozen=True)
class Workload:
    """kind: "prefill" of `amount` tokens, or "decode" of `amount` sequences at once."""

    kind: str
    amount: int

    def __str__(self) -> str:
        return f"prefill {self.amount}" if self.kind == "prefill" else f"decode b{self.amount}"


@dataclass(frozen=True)
class Plan:
    """time_limit in seconds; what is slow is then repeated less often, but at least once."""

    prefills: Sequence[int]
    batches: Sequence[int]
    rounds: int
    time_limit: float

    @property
    def tests(self) -> list[Workload]:
        """Prefills, then decodes."""
        return [
            *(Workload("prefill", length) for length in self.prefills),
            *(Workload("decode", batch) for batch in self.batches),
        ]


class Peer(Protocol):
    """Another program's model, measured like ours."""

    @property
    def label(self) -> str:
        """Program, model and weights."""

    @property
    def decode_bytes(self) -> int:
        """Bytes of weights that one step reads."""

    @property
    def weights(self) -> str:
        """As ours are called, by width."""

    def case(self, test: Workload) -> Repetition | None:
        """None for what it is not asked to do."""


@dataclass(frozen=True)
class Figure:
    """limit: the most tokens/s that the named limit allows, measured in the same run; None where unknown."""

    label: str
    weights: str
    decode_bytes: int
    threads: int
    test: str
    tokens_per_second: Spread
    limit: float | None
    limited_by: str
    is_peer: bool = False

    @property
    def share(self) -> float | None:
        """Share of the limit, if it is known."""
        return None if self.limit is None else self.tokens_per_second.median / self.limit


@dataclass(frozen=True)
class Limits:
    """Limits of the machine in the same run: operations/s by unit, bytes/s by label of the memory read."""

    threads: int
    operations: dict[str, Spread]
    bandwidth: dict[str, Spread]


@dataclass(frozen=True)
class Measured:
    """Results of one interleaved run."""

    figures: list[Figure]
    limits: Limits


def measure(
    subjects: Sequence[Subject], plan: Plan, progress: Progress, peers: Sequence[Peer] = ()
) -> Measured:
    """All subjects and peers together, with as many threads as the kernels are set to."""
    measured: list[Subject | Peer] = [*subjects, *peers]
    # One for all: each model is compared with a read of exactly its own bytes.
    buffer = ReadBuffer(max(each.decode_bytes for each in measured))
    readers = {each.label: buffer.reader(each.decode_bytes) for each in measured}
    multipliers = {unit: Multiplier(unit) for unit in UNITS}
    cases: dict[str, Repetition] = {f"multiply {unit}": each.repeat for unit, each in multipliers.items()}
    for subject in subjects:
        progress(f"{subject.label}: loading")
        run = CoreRun(subject.load(), max((1, *plan.batches)))
        cases[f"read {subject.label}"] = readers[subject.label].repeat
        cases |= {f"{subject.label} {test}": _case(run, test) for test in plan.tests}
    for peer in peers:
        cases[f"read {peer.label}"] = readers[peer.label].repeat
        wanted = {f"{peer.label} {test}": peer.case(test) for test in plan.tests}
        cases |= {name: case for name, case in wanted.items() if case is not None}
    times = interleaved(cases, rounds=plan.rounds, time_limit=plan.time_limit, progress=progress)
    limits = Limits(
        ops.num_threads(),
        {unit: each.rate(times[f"multiply {unit}"]) for unit, each in multipliers.items()},
        {label: each.rate(times[f"read {label}"]) for label, each in readers.items()},
    )
    figures = [
        figure for subject in subjects for figure in subject_figures(subject, plan.tests, times, limits)
    ]
    figures += [figure for peer in peers for figure in peer_figures(peer, plan.tests, times, limits)]
    return Measured(figures, limits)


def _case(run: CoreRun, test: Workload) -> Repetition:
    return run.prefill(test.amount) if test.kind == "prefill" else run.decode(test.amount)


def subject_figures(
    subject: Subject, tests: Sequence[Workload], times: Mapping[str, Spread], limits: Limits
) -> list[Figure]:
    """The least time of a test is that of reading the weights or of the products, whichever is longer."""
    figures = []
    reading = subject.decode_bytes / limits.bandwidth[subject.label].median
    rate = limits.operations[subject.unit].median
    for test in tests:
        count = test.amount
        prefill = test.kind == "prefill"
        work = subject.prefill_operations(count) if prefill else subject.decode_operations(count)
        # Reading and multiplying overlap, so the longer one is the limit.
        bound = READ_BANDWIDTH if reading > work / rate else MATRIX_RATE
        limit = count / max(reading, work / rate)
        figures.append(_figure(subject, test, times, limits, limit, bound))
    return figures


def peer_figures(
    peer: Peer, tests: Sequence[Workload], times: Mapping[str, Spread], limits: Limits
) -> list[Figure]:
    """A limit only where reading alone sets it: at batch 1."""
    figures = []
    for test in tests:
        if f"{peer.label} {test}" not in times:
            continue
        reading = peer.decode_bytes / limits.bandwidth[peer.label].median
        known = test == Workload("decode", 1)
        figures.append(
            _figure(
                peer, test, times, limits, 1 / reading if known else None, READ_BANDWIDTH if known else ""
            )
        )
    return figures


def _figure(
    of: Subject | Peer,
    test: Workload,
    times: Mapping[str, Spread],
    limits: Limits,
    limit: float | None,
    bound: str,
) -> Figure:
    return Figure(
        label=of.label,
        weights=of.weights,
        decode_bytes=of.decode_bytes,
        threads=limits.threads,
        test=str(test),
        tokens_per_second=times[f"{of.label} {test}"].map(lambda taken: test.amount / taken),
        limit=limit,
        limited_by=bound,
        is_peer=not isinstance(of, Subject),
    )
