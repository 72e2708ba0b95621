from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from pararnn_server.commands.chat_loop import ChatLoop
from pararnn_server.commands.conversation import SessionFacts
from pararnn_server.commands.failure import CommandFailed


class Script:
    """A conversation that answers each message by `answer`, and the lines that a person types."""

    def __init__(self, *lines: str, answer: Callable[[Script, str], Iterator[str]] | None = None) -> None:
        self._lines = iter(lines)
        self._answer = answer or (lambda _, text: iter([text.upper()]))
        self.heard: list[str] = []
        self.resets = 0
        self.stopped = False
        self.completion_tokens = 3
        self.continues_text = False

    def read_line(self, prompt: str) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            raise EOFError from None

    def reply(self, text: str) -> Iterator[str]:
        self.heard.append(text)
        return self._answer(self, text)

    def stop(self) -> None:
        self.stopped = True

    def reset(self) -> None:
        self.resets += 1

    def facts(self) -> SessionFacts:
        return SessionFacts(1234, 2048, (("cell", "1 KiB"),))

    def close(self) -> None:
        """Do nothing."""


def _run(script: Script) -> None:
    ChatLoop(script, script.read_line).run()


def test_replies_alone_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    _run(Script("hello", "you"))
    assert capsys.readouterr().out == "HELLO\nYOU\n"


def test_each_reply_is_followed_by_its_speed_and_the_size_of_the_session(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _run(Script("hello"))
    note = capsys.readouterr().err
    assert "3 tokens" in note
    assert "tokens/s" in note
    assert "1,234 tokens in 2.0 KiB" in note


@pytest.mark.parametrize("continues_text", [False, True])
def test_an_empty_line_is_sent_only_where_text_is_continued(continues_text: bool) -> None:
    script = Script("", "hello", "")
    script.continues_text = continues_text
    _run(script)
    assert script.heard == (["", "hello", ""] if continues_text else ["hello"])


def test_a_line_that_ends_in_a_backslash_goes_on() -> None:
    script = Script("def f(x):\\", "    return x")
    _run(script)
    assert script.heard == ["def f(x):\n    return x"]


def test_commands_are_not_messages(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script("/reset", "/state", "/help", "/nonsense", "/quit", "never read")
    _run(script)
    notes = capsys.readouterr().err
    assert script.heard == []
    assert script.resets == 1
    assert "2,048 bytes" in notes
    assert "no such command" in notes


def test_a_message_may_begin_with_a_slash() -> None:
    script = Script("// a comment", "/usr/bin is a folder")
    _run(script)
    assert len(script.heard) == 2


def test_ctrl_c_stops_the_reply_and_not_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    def endless(script: Script, text: str) -> Iterator[str]:
        yield "begun"
        os.kill(os.getpid(), signal.SIGINT)
        while not script.stopped:
            yield "."

    script = Script("one", "two", answer=endless)
    before = signal.getsignal(signal.SIGINT)
    _run(script)
    assert script.heard == ["one", "two"]
    assert capsys.readouterr().out.count("begun") == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_gives_up_on_a_reply_that_does_not_stop(capsys: pytest.CaptureFixture[str]) -> None:
    def stuck(script: Script, text: str) -> Iterator[str]:
        while True:
            os.kill(os.getpid(), signal.SIGINT)
            yield ""

    script = Script("one", "two", answer=stuck)
    _run(script)
    assert script.heard == ["one", "two"]
    assert "not part of the session" in capsys.readouterr().err


def test_ctrl_c_at_the_prompt_forgets_the_line_only() -> None:
    script = Script("kept")
    lines = iter(["half\\", KeyboardInterrupt, "kept"])

    def read_line(prompt: str) -> str:
        line = next(lines, EOFError)
        if isinstance(line, str):
            return line
        raise line

    ChatLoop(script, read_line).run()
    assert script.heard == ["kept"]


def test_a_reply_that_fails_is_told_and_the_next_one_comes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail_first(script: Script, text: str) -> Iterator[str]:
        if text == "one":
            raise CommandFailed("the server is gone")
        yield text

    _run(Script("one", "two", answer=fail_first))
    captured = capsys.readouterr()
    assert "the server is gone" in captured.err
    assert "two" in captured.out
