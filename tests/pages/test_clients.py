"""The page for those who write clients holds to what the server does: its reasons and its bounds."""

from __future__ import annotations

import re

from serving.errors import InvalidArgument
from serving.frontdoor.create import intake, validation
from serving.frontdoor.edge import messages, options
from serving.media import pictures, sandbox
from serving.settings import Uploads
from tests.pages.markdown import ROOT, Page

PAGE = Page(ROOT / "docs" / "clients.md")
ROOMS = ("frontdoor", "files", "jobs", "media", "fair_places.py")
MIB = 1 << 20


def reasons_in_the_code() -> set[str]:
    """Those that the front door gives beside the names of statuses."""
    places = [ROOT / "serving" / room for room in ROOMS]
    files = [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]
    found = {reason for file in files for reason in re.findall(r'reason="([A-Z_]+)"', file.read_text())}
    return found - {"INTERNAL", "EXPIRED"}  # the first has its own sentence, the second is of HTTP


def test_every_reason_is_on_the_page_and_no_other() -> None:
    failures = PAGE.text[PAGE.text.index("## Send again") : PAGE.text.index("## Follow a video")]
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+|CANCELLED|QUARANTINED)`", failures))
    assert named - {"STORE_UNFIT", "ENGINE_MISSING"} == reasons_in_the_code()
    assert InvalidArgument.reason == "INVALID_ARGUMENT"


def test_the_bounds_are_the_servers() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE.text, re.MULTILINE))
    creates = next(most for what, most in rows.items() if what.startswith("a message to a method that creates"))
    assert creates == f"{options.MAX_MESSAGE_BYTES // MIB} MiB"
    assert rows["a message to any other method"] == f"{options.SMALL_BYTES // 1024} KiB"
    assert rows["a piece of an upload"].endswith(f"more than {options.MAX_PIECE_BYTES // MIB} MiB is refused")
    assert rows["fields of a message, elements of lists counted each"] == f"{messages.MOST_FIELDS:,}"
    picture = f"{sandbox.MAX_PICTURE_BYTES // MIB} MiB and {pictures.MAX_PIXELS // 10**6} megapixels"
    assert rows["a picture"].startswith(picture)
    assert f"by URL {intake.MAX_URL_VIDEO_BYTES // MIB} MiB" in rows["a video that is extended from elsewhere"]
    assert rows["an uploaded file"].endswith(f"{Uploads().max_file_bytes // MIB} MiB")
    assert rows["a URL that is no data URL"] == f"{intake.MOST_URL_CHARS:,} characters"
    assert rows["a `request_id`"] == f"{validation.MAX_REQUEST_ID} characters"
