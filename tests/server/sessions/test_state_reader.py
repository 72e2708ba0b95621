"""A session file that another device wrote."""

from dataclasses import replace

import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.sessions.saved_state import empty_snapshot
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.sessions.state_reader import StateReader

from pararnn_core.config import ModelConfig
from tests.server.session_fixtures import CONFIG, kind_of


def file_of(config: ModelConfig) -> bytes:
    kind = kind_of(config)
    return StateFile(
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
        snapshot=empty_snapshot(config),
    ).encode()


@pytest.mark.parametrize(("theirs", "ours"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_state_with_activations_of_another_device_is_refused_with_the_reason(theirs: str, ours: str) -> None:
    configs = [replace(CONFIG, activation_dtype=dtype) for dtype in (theirs, ours)]
    file = file_of(configs[0])
    with pytest.raises(BadRequest, match=r"^conv: the state is of a device with activations in") as error:
        StateReader(kind_of(configs[1]), 1 << 20).feed(file)
    assert error.value.param == "conv"
    reader = StateReader(kind_of(configs[0]), 1 << 20)
    reader.feed(file)
    assert reader.finish().snapshot == empty_snapshot(configs[0])
