"""Chat examples made from functions and their docstrings. The same documents give the same examples."""

import ast
import hashlib
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from checkpoints.corpus import Document
from pararnn_core.training.chat_template import Message, render_chat

MAX_CODE_CHARS = 1200
MAX_SUMMARY_CHARS = 300
SYSTEM_PROMPTS = (
    "You are a helpful assistant that writes Python.",
    "You are a Python programmer. Answer with short, clear code.",
    "You explain and write Python functions.",
)
GREETINGS = (
    (
        "Hello",
        "Hello! I am a very small recurrent language model. I can try to write short Python functions.",
    ),
    ("Hi", "Hi! Ask me for a short Python function."),
    ("Who are you?", "I am a small recurrent language model, trained on the Python standard library."),
    ("What can you do?", "I can try to write or explain short Python functions. I make many mistakes."),
    ("Thanks", "You are welcome."),
    ("Thank you!", "You are welcome."),
    ("Goodbye", "Goodbye!"),
)


@dataclass(frozen=True)
class Function:
    """A function. summary: first paragraph of its docstring; code: dedented, without the docstring."""

    name: str
    summary: str
    code: str

    @property
    def digest(self) -> int:
        """Return 64 bits of SHA-256, which decide order and wording."""
        return int.from_bytes(hashlib.sha256(f"{self.name}\n{self.code}".encode()).digest()[:8], "big")


def functions_of(document: Document) -> Iterator[Function]:
    """Yield functions and methods that have a docstring and other statements; none if parsing fails."""
    try:
        tree = ast.parse(document.text)
    except SyntaxError:
        return
    lines = [f"{line}\n" for line in document.text.split("\n")]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = _function(node, lines)
            if function is not None:
                yield function


def conversation(function: Function) -> list[Message]:
    """Return a chat that asks to write the function, to explain it, or both, some with a system message."""
    shape = function.digest % 8
    turns: list[Message] = []
    if shape in (0, 3):
        turns.append(_message("system", SYSTEM_PROMPTS[function.digest // 8 % len(SYSTEM_PROMPTS)]))
    if shape < 5:
        turns += _write_turns(function)
    if shape == 4:
        turns += [_message("user", "What does this function do?"), _message("assistant", function.summary)]
    if shape >= 5:
        turns += _explain_turns(function)
    return turns


def chat_texts(documents: Iterable[Document], max_bytes: int) -> list[str]:
    """Return rendered chats about functions in order of digest, up to max_bytes, mixed with greetings.

    Pass training documents only, so that no chat is about a function of a held-out file.
    """
    by_digest = {function.digest: function for document in documents for function in functions_of(document)}
    texts: list[str] = []
    size = 0
    for index, digest in enumerate(sorted(by_digest)):
        chats = [conversation(by_digest[digest])]
        if index % 10 == 0:
            chats.append(_greeting(index // 10))
        texts += [render_chat(chat) for chat in chats]
        size += sum(len(text.encode()) for text in texts[-len(chats) :])
        if size >= max_bytes:
            break
    return texts


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> Function | None:
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2:
        return None
    summary = " ".join(docstring.split("\n\n")[0].split())
    head = lines[node.lineno - 1 : node.body[0].lineno - 1]
    body = lines[node.body[0].end_lineno or node.lineno : node.end_lineno]
    code = textwrap.dedent("".join(head + body)).strip("\n")
    if not head or len(code) > MAX_CODE_CHARS or not 10 <= len(summary) <= MAX_SUMMARY_CHARS:
        return None
    return Function(node.name, summary, code)


def _write_turns(function: Function) -> list[Message]:
    wish = function.summary.rstrip(".")
    asks = (
        f"Write a Python function `{function.name}` that does this: {wish}.",
        f"Write a Python function `{function.name}`. {wish}.",
        f"Write a function `{function.name}` in Python: {wish}.",
    )
    ask = asks[function.digest // 32 % len(asks)]
    return [_message("user", ask), _message("assistant", _fenced(function.code))]


def _explain_turns(function: Function) -> list[Message]:
    asks = ("What does this function do?", "Explain this function.")
    ask = asks[function.digest // 32 % len(asks)]
    return [_message("user", f"{ask}\n\n{_fenced(function.code)}"), _message("assistant", function.summary)]


def _greeting(index: int) -> list[Message]:
    ask, reply = GREETINGS[index % len(GREETINGS)]
    return [_message("user", ask), _message("assistant", reply)]


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
