"""A session file that another device wrote."""

from dataclasses import replace
from typing import Any

import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.sessions import branches
from pararnn_server.sessions import import_export as transfer
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.sessions.state_reader import MAX_COUNT, StateReader

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.state_layout import state_parts
from pararnn_core.state import StateSnapshot
from tests.server.session_fixtures import ADA, CONFIG, build_sessions, kind_of


def file_of(config: ModelConfig, **fields: Any) -> bytes:
    kind = kind_of(config)
    file = StateFile(
        model=kind.name,
        fingerprint=kind.fingerprint,
        tokenizer=kind.tokenizer,
        build=kind.build,
        build_changed=False,
        turn=0,
        num_tokens=0,
        pending_ids=(),
        log_start=0,
        metadata={},
        snapshot=StateSnapshot.empty(state_parts(config)),
    )
    return replace(file, **fields).encode()


def read(data: bytes) -> StateFile:
    reader = StateReader(kind_of(CONFIG), 1 << 20)
    reader.feed(data)
    return reader.finish()


@pytest.mark.parametrize(("theirs", "ours"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_state_with_activations_of_another_device_is_refused_with_the_reason(theirs: str, ours: str) -> None:
    configs = [replace(CONFIG, activation_dtype=dtype) for dtype in (theirs, ours)]
    file = file_of(configs[0])
    with pytest.raises(BadRequest, match=r"^conv: the state is of a device with activations in") as error:
        StateReader(kind_of(configs[1]), 1 << 20).feed(file)
    assert error.value.param == "conv"
    reader = StateReader(kind_of(configs[0]), 1 << 20)
    reader.feed(file)
    assert reader.finish().snapshot == StateSnapshot.empty(state_parts(configs[0]))


@pytest.mark.parametrize("name", ["num_tokens", "turn", "log_start"])
def test_a_count_that_no_session_can_reach_is_refused(name: str) -> None:
    fields = {"turn": 1, "num_tokens": 10, "log_start": 10} | {name: 10**12}
    with pytest.raises(BadRequest) as error:
        read(file_of(CONFIG, **fields))
    assert error.value.param == name


def test_a_session_with_the_highest_counts_is_worked_with_as_any_other() -> None:
    manager = build_sessions()
    file = read(file_of(CONFIG, turn=MAX_COUNT, num_tokens=MAX_COUNT, log_start=MAX_COUNT))
    session = manager.now(transfer.import_new, ADA, file, None).id
    for number in range(1, 4):
        assert manager.say(session, ADA, number).num_tokens == MAX_COUNT + number
    manager.now(branches.save_snapshot, session, ADA, "here")
    assert manager.now(branches.rollback, session, ADA, 1).num_tokens == MAX_COUNT + 2
    child = manager.now(branches.fork, session, ADA).id
    assert manager.token_ids(child) == [1, 2]
    assert manager.now(branches.rollback, session, ADA, "here").num_tokens == MAX_COUNT + 3


@pytest.mark.parametrize("ids", [(), (0,), (3, 2, 1)])
def test_ids_of_a_log_are_checked_whether_few_or_none(ids: tuple[int, ...]) -> None:
    turn = 1 if ids else 0
    assert tuple(read(file_of(CONFIG, turn=turn, num_tokens=len(ids), token_ids=ids)).token_ids or ()) == ids
    for wrong in (-1, CONFIG.vocab_size):
        with pytest.raises(BadRequest) as error:
            read(file_of(CONFIG, turn=1, num_tokens=len(ids) + 1, token_ids=(*ids, wrong)))
        assert error.value.param == "tokens"
