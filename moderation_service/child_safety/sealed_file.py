"""Sealed files: AES-256-GCM, with the key's id in the header so that keys can be rotated.

Layout: 4 bytes `MLH1`, 8 bytes of the key's id, 12 bytes of nonce, then ciphertext and tag. The associated data are the
header and the file's place in the store, so that no file can be put in another's place.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moderation_service.errors import Misconfigured, ModerationError

_MAGIC = b"MLH1"
_KEY_BYTES, _ID_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 8, 12, 16
_HEADER_BYTES = len(_MAGIC) + _ID_BYTES + _NONCE_BYTES


class HoldError(ModerationError):
    """A file of the legal hold can't be opened: it was changed, isn't whole, or was sealed with another key."""


@dataclass(frozen=True, slots=True)
class HoldKey:
    """A key of 32 bytes; its id tells it from others and nothing about it."""

    secret: bytes

    @property
    def id(self) -> bytes:
        """8 bytes."""
        return hashlib.sha256(b"moderation legal hold key id\0" + self.secret).digest()[:_ID_BYTES]

    def __repr__(self) -> str:
        """Its id, not its bytes: objects end up in logs."""
        return f"HoldKey({self.id.hex()})"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a store: the first seals, all of them open."""

    keys: Sequence[HoldKey]

    @classmethod
    def read(cls, text: str) -> Self:
        """Keys in base64 with white space between. Raises Misconfigured, which quotes none."""
        keys = []
        for number, word in enumerate(text.split(), start=1):
            try:
                secret = base64.b64decode(word, validate=True)
            except binascii.Error:
                secret = b""
            if len(secret) != _KEY_BYTES:
                msg = f"child_safety.hold_key: key {number} isn't 32 bytes in base64; make one: openssl rand -base64 32"
                raise Misconfigured(msg)
            keys.append(HoldKey(secret))
        if not keys:
            msg = "child_safety.hold_key: there is no key; make one: openssl rand -base64 32"
            raise Misconfigured(msg)
        return cls(tuple(keys))

    def seal(self, content: bytes, place: str) -> bytes:
        """The bytes of a file that can be opened in this place alone."""
        key, nonce = self.keys[0], os.urandom(_NONCE_BYTES)
        header = _MAGIC + key.id + nonce
        return header + AESGCM(key.secret).encrypt(nonce, content, header + place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """The content of a file. Raises HoldError."""
        if len(sealed) < _HEADER_BYTES + _TAG_BYTES or not sealed.startswith(_MAGIC):
            msg = f"{place}: is not a whole sealed file; restore it from a backup"
            raise HoldError(msg)
        header, key_id = sealed[:_HEADER_BYTES], sealed[len(_MAGIC) : len(_MAGIC) + _ID_BYTES]
        key = next((key for key in self.keys if key.id == key_id), None)
        if key is None:
            known = ", ".join(key.id.hex() for key in self.keys)
            msg = f"{place}: was sealed with key {key_id.hex()}; child_safety.hold_key has {known}; add the old key"
            raise HoldError(msg)
        try:
            return AESGCM(key.secret).decrypt(header[-_NONCE_BYTES:], sealed[_HEADER_BYTES:], header + place.encode())
        except InvalidTag:
            msg = f"{place}: was changed since it was sealed, or moved from another place; restore it from a backup"
            raise HoldError(msg) from None


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file, readable by its owner alone, and wait for the disk. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's entries: a rename is durable after that. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
