"""API keys: who is asking."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path

from pararnn_server.errors import Unauthorized
from pararnn_server.settings.environment import option_name, variable
from pararnn_server.settings.server_settings import Settings

ANONYMOUS = ""
_NAME = re.compile(r"[\w.-]{1,64}")
_MIN_KEY_CHARS = 16
# Beside "Authorization: Bearer".
KEY_HEADERS = ("x-api-key", "api-key")


class ConfigurationError(ValueError):
    """The server cannot start with these settings; the message names the option and what to do."""


class KeyRing:
    """Digests of keys by name; several keys may share a name, so that one can replace another.

    Empty: everyone is the anonymous tenant.
    """

    def __init__(self, keys: Iterable[tuple[str, str]] = (), admin_key: str | None = None) -> None:
        self._keys = [(name, _digest(key)) for name, key in keys]
        self._admin = None if admin_key is None else _digest(admin_key)

    @property
    def names(self) -> frozenset[str]:
        """Owners there can be."""
        return frozenset(name for name, _ in self._keys) or frozenset([ANONYMOUS])

    @property
    def anonymous(self) -> bool:
        """True if no key is needed."""
        return not self._keys

    def owner(self, headers: Mapping[str, str]) -> str:
        """Name of the key in the headers of a request. Raises Unauthorized."""
        if self.anonymous:
            return ANONYMOUS
        # Digests have one length, so the comparison does not reveal the length of a key.
        given = _digest(_given_key(headers))
        # Every key is looked at, so that the time taken says nothing about which one was close.
        names = [name for name, digest in self._keys if compare_digest(digest, given)]
        if not names:
            raise Unauthorized("The API key is not known to this server.")
        return names[0]

    def is_admin(self, headers: Mapping[str, str]) -> bool:
        """Return True for the admin key, and for everyone where there are no keys at all."""
        if self._admin is None:
            return self.anonymous
        try:
            return compare_digest(self._admin, _digest(_given_key(headers)))
        except Unauthorized:
            return False

    def check_admin(self, headers: Mapping[str, str]) -> None:
        """Pass where there are no keys at all, or with the admin key. Raises Unauthorized."""
        if self._admin is None:
            if not self.anonymous:
                raise Unauthorized(
                    "This needs the admin key, and the server has none: set PARARNN_ADMIN_KEY."
                )
            return
        if not compare_digest(self._admin, _digest(_given_key(headers))):
            raise Unauthorized("This needs the admin key.")


def load_keys(settings: Settings) -> KeyRing:
    """Keys of the file and of the environment together. Raises ConfigurationError."""
    keys = [*_from_file(settings.keys_file), *_from_text(settings)]
    _check_distinct(keys)
    admin = None if settings.admin_key is None else settings.admin_key.get_secret_value()
    if admin is not None:
        _check_key(admin, option_name("admin_key"))
    return KeyRing(keys, admin)


def check_exposure(settings: Settings, keys: KeyRing) -> None:
    """Raise ConfigurationError if others than this machine may connect without keys."""
    if keys.anonymous and not settings.allow_anonymous and not _is_loopback(settings.host):
        raise ConfigurationError(
            f"{option_name('host')}: {settings.host} can be reached from other machines; set keys"
            f" ({option_name('keys_file')} or {variable('api_keys')}) or --allow-anonymous"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_file(path: Path | None) -> Iterator[tuple[str, str]]:
    if path is None:
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{option_name('keys_file')}: cannot read {path}: {why}") from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _parse(line, f"{option_name('keys_file')}: {path}, line {number}")


def _from_text(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.api_keys is not None:
        for number, part in enumerate(settings.api_keys.get_secret_value().split(","), 1):
            yield _parse(part, f"{option_name('api_keys')}: entry {number}")


def _parse(text: str, where: str) -> tuple[str, str]:
    """The key itself never appears in a message."""
    name, colon, key = text.strip().partition(":")
    if not colon or _NAME.fullmatch(name) is None:
        raise ConfigurationError(f"{where}: write name:key, the name of letters, digits, '.', '_' or '-'")
    _check_key(key, where)
    return name, key


def _check_distinct(keys: Iterable[tuple[str, str]]) -> None:
    """Raise ConfigurationError if two names have one key: the second would act as the first."""
    names: dict[str, str] = {}
    for name, key in keys:
        if names.setdefault(key, name) != name:
            where = f"{option_name('keys_file')}, {option_name('api_keys')}"
            raise ConfigurationError(f"{where}: {names[key]} and {name} share a key; give each its own")


def _check_key(key: str, where: str) -> None:
    if len(key) < _MIN_KEY_CHARS or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"{where}: a key needs {_MIN_KEY_CHARS} or more printable ASCII characters")


def _given_key(headers: Mapping[str, str]) -> str:
    """Proxies may use Authorization for themselves, and some clients know only the other headers."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for name in KEY_HEADERS:
        if given := headers.get(name, "").strip():
            return given
    raise Unauthorized("Send an API key: 'Authorization: Bearer <key>', or in the header X-Api-Key.")


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
