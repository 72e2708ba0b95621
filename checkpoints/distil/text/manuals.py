"""The manuals of Python and PostgreSQL, a page a document, and chats that ask for a section."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Iterator
from pathlib import Path

from checkpoints.distil.text.documents import Document, exchange

HTML_BLOCKS = re.compile(r"</(p|li|h\d|div|title|dt|dd|td|tr|pre)>", re.IGNORECASE)
HTML_UNREAD = re.compile(r"<(script|style|head)\b.*?</\1>", re.IGNORECASE | re.DOTALL)
NAVIGATION = re.compile(r'<div class="nav(header|footer)">.*?</table>.*?</div>', re.DOTALL)
RST_ROLE = re.compile(r":[\w:+-]+:`~?!?([^`<]*?)\s*(?:<[^`>]*>)?`")
RST_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_+")
RST_DIRECTIVE = re.compile(
    r"^\s*\.\. (?:index|module|moduleauthor|sectionauthor|highlight|_|include|toctree|literalinclude)"
    r".*(?:\n[ \t]+:?\w.*)*",
    re.MULTILINE,
)
RST_TITLE = re.compile(r"^(\S.*)\n([=\-~^*#\"'+])\2{3,}\s*$", re.MULTILINE)
CHAT_WORDS = (25, 170)
QUESTIONS = (
    "Tell me about {title}.",
    "Explain {title}.",
    "What should I know about {title}?",
    "What does the manual say about {title}?",
    "I am reading about {title}. Can you explain it?",
    "How does this work: {title}?",
)


def postgres_documents(root: Path) -> Iterator[Document]:
    """root: of the package."""
    for file in sorted(root.glob("usr/share/doc/postgresql-doc-*/html/*.html")):
        page = html_text(file.read_text(encoding="utf-8", errors="replace"))
        title, _, body = page.partition("\n")
        yield from _page_documents(f"postgres/{file.name}", [(title.strip(), body)], "PostgreSQL")


def python_documents(root: Path) -> Iterator[Document]:
    """root: of the package."""
    for file in sorted(root.glob("usr/share/doc/python3*/html/_sources/**/*.rst.txt")):
        if file.name.startswith("changelog"):
            continue
        name = file.relative_to(file.parents[1]).as_posix()
        page = rst_text(file.read_text(encoding="utf-8", errors="replace"))
        yield from _page_documents(f"python/{name}", rst_sections(page), "Python")


def html_text(page: str) -> str:
    """Text of an HTML page, blocks on lines of their own."""
    page = NAVIGATION.sub(" ", HTML_UNREAD.sub(" ", page))
    page = re.sub(r"<[^>]+>", "", HTML_BLOCKS.sub("\n", page))
    page = re.sub(r"[ \t\xa0]+", " ", html.unescape(page))
    return re.sub(r" ?\n\s*\n+", "\n\n", page).strip()


def rst_text(page: str) -> str:
    """reStructuredText without its roles, links and indexing directives."""
    page = RST_LINK.sub(r"\1", RST_ROLE.sub(r"\1", RST_DIRECTIVE.sub("", page)))
    return re.sub(r"\n\s*\n\s*\n+", "\n\n", page.replace("``", "`")).strip()


def rst_sections(page: str) -> list[tuple[str, str]]:
    """(title, body) of each section."""
    parts = RST_TITLE.split(page)
    return [(parts[i].strip(), parts[i + 2].strip()) for i in range(1, len(parts) - 2, 3)]


def _page_documents(key: str, sections: list[tuple[str, str]], subject: str) -> Iterator[Document]:
    text = "\n\n".join(f"{title}\n\n{body}" for title, body in sections)
    if len(text) > 300:
        yield Document(key, text)
    draw = random.Random(key)
    for title, body in sections:
        answer = _first_words(body)
        if answer and 2 < len(title) < 80:
            question = draw.choice(QUESTIONS).format(title=f"{title} in {subject}")
            yield exchange(key, question, answer)


def _first_words(body: str) -> str | None:
    """Whole paragraphs from the start, of a chat's length; None if there are none."""
    least, most = CHAT_WORDS
    taken: list[str] = []
    count = 0
    for paragraph in body.strip().split("\n\n"):
        words = len(paragraph.split())
        if count + words > most:
            break
        taken.append(paragraph)
        count += words
    return "\n\n".join(taken).strip() if count >= least else None
