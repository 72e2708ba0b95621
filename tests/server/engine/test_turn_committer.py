"""A reply's last output waits for the store where it ends a session's turn, and for nothing otherwise."""

from collections.abc import Callable

from pararnn_server.engine.publisher import Publisher
from pararnn_server.engine.request import Failed, Finished, Output, TokenUsage
from pararnn_server.engine.running import Choice, Running
from pararnn_server.engine.turn_committer import TurnCommitter
from pararnn_server.errors import ServerError, StoreFailed
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.turn import Turn, TurnResult
from pararnn_server.text.vocabulary import Vocabulary

from pararnn_core.sampling.sampled import Sampled
from pararnn_core.state import StateSnapshot
from tests.server.engine_fixtures import SPECIAL_IDS, TOKEN_BYTES, VOCAB_SIZE, Reader, greedy, make_request
from tests.server.metrics_fixtures import new_metrics
from tests.server.session_fixtures import build_sessions, snapshot_of

END = Finished(0, "length", None, TokenUsage(1, 1))


class Store:
    """A store that records requests; the test decides when a commit is done."""

    def __init__(self) -> None:
        self.results: list[TurnResult] = []
        self.done: list[Callable[[SessionInfo | ServerError], None]] = []
        self.abandoned: list[Turn] = []

    def commit(
        self, turn: Turn, result: TurnResult, done: Callable[[SessionInfo | ServerError], None]
    ) -> None:
        self.results.append(result)
        self.done.append(done)

    def abandon(self, turn: Turn) -> None:
        self.abandoned.append(turn)


class Ended:
    """A reply of one id that has ended, in a session or by itself."""

    def __init__(self, *, in_session: bool, stop: tuple[str, ...] = ()) -> None:
        self.sessions = build_sessions()
        self.outputs: list[Output] = []
        params = greedy(1, stop=stop)
        turn = self.sessions.begin_turn(self.sessions.create().id) if in_session else None
        request = make_request(Reader(hook=self.outputs.append), [1], params)
        self.running = Running(request, turn, 0.0, 1.0)
        vocabulary = Vocabulary.build(TOKEN_BYTES, VOCAB_SIZE, 0, SPECIAL_IDS)
        self.choice = Choice(0, 3, params, vocabulary, None)
        self.choice.accept(Sampled(2))
        self.slots: list[int] = []
        self.store = Store()
        publisher = Publisher(new_metrics(), lambda: 0.0)
        self.committer = TurnCommitter(
            self.store, publisher, new_metrics(), vocabulary.byte_ids, self.snapshot
        )

    def snapshot(self, slot: int) -> StateSnapshot:
        self.slots.append(slot)
        return snapshot_of(1)

    def commit(self) -> None:
        self.committer.commit(self.running, END, self.committer.prepare(self.running, self.choice, END))


def test_without_a_session_the_end_is_published_at_once_and_no_state_is_copied() -> None:
    ended = Ended(in_session=False)
    ended.commit()
    ended.committer.abandon(ended.running)
    assert ended.outputs == [END]
    assert (ended.store.results, ended.store.abandoned, ended.slots) == ([], [], [])


def test_the_end_of_a_turn_is_published_once_the_store_has_it() -> None:
    ended = Ended(in_session=True)
    ended.commit()
    assert ended.outputs == []
    assert ended.slots == [3]
    [result] = ended.store.results
    assert list(result.token_ids) == [1, 2]
    info = ended.sessions.create()
    ended.store.done[0](info)
    [finished] = ended.outputs
    assert isinstance(finished, Finished)
    assert finished.session == info


def test_a_commit_that_fails_is_published_as_the_error() -> None:
    ended, error = Ended(in_session=True), StoreFailed("full")
    ended.commit()
    ended.store.done[0](error)
    assert ended.outputs == [Failed(error)]


def test_states_are_kept_for_a_stop_string_of_a_session_alone() -> None:
    stopping, plain = Ended(in_session=True, stop=("x",)), Ended(in_session=True)
    alone = Ended(in_session=False, stop=("x",))
    assert stopping.committer.new_rollback(stopping.running, 0) is not None
    assert plain.committer.new_rollback(plain.running, 0) is None
    assert alone.committer.new_rollback(alone.running, 0) is None


def test_an_abandoned_turn_reaches_the_store() -> None:
    ended = Ended(in_session=True)
    ended.committer.abandon(ended.running)
    assert ended.store.abandoned == [ended.running.turn]
