"""Sealed data that clients keep: only a server with the secret can read it, and nobody can change it.

Layout: the header, a nonce of 96 random bits, and the output of AES-256-GCM, all as base64 without padding.
The header is the format's version and the id of the key. Header, fingerprint and owner are associated data.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pararnn_server.access.keys import ConfigurationError
from pararnn_server.settings.environment import option_name

VERSION = 1
KEY_ID_BYTES = 8
NONCE_BYTES = 12
TAG_BYTES = 16
MIN_SECRET_CHARS = 32
_HEADER = struct.Struct(f"<B{KEY_ID_BYTES}s")
# HKDF gives unrelated bytes for each purpose, so the id tells nothing of the key.
_KEY_INFO, _ID_INFO = b"pararnn-server seal key", b"pararnn-server seal key id"
_TEXT = re.compile(r"[A-Za-z0-9_-]+")


class SealBroken(ValueError):
    """Sealed text that cannot be opened. is_foreign: no secret of this server has sealed it."""

    def __init__(self, why: str, *, is_foreign: bool = False) -> None:
        super().__init__(why)
        self.is_foreign = is_foreign


@dataclass(frozen=True, slots=True)
class SealContext:
    """The only circumstances under which a seal opens. fingerprint: of the model. owner: name of the key."""

    fingerprint: str
    owner: str

    def encode(self) -> bytes:
        """Encode so that no two contexts have the same bytes."""
        return b"".join(struct.pack("<I", len(part)) + part for part in map(str.encode, self._parts))

    @property
    def _parts(self) -> tuple[str, str]:
        return self.fingerprint, self.owner


class Sealer:
    """Seals with the first secret and opens with all. Without any it makes one, which ends with it."""

    def __init__(self, secret_texts: Sequence[bytes] = ()) -> None:
        keys = [_derive(each) for each in secret_texts or (secrets.token_bytes(32),)]
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys}
        self._key_id = keys[0][0]

    def seal(self, data: bytes, context: SealContext) -> str:
        """Return the data as text that only `open` with an equal context reads."""
        header, nonce = _HEADER.pack(VERSION, self._key_id), os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._key_id].encrypt(nonce, data, header + context.encode())
        return base64.urlsafe_b64encode(header + nonce + sealed).decode().rstrip("=")

    def open(self, text: str, context: SealContext) -> bytes:
        """Return the data. Raises SealBroken for anything that `seal` did not make with an equal context."""
        sealed = _decode(text)
        if len(sealed) < _HEADER.size + NONCE_BYTES + TAG_BYTES:
            raise SealBroken("it is too short")
        version, key_id = _HEADER.unpack_from(sealed)
        if version != VERSION:
            raise SealBroken("its format has another version")
        if key_id not in self._ciphers:
            raise SealBroken("no secret of this server has sealed it", is_foreign=True)
        header, rest = sealed[: _HEADER.size], memoryview(sealed)[_HEADER.size :]
        nonce, ciphertext = bytes(rest[:NONCE_BYTES]), rest[NONCE_BYTES:]
        try:
            return self._ciphers[key_id].decrypt(nonce, bytes(ciphertext), header + context.encode())
        except InvalidTag:
            # Nothing here says which of them it was: that would tell of other keys.
            raise SealBroken("it was changed, or belongs to another key or model") from None


def sealed_chars(num_bytes: int) -> int:
    """Return the characters of sealed data of so many bytes."""
    return -(-(_HEADER.size + NONCE_BYTES + num_bytes + TAG_BYTES) * 4 // 3)


def load_secrets(path: Path | None) -> list[bytes]:
    """Read one secret a line. Raises ConfigurationError, which never shows a secret."""
    if path is None:
        return []
    option = option_name("seal_secret_file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{option}: cannot read {path}: {why}") from error
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if len(line) < MIN_SECRET_CHARS:
            why = f"a secret needs {MIN_SECRET_CHARS} or more characters"
            raise ConfigurationError(f"{option}: {path}, line {number}: {why}")
        found.append(line.encode())
    if not found:
        raise ConfigurationError(f"{option}: {path} has no secret; write one a line")
    return found


def _derive(secret: bytes) -> tuple[bytes, bytes]:
    """Return the id and the key of a secret."""
    key_id = HKDF(SHA256(), KEY_ID_BYTES, None, _ID_INFO).derive(secret)
    return key_id, HKDF(SHA256(), 32, None, _KEY_INFO).derive(secret)


def _decode(text: str) -> bytes:
    # The decoder of Python skips foreign characters, and spare bits of the last one.
    if _TEXT.fullmatch(text) is None:
        raise SealBroken("it is no base64")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise SealBroken("it is no base64") from None
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise SealBroken("it is no base64")
    return data
