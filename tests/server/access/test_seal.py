"""Sealed text opens with its secret, model and owner, and in no other form."""

from dataclasses import replace
from pathlib import Path

import pytest
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.access.seal import (
    KEY_ID_BYTES,
    NONCE_BYTES,
    SealBroken,
    SealContext,
    Sealer,
    load_secrets,
    sealed_chars,
)

OLD, NEW = b"o" * 32, b"n" * 32
ADA = SealContext("fingerprint", "ada")
DATA = bytes(range(256)) * 3


def opens(text: str, sealer: Sealer, context: SealContext = ADA) -> bool:
    try:
        return sealer.open(text, context) == DATA
    except SealBroken:
        return False


def test_sealed_data_opens_at_every_server_with_the_secret() -> None:
    text = Sealer([NEW]).seal(DATA, ADA)
    assert opens(text, Sealer([NEW]))
    assert not opens(text, Sealer([OLD]))
    assert len(text) == sealed_chars(len(DATA))


def test_the_first_secret_seals_and_all_open() -> None:
    both, old, new = Sealer([NEW, OLD]), Sealer([OLD]), Sealer([NEW])
    assert opens(old.seal(DATA, ADA), both)
    assert opens(both.seal(DATA, ADA), new)
    assert not opens(both.seal(DATA, ADA), old)


def test_without_secrets_each_server_has_its_own() -> None:
    mine = Sealer()
    assert opens(mine.seal(DATA, ADA), mine)
    assert not opens(mine.seal(DATA, ADA), Sealer())


def test_other_owners_and_models_do_not_open_it_and_hear_one_message() -> None:
    sealer = Sealer([NEW])
    text = sealer.seal(DATA, ADA)
    # Lengths are in the context, so that a letter cannot move from one part to the other.
    others = [replace(ADA, owner="bob"), replace(ADA, fingerprint="other"), SealContext("fingerprin", "tada")]
    messages = set()
    for other in others:
        with pytest.raises(SealBroken) as found:
            sealer.open(text, other)
        messages.add(str(found.value))
    changed = text[:-1] + ("A" if text[-1] != "A" else "E")
    with pytest.raises(SealBroken) as found:
        sealer.open(changed, ADA)
    assert len(messages) == 1


@pytest.mark.parametrize("place", ["version", "key id", "nonce", "data", "tag", "last character"])
def test_one_changed_bit_of_any_part_is_noticed(place: str) -> None:
    sealer = Sealer([NEW])
    text = sealer.seal(DATA, ADA)
    starts = {
        "version": 0,
        "key id": 1,
        "nonce": 1 + KEY_ID_BYTES,
        "data": 1 + KEY_ID_BYTES + NONCE_BYTES,
        "tag": len(text) * 3 // 4 - 16,
        "last character": len(text) * 3 // 4 - 1,
    }
    at = -1 if place == "last character" else starts[place] * 4 // 3 + 1
    for other in "AbC4-_":
        changed = list(text)
        changed[at] = other
        assert opens("".join(changed), sealer) == (changed == list(text))


def test_cut_and_foreign_text_is_refused() -> None:
    sealer = Sealer([NEW])
    text = sealer.seal(DATA, ADA)
    for wrong in (
        "",
        "A",
        "AAAA",
        text[:-1],
        text[: len(text) // 2],
        text + "A",
        text + "\n",
        text + "=",
        "é",
    ):
        assert not opens(wrong, sealer), wrong
    # The decoder would skip foreign characters: one item had many spellings.
    assert not opens(text[:40] + " " + text[40:], sealer)


def test_two_seals_of_one_state_share_nothing_but_the_header() -> None:
    sealer = Sealer([NEW])
    first, second = (sealer.seal(DATA, ADA) for _ in range(2))
    assert first[:12] == second[:12]
    assert first[12:28] != second[12:28]


def test_secrets_are_read_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"# the newest first\n{'n' * 32}\n\n  {'o' * 40}  \n")
    assert load_secrets(file) == [b"n" * 32, b"o" * 40]
    assert load_secrets(None) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [("short\n", "32 or more"), ("# nothing\n", "has no secret"), (None, "cannot read"), (b"\xff", "UTF-8")],
)
def test_a_wrong_file_of_secrets_is_one_line_without_a_secret(
    tmp_path: Path, text: str | bytes | None, why: str
) -> None:
    file = tmp_path / "secrets"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as found:
        load_secrets(file)
    assert why in str(found.value)
    assert "--seal-secret-file" in str(found.value)
    assert "short" not in str(found.value)
