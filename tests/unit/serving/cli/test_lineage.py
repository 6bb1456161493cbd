"""A lineage in words and as a page: what each segment was shown, from where, and what is left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from serving.cli.lineage_page import Drawn, frames_in, page
from serving.cli.lineage_words import line_of, lines_of
from serving.gen.longtake.v1.videos_pb2 import Segment, ShownLatent, ShownSource, Video

_VOID = {"meta", "br", "img", "link"}


def latent(number: int) -> ShownLatent:
    """Of segments of four latents, in a video whose first latent is one frame."""
    start = 1 + (number - 1) * 4 if number else 0
    index = max(0, number - 1) // 4
    found = ShownLatent(number=number, segment=f"d{index}", segment_index=index, start_frame=start)
    found.frames = 4 if number else 1
    found.time.FromMilliseconds(start * 1000 // 16)
    return found


def path(count: int) -> list[Segment]:
    """Each shown an anchor, the two newest latents and a picture; made by one video for each ten of them."""
    segments = [Segment(index=0, frames=17, digest="d0", video_id="vid_0", effective_prompt="a <b> & a moon")]
    for index in range(1, count):
        before = 1 + index * 4
        segments.append(
            Segment(
                index=index, frames=16, start_frame=1 + index * 16, digest=f"d{index}", video_id=f"vid_{index // 10}",
                effective_prompt="a moon", history_left_out=before - 3,
                history=[
                    ShownSource(kind=ShownSource.ANCHOR, latents=[latent(0)], tokens=7),
                    ShownSource(kind=ShownSource.NEWEST, latents=[latent(before - 2), latent(before - 1)], tokens=14),
                    ShownSource(kind=ShownSource.REFERENCE, reference=0, tokens=1, shows="a subject: <cat>"),
                ],
            )
        )  # fmt: skip
    return segments


def drawn(whole: list[Segment], most: int = 200) -> Drawn:
    video = Video(id="vid_x", prompt="a <b>", model="studio-1", fps=16, width=112, height=64)
    newest = whole[-most:]
    return Drawn(video, whole, newest, dict.fromkeys(frames_in(newest), b"webp"))


class Read(HTMLParser):
    """What a page is made of. Its tags must close as they opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.classes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named[name] or "" for name in ("href", "src") if name in named]
        self.classes |= set((named.get("class") or "").split())
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] not in (["style"], ["script"]) else ""


def test_a_segment_is_told_in_lines() -> None:
    segment = path(3)[2]
    assert [line[15:] for line in lines_of(segment, 16)] == [
        "2  d2", "33-48 (2.06 to 3.06 s)", "vid_0", "a moon", "latent 0 at 0.00 s, of segment 0; 7 tokens",
        "latent 7 at 1.56 s, of segment 1, latent 8 at 1.81 s, of segment 1; 14 tokens",
        "picture 1; a subject: <cat>; 1 token", "6 of the 9 latents before it",
    ]  # fmt: skip
    assert line_of(segment).split() == ["2", "d2", "frames", "33-48", "vid_0", "a", "moon"]


@pytest.mark.parametrize(
    ("segment", "says"),
    [
        (Segment(), "it is the first, and was shown nothing but its directions"),
        (Segment(index=3), "none was noted"),
        (Segment(ingested=True), "it was not made here"),
        (Segment(history=[ShownSource(tokens=1)]), "nothing: the video begins with it"),
        (Segment(index=1, history=[ShownSource(latents=[latent(0)])]), "nothing: it was shown all that there was"),
    ],
)
def test_what_was_not_shown_is_told_of_every_kind_of_segment(segment: Segment, says: str) -> None:
    assert list(lines_of(segment, 16))[-1].endswith(says)


def test_a_page_holds_all_that_it_shows() -> None:
    text = page(drawn(path(12)))
    read = Read(text)
    assert read.ids == [f"s{index}" for index in range(12)]
    assert {link.removeprefix("#") for link in read.links} == set(read.ids), "it links to itself alone"
    assert not re.search(r"url\((?!data:)|https?://|@import", text)
    shots = {name for name in read.classes if re.fullmatch(r"f\d+", name)}
    assert shots == {f"f{frame}" for frame in frames_in(path(12))}
    assert all(text.count(f".{shot} {{ background-image: url(data:image/webp;base64,") == 1 for shot in shots)
    assert "a <b> & a moon" in read.text
    assert "picture 1; a subject: <cat>; 1 token" in read.text
    assert "Not shown: 2 of the 5 latents before it." in read.text
    assert "A path through 2 videos" in read.text
    assert "vid_1 segments 10 to 11" in read.text


def test_of_a_long_video_the_newest_segments_are_drawn_and_the_rest_is_one_sentence() -> None:
    read = Read(page(drawn(path(712))))
    assert read.ids == [f"s{index}" for index in range(512, 712)]
    assert "The first 512 segments, 512.1 s, are not drawn" in read.text
    assert "latent 0 at 0.00 s, of segment 0" in read.text, "what was shown of them is"
    assert "#s0" not in read.links


def test_a_video_without_pictures_or_segments_is_drawn_too() -> None:
    whole = path(3)
    bare = Read(page(Drawn(Video(id="vid_x", fps=16), whole, whole, {})))
    assert "There are no pictures" in bare.text
    assert "none" in bare.classes
    assert "has no segment" in Read(page(Drawn(Video(id="vid_x"), [], [], {}))).text
