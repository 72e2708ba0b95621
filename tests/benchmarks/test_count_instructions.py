"""Instructions of a step, counted in machine code as cuobjdump prints it."""

from benchmarks.gpu.count_instructions import count, lines, loops_of
from benchmarks.gpu.instructions import COUNTS_PATH, StepCount, read_counts


def code(*instructions: str) -> str:
    return "".join(
        f"        /*{16 * i:04x}*/                   {text} ;   /* 0x00 */\n\n"
        for i, text in enumerate(instructions)
    )


SEQUENTIAL = (
    "Function : _ZN7pararnn4cuda1_GLOBAL__N__x15sequential_scanINS0_3GruEfEEvNS_10ScanParamsE\n"
    + code(
        "MOV R1, R2",
        *["@!P0 LDG.E R3, desc[UR4][R2.64]"] * 6,
        *["MUFU.EX2 R4, R4", "MUFU.RCP R4, R4", "FFMA R4, R4, R4, R4"] * 2,
        "@P1 BRA 0x10",
        "BRA 0x0",
    )
)
NEWTON = (
    "Function : _ZN7pararnn4cuda1_11newton_scanINS0_4LstmENS0_8BFloat16ELi2EEEvNS_12NewtonParamsE\n"
    + code(
        "LDG.E.U16 R3, desc[UR4][R2.64]",
        *["MUFU.EX2 R4, R4", "SHFL.UP P0, R1, R1, 0x1, RZ", "FADD R1, R1, R2", "@P0 BRA 0x10"],
        *["MUFU.EX2 R4, R4", "@!P0 BRA 0x50"],
        "MUFU.RCP R4, R4",
        "@P2 BRA 0x0",
        "EXIT",
        "BRA 0xa0",
    )
)


def test_a_loop_is_what_a_branch_back_encloses() -> None:
    loops = loops_of(NEWTON)
    assert [(loop.begin, loop.end, len(loop.names)) for loop in loops] == [
        (0x50, 0x60, 2),
        (0x10, 0x40, 4),
        (0x00, 0x80, 9),
    ]
    assert loops[1].count("MUFU") == 1
    assert loops[2].encloses(loops[0])
    assert not loops[0].encloses(loops[1])


def test_steps_of_the_sequential_scan_are_its_loads() -> None:
    assert count(SEQUENTIAL) == {"sequential": {"gru float32": StepCount(13 / 2, 2)}}


def test_updates_of_newton_count_apart_and_what_failed_does_not() -> None:
    assert count(NEWTON) == {"newton 2": {"lstm bfloat16": StepCount(3 / 4, 1 / 4, 1.0, 1 / 4)}}


def test_other_functions_are_passed_over() -> None:
    assert count("Function : _Z3foov\n" + code("EXIT")) == {}


def test_counts_of_the_project_know_every_kernel() -> None:
    counts = read_counts(COUNTS_PATH)
    assert set(counts) == {"sequential", "newton", "newton 2", "newton 4"}
    types = {"gru float32", "gru bfloat16", "lstm float32", "lstm bfloat16"}
    assert all(set(by_name) == types for by_name in counts.values())
    assert len(lines(counts)) == 2 + 4 * 4
