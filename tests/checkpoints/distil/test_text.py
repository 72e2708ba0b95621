import gzip
import zlib
from itertools import islice
from pathlib import Path

import pytest
import torch

from checkpoints.distil.prepare import text_version
from checkpoints.distil.prompts import held_out_prompts, plain
from checkpoints.distil.teacher import Teacher
from checkpoints.distil.text.chats.facts import COUNTRIES, ELEMENTS, OPPOSITES, SHORT_ANSWERS, YOUNG
from checkpoints.distil.text.chats.written import written_document, written_documents
from checkpoints.distil.text.documents import END_OF_TURN, START_OF_TURN, Document, exchange
from checkpoints.distil.text.jargon import jargon_documents
from checkpoints.distil.text.manuals import html_text, postgres_documents, python_documents, rst_text
from checkpoints.distil.text.novels import novel_documents
from checkpoints.distil.text.requests import request
from checkpoints.distil.text.sources import limited
from checkpoints.distil.text.teacher_replies import reply_documents, write_batch
from checkpoints.distil.text.wordnet import dictionary_entry, read_synsets, wordnet_documents
from checkpoints.distil.token_streams import encode_streams, load_streams, save_streams
from tests.checkpoints.distil.tiny import byte_tokenizer, tiny_weights

SYNSETS = """  1 This software and database is being provided to you
00001740 03 n 02 dog 0 domestic_dog 0 001 @ 00002452 n 0000 | a member of the genus Canis; "the dog barked"
00002452 00 a 01 quick(p) 0 000 | done with speed; without delay
"""
PAGE = """<html><head><title>SELECT</title></head><body>
<div class="navheader"><table><tr><td>Prev</td></tr></table><hr /></div>
<h2>SELECT</h2><p>Retrieve rows&nbsp;from a table.</p><p>{}</p></body></html>"""
RST = """Title of it
===========

.. module:: json

See :func:`json.dumps` and `the site <https://json.org>`_. {}
"""


def test_a_gloss_is_a_page_and_chats_on_one_side_of_the_split(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/wordnet"
    folder.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{part}").write_text(SYNSETS)
    dog, quick = read_synsets(folder / "data.noun", "noun")
    assert dog.words == ("dog", "domestic dog")
    assert dog.meaning == "a member of the genus Canis"
    assert dog.examples == ("the dog barked",)
    assert quick.words == ("quick",)
    assert dictionary_entry(dog).startswith("dog, domestic dog (noun): a member")
    documents = list(wordnet_documents(tmp_path))
    assert documents == list(wordnet_documents(tmp_path))
    assert [d.is_chat for d in documents] == [False, True, True] * 4
    assert {d.key for d in documents[:3]} == {"wordnet/noun/0"}
    assert "genus Canis" in documents[1].text


def test_manuals_are_read_without_their_markup(tmp_path: Path) -> None:
    assert html_text(PAGE.format("")) == "SELECT\nRetrieve rows from a table."
    text = rst_text(RST.format(""))
    assert "module" not in text
    assert "See json.dumps and the site." in text
    postgres = tmp_path / "usr/share/doc/postgresql-doc-15/html"
    python = tmp_path / "usr/share/doc/python3/html/_sources/library"
    for folder in (postgres, python):
        folder.mkdir(parents=True)
    (postgres / "sql-select.html").write_text(PAGE.format("word " * 100))
    (python / "json.rst.txt").write_text(RST.format("word " * 100))
    (python / "changelog.rst.txt").write_text(RST.format("word " * 100))
    for documents in (list(postgres_documents(tmp_path)), list(python_documents(tmp_path))):
        assert [d.is_chat for d in documents] == [False, True]
        assert len({d.key for d in documents}) == 1
        assert documents[1].text.count(START_OF_TURN) == 2


def test_jargon_is_read_by_entry(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/doc/jargon-text"
    folder.mkdir(parents=True)
    entry = "\n\n:{}: n.\n\n   A thing {}\n   that hackers do.\n"
    text = "".join(entry.format(word, "and more " * 20) for word in ("foo", "bar"))
    (folder / "jargon.txt.gz").write_bytes(gzip.compress(text.encode()))
    page, *chats = jargon_documents(tmp_path)
    assert not page.is_chat
    assert [name in chat.text for name, chat in zip(("foo", "bar"), chats, strict=True)] == [True, True]


def serialised(lines: list[str]) -> bytes:
    """A character vector as R writes it."""
    header = b"X\n" + b"".join(n.to_bytes(4, "big") for n in (3, 0x40201, 0x30500, 5)) + b"UTF-8"
    body = (16).to_bytes(4, "big") + len(lines).to_bytes(4, "big")
    for line in lines:
        body += 0x40009.to_bytes(4, "big") + len(line.encode()).to_bytes(4, "big") + line.encode()
    record = header + body
    return len(record).to_bytes(4, "big") + zlib.compress(record)


def test_novels_are_read_by_chapter(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/R/site-library/janeaustenr/data"
    folder.mkdir(parents=True)
    chapter = (
        ["CHAPTER I", ""]
        + ["It was a truth " * 20, ""] * 6
        + ["Chapter 2", ""]
        + ["She said — no. " * 20, ""] * 4
    )
    (folder / "Rdata.rdb").write_bytes(
        serialised(chapter) + serialised(["EMMA", ""] + ["word " * 60, ""] * 3)
    )
    documents = list(novel_documents(tmp_path))
    assert [d.key for d in documents if not d.is_chat] == ["austen/0/1", "austen/0/2", "austen/1/0"]
    assert any(d.is_chat for d in documents)
    assert "She said — no." in documents[2].text


def test_written_chats_are_the_same_in_every_call_and_well_formed() -> None:
    documents = list(written_documents(400))
    assert documents == list(written_documents(400))
    assert documents[7] == written_document(7)
    assert len({d.text for d in documents}) > 390
    for document in documents:
        assert document.is_chat
        turns = [turn.split("\n")[0] for turn in document.text.split(START_OF_TURN)[1:]]
        spoken = turns[1:] if turns[0] == "system" else turns
        assert spoken == ["user", "assistant"] * (len(spoken) // 2)
        assert document.text.count(START_OF_TURN) == document.text.count(END_OF_TURN)


def test_the_split_is_by_source_text_and_about_two_percent() -> None:
    held = [Document(f"written/{number}", "").is_held_out for number in range(5000)]
    assert 60 < sum(held) < 140
    assert exchange("a", "q", "r").is_held_out == Document("a", "other text").is_held_out


def test_held_out_text_is_never_cut_by_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpoints.distil.text.sources.MOST_PROSE", 1000)
    documents = [Document(f"page/{number}", "x" * 100) for number in range(500)]
    kept = list(limited(documents, "seed"))
    assert kept == list(limited(documents, "seed"))
    assert sum(not d.is_held_out for d in kept) == 10
    assert sum(d.is_held_out for d in kept) == sum(d.is_held_out for d in documents)


def test_no_training_prompt_and_no_fact_is_held_out() -> None:
    held = {plain(one.prompt) for one in held_out_prompts()}
    asked = {plain(request(number)[1]) for number in range(3000)}
    assert not held & asked
    for document in islice(written_documents(3000), 3000):
        users = [t.partition("\n")[2] for t in document.text.split(START_OF_TURN) if t.startswith("user")]
        assert not held & {plain(user.removesuffix(END_OF_TURN + "\n")) for user in users}
    answers = {plain(answer) for one in held_out_prompts() for answer in one.answers}
    assert not answers & {plain(row[1]) for table in (COUNTRIES, ELEMENTS, YOUNG) for row in table}
    assert not answers & {plain(word) for pair in OPPOSITES for word in pair}
    assert not held & {plain(question) for question, _ in SHORT_ANSWERS}


def test_200_prompts_are_held_out_50_of_them_facts() -> None:
    prompts = held_out_prompts()
    assert len({plain(one.prompt) for one in prompts}) == len(prompts) == 200
    assert sum(bool(one.answers) for one in prompts) == 50


def test_streams_are_the_same_in_every_call_and_in_their_file(tmp_path: Path) -> None:
    documents = [*written_documents(300), *(Document(f"page/{n}", f"Page {n}. " * 9) for n in range(300))]
    tokenizer = byte_tokenizer()
    streams = encode_streams(documents, tokenizer)
    save_streams(streams, tmp_path / "text" / "a.npz")
    for again in (encode_streams(documents, tokenizer), load_streams(tmp_path / "text" / "a.npz")):
        for name, stream in streams.items():
            assert (again[name].ids == stream.ids).all()
            assert (again[name].starts == stream.starts).all()
    texts = {name: tokenizer.decode(list(s.ids), skip_special_tokens=False) for name, s in streams.items()}
    held = [d.text for d in documents if d.is_held_out]
    assert held
    for text in held:
        assert any(text in texts[f"held_out-{kind}"] for kind in ("chat", "prose"))
        assert not any(text in texts[f"training-{kind}"] for kind in ("chat", "prose"))


def test_replies_of_the_teacher_continue_where_their_file_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpoints.distil.text.teacher_replies.BATCH", 3)
    monkeypatch.setattr("checkpoints.distil.text.teacher_replies.MAX_REPLY_TOKENS", 4)
    tokenizer, teacher = byte_tokenizer(), Teacher(tiny_weights(), torch.float32)
    file, cut = tmp_path / "replies.jsonl", tmp_path / "cut.jsonl"
    write_batch(teacher, tokenizer, file)
    version = text_version(tmp_path)
    cut.write_bytes(file.read_bytes() + b'{"system": null, "pro')
    for one in (file, cut):
        write_batch(teacher, tokenizer, one)
    assert file.read_bytes() == cut.read_bytes()
    assert text_version(tmp_path) != version
    documents = list(reply_documents(file))
    assert len(documents) == 6
    assert [request(number)[1] in d.text for number, d in enumerate(documents)] == [True] * 6
    assert all(d.is_chat for d in documents)
    # None of them ended by itself, so none has an end that the student could learn.
    assert not any(d.text.endswith(f"{END_OF_TURN}\n") for d in documents)
