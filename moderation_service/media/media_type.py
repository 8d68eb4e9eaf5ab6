"""What a file is, read off its first bytes; names, extensions and headers are claims."""

import re

DECODED = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"})
"""What this service decodes; everything else that `media_type` names is unsupported."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"%PDF-", "application/pdf"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
)
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|\?xml\b|!doctype\s+svg\b|!--)", re.IGNORECASE)
_SVG_WITHIN = 4096
_BRANDS_WITHIN = 256


def media_type(data: bytes) -> str | None:
    """The media type of a file that is known here, decoded or not; None for anything else."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _iso(data)
    if _SVG.match(data[:_SVG_WITHIN]) and b"<svg" in data[:_SVG_WITHIN].lower():
        return "image/svg+xml"
    return None


def _iso(data: bytes) -> str:
    end = min(int.from_bytes(data[:4]), _BRANDS_WITHIN, len(data))
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
    if brands & {b"avif", b"avis"}:
        return "image/avif"
    return "image/heic" if brands & _HEIC else "video/mp4"
