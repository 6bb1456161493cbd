"""What a file is, by its first bytes: never by its name and never by what the client says."""

from __future__ import annotations


def content_type_of(start: bytes) -> str:
    """The media type of a file that begins with `start` (12 bytes are enough); else `application/octet-stream`."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp":
        return "video/mp4"
    if start.startswith(b"%PDF-"):
        return "application/pdf"
    return "application/octet-stream"
