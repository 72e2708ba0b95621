"""The change that a finished reply makes to its session."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pararnn_core.state import StateSnapshot
from pararnn_server.engine.recorded_reply import encode_reply
from pararnn_server.engine.request import Finished
from pararnn_server.engine.running import Choice, Running
from pararnn_server.sessions.turn import TurnResult


def turn_result(
    running: Running,
    choice: Choice,
    byte_ids: Sequence[int],
    take: Callable[[], StateSnapshot],
    finished: Finished,
) -> TurnResult:
    """Return the ids of prompt and shown text, and a state that covers no id past them.

    byte_ids: id of each single byte, for the text left of an id that a stop string cut in two.
    take: copies the choice's slot. finished: how the reply ends.
    """
    reply = choice.reply
    kept = reply.ids[: reply.num_shown].tolist()
    # The slot has fed ids of the stop string, and a recurrent state cannot be rewound.
    if choice.rollback is not None and choice.num_fed > len(kept):
        num_fed, snapshot = choice.rollback.at_most(len(kept))
    else:
        num_fed, snapshot = choice.num_fed, take()
    cut = [byte_ids[byte] for byte in reply.cut_text()]
    return TurnResult(
        token_ids=[*running.request.prompt_token_ids, *kept, *cut],
        snapshot=snapshot,
        # The session's next turn feeds them before its prompt.
        pending_ids=(*kept[num_fed:], *cut),
        prompt_tokens=len(running.request.prompt_token_ids),
        completion_tokens=choice.num_sampled,
        reply=encode_reply(running.request, running.published, finished) if running.is_idempotent else None,
    )
