"""A conversation with a server, as a session of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from pararnn_client import PararnnClient, PararnnError

from pararnn_server.commands.conversation import SessionFacts
from pararnn_server.commands.sampling_options import ChatSampling
from pararnn_server.metrics.units import as_bytes, as_time

_PLACES = {"device": "a slot of the model", "host": "memory", "store": "the store"}


class RemoteConversation:
    """raw: replies continue the text, without a chat template. system: opens a chat. model: its name."""

    def __init__(
        self, client: PararnnClient, sampling: ChatSampling, *, raw: bool, system: str | None = None
    ) -> None:
        self._client = client
        self._sampling = sampling
        self._raw = raw
        self._system = system
        session = client.sessions.create()
        self.model = session.model
        self._session_id = session.id
        self._begun = False
        self._completion_tokens = 0
        self.is_deleted = False

    def reply(self, text: str) -> Iterator[str]:
        """See Conversation.reply."""
        self._completion_tokens = 0
        with self._stream(text) as chunks:
            for chunk in chunks:
                if chunk.usage is not None:
                    self._completion_tokens = chunk.usage.completion_tokens
                # Only a committed turn names its session: one that failed leaves the system message to send.
                self._begun = self._begun or "session" in chunk.raw
                if chunk.text:
                    yield chunk.text

    def stop(self) -> None:
        """See Conversation.stop. On a thread of its own: the caller may be in the middle of a read."""
        # A daemon: a server that does not answer must not keep the program from ending.
        threading.Thread(target=self._cancel, daemon=True).start()

    def reset(self) -> None:
        """See Conversation.reset."""
        self.close()
        self._session_id = self._client.sessions.create().id
        self._begun = self.is_deleted = False

    def facts(self) -> SessionFacts:
        """See Conversation.facts."""
        session = self._client.sessions.get(self._session_id)
        details = (
            ("session", session.id),
            ("model", session.model),
            ("turns", f"{session.turn:,}"),
            ("stored", as_bytes(session.snapshot_bytes)),
            ("token log", as_bytes(session.history_bytes)),
            ("kept in", _PLACES.get(session.tier or "", "-")),
            ("ends", as_time(session.expires_at)),
        )
        return SessionFacts(session.num_tokens, session.state_bytes, details)

    def close(self) -> None:
        """See Conversation.close. A server that is gone has forgotten the session already."""
        try:
            self._client.sessions.delete(self._session_id)
        except PararnnError:
            return
        self.is_deleted = True

    @property
    def continues_text(self) -> bool:
        """See Conversation.continues_text."""
        return self._raw

    @property
    def completion_tokens(self) -> int:
        """See Conversation.completion_tokens."""
        return self._completion_tokens

    def _stream(self, text: str) -> Any:
        fields = self._sampling.fields()
        if self._raw:
            return self._client.sessions.stream(self._session_id, text, **fields)
        return self._client.sessions.stream_chat(self._session_id, self._messages(text), **fields)

    def _messages(self, text: str) -> list[dict[str, str]]:
        # A session remembers the system message: a second one would stand inside the conversation.
        first = [] if self._begun or not self._system else [{"role": "system", "content": self._system}]
        return [*first, {"role": "user", "content": text}]

    def _cancel(self) -> None:
        try:
            self._client.sessions.cancel(self._session_id)
        except PararnnError:
            return  # the reply ended by itself, or the stream that is being read says what is wrong
