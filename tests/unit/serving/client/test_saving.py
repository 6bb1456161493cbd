"""The disk side of downloads, without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from serving.client.errors import DownloadFailed, NothingToDownload
from serving.client.saving import Download, FilePart, Unfinished, url_of
from serving.gen.longtake.v1.files_pb2 import File
from serving.gen.longtake.v1.videos_pb2 import Video

URL = "http://x/v/y.mp4"


def whole(tag: str = '"a"', size: int = 6) -> dict[str, str]:
    return {"etag": tag, "content-length": str(size)}


def rest(start: int, tag: str = '"a"', size: int = 6) -> dict[str, str]:
    return {"etag": tag, "content-range": f"bytes {start}-{size - 1}/{size}"}


def half_done(path: Path) -> None:
    with Download(path, None, retries=0) as download:
        download.answered(200, whole(), URL)
        download.write(b"abc")


def test_a_part_is_gone_on_with_by_another_download(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    half_done(path)
    with Download(path, None, retries=0) as download:
        assert download.headers()["range"] == "bytes=3-"
        download.answered(206, rest(3), URL)
        download.write(b"def")
        assert download.whole() == 6
    assert path.read_bytes() == b"abcdef"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("status", "headers"), [(206, rest(3, '"b"')), (416, {})], ids=["other bytes", "too far"])
def test_a_part_of_other_bytes_is_dropped_and_all_is_asked_for_again(
    tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    path = tmp_path / "x.mp4"
    half_done(path)
    with Download(path, None, retries=0) as download:
        with pytest.raises(Unfinished):
            download.answered(status, headers, URL)
        assert "range" not in download.headers()
        download.answered(200, whole('"b"', 2), URL)
        download.write(b"xy")
        download.whole()
    assert path.read_bytes() == b"xy"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_changed_are_no_failure_the_first_time(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    half_done(path)
    with Download(path, None, retries=0) as download:
        with pytest.raises(Unfinished) as changed:
            download.answered(416, {}, URL)
        assert download.pause_after(changed.value) == 0.0
        with pytest.raises(Unfinished) as broken:
            download.answered(416, {}, URL)
        with pytest.raises(DownloadFailed):
            download.pause_after(broken.value)


def test_a_part_of_bytes_without_a_name_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with Download(path, None, retries=0) as download:
        download.answered(200, {"content-length": "6"}, URL)
        download.write(b"abc")
    with Download(path, None, retries=0) as download:
        assert "range" not in download.headers()
        download.answered(200, {"content-length": "2"}, URL)
        download.write(b"xy")
        assert download.whole() == 2
    assert path.read_bytes() == b"xy"
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_that_another_program_left_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    half_done(path)
    (tmp_path / f"x.mp4.{'0' * 16}.part").write_bytes(b"zz")
    with Download(path, None, retries=0) as download:
        with pytest.raises(Unfinished):
            download.answered(206, rest(2), URL)
        download.answered(200, whole(), URL)
        download.write(b"abcdef")
        download.whole()
    assert path.read_bytes() == b"abcdef"


def test_a_server_that_sends_all_again_is_taken_at_its_word(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    half_done(path)
    with Download(path, None, retries=0) as download:
        download.answered(200, whole(), URL)
        download.write(b"abcdef")
        download.whole()
    assert path.read_bytes() == b"abcdef"


def test_too_few_bytes_are_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with Download(path, None, retries=0) as download:
        download.answered(200, whole(), URL)
        download.write(b"abc")
        with pytest.raises(Unfinished, match="3 of 6"):
            download.whole()
    assert not path.exists()


def test_a_wrong_start_is_refused(tmp_path: Path) -> None:
    half_done(tmp_path / "x.mp4")
    with Download(tmp_path / "x.mp4", None, retries=0) as download, pytest.raises(DownloadFailed, match="from byte 1"):
        download.answered(206, rest(1), URL)


def test_tries_that_bring_something_are_not_counted(tmp_path: Path) -> None:
    with Download(tmp_path / "x.mp4", None, retries=1) as download:
        for start in range(5):
            download.answered(206 if start else 200, rest(start) if start else whole(), URL)
            download.write(b"a")
            download.pause_after(Unfinished("cut"))
        with pytest.raises(DownloadFailed, match="kept"):
            download.pause_after(Unfinished("cut"))


@pytest.mark.parametrize("status", [403, 404])
def test_an_url_that_does_not_work_any_more_is_not_tried_again(tmp_path: Path, status: int) -> None:
    download = Download(tmp_path / "x.mp4", None, retries=9)
    with pytest.raises(DownloadFailed, match="expired") as caught:
        download.answered(status, {}, f"{URL}?sig=secret")
    assert "secret" not in str(caught.value)


def test_a_file_with_the_wrong_bytes_is_not_kept(tmp_path: Path) -> None:
    file = File(id="file_x", size_bytes=3, sha256=hashlib.sha256(b"abc").hexdigest())
    for bytes_, says in ((b"abd", "not what was uploaded"), (b"ab", "2 of 3")):
        with FilePart(file, tmp_path / "x.png", None) as part:
            part.write(bytes_)
            with pytest.raises(DownloadFailed, match=says):
                part.whole()
    assert not list(tmp_path.iterdir())


def test_what_there_is_to_download_is_found_by_number() -> None:
    film = Video(id="vid_x", url="u", state=Video.SUCCEEDED)
    assert url_of(film, 0) == "u"
    assert url_of(Video(image_urls=["a", "b"], url="a"), 1) == "b"
    for video, number in ((film, 1), (film, -1), (Video(state=Video.RUNNING), 0)):
        with pytest.raises(NothingToDownload):
            url_of(video, number)
