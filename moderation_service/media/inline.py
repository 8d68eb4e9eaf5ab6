"""Images that travel inside the post."""

import binascii
import re
from urllib.parse import unquote_to_bytes

from moderation_service.media.loaded_image import ImageFault

_WHITESPACE = b" \t\r\n\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")  # from the URL-safe alphabet
_BASE64 = re.compile(r";\s*base64\s*\Z", re.IGNORECASE)


def from_base64(text: str | bytes, max_bytes: int) -> bytes:
    """The bytes of a base64 text: either alphabet, with or without padding, line breaks allowed.

    Raises ImageFault `too_large` or `undecodable`.
    """
    # Checked on the text: nothing over the cap is decoded. Line breaks take at most one byte in 32.
    if len(text) > (max_bytes + 2) // 3 * 4 * 33 // 32 + 4:
        raise ImageFault(status="too_large", why="base64")
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
        raw = raw.translate(_STANDARD, _WHITESPACE).rstrip(b"=")
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both of it
        raise ImageFault(status="undecodable", why="not base64") from None
    if len(data) > max_bytes:
        raise ImageFault(status="too_large", why="bytes")
    return data


def from_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes of a `data:` URL, base64 or percent-encoded. Raises ImageFault `too_large` or `undecodable`."""
    head, comma, payload = url.partition("#")[0].partition(",")
    if not comma:
        raise ImageFault(status="undecodable", why="no payload")
    try:
        raw = unquote_to_bytes(payload)
    except UnicodeEncodeError:
        raise ImageFault(status="undecodable", why="not text") from None
    if _BASE64.search(head):
        return from_base64(raw, max_bytes)
    if len(raw) > max_bytes:
        raise ImageFault(status="too_large", why="bytes")
    return raw
