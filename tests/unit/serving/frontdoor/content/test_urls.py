"""Signed URLs: what opens them, and what does not."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from serving.errors import PermissionDenied
from serving.frontdoor.content.urls import Target, UrlSigner

NOW_MS = 1_800_000_000_123
DAY_S = 86_400


@pytest.fixture
def signer() -> UrlSigner:
    return UrlSigner("5e" * 32, public_url="https://video.example/media/", ttl_s=DAY_S)


def parts(url: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(url)
    return split.path, {name: values[0] for name, values in parse_qs(split.query).items()}


def test_a_video_url_opens_its_video_until_it_expires(signer: UrlSigner) -> None:
    made = signer.video_url("studio-7", "vid_abc234", NOW_MS)

    path, query = parts(made.url)

    assert made.url.startswith("https://video.example/media/v/vid_abc234.mp4?")
    assert NOW_MS + DAY_S * 1000 <= made.expires_ms + 1000 <= NOW_MS + (DAY_S + 61) * 1000
    want_target = Target("video", "studio-7", "vid_abc234", expires_ms=made.expires_ms)
    assert signer.check(path, query, made.expires_ms - 1) == want_target
    with pytest.raises(PermissionDenied, match="expired"):
        signer.check(path, query, made.expires_ms)


def test_a_url_stays_the_same_within_a_minute(signer: UrlSigner) -> None:
    minute = NOW_MS // 60_000 * 60_000
    early = signer.video_url("a", "vid_a", minute + 1_000)
    late = signer.video_url("a", "vid_a", minute + 59_000)
    assert early == late


def test_every_route_comes_back_as_it_was_made(signer: UrlSigner) -> None:
    image = signer.image_url("a", "vid_a", 3, NOW_MS)
    thumbnail = signer.thumbnail_url("a", "vid_a", NOW_MS)
    file = signer.file_url("a", "file_a", "my cat; 100%.png", "tok")

    assert signer.check(*parts(image.url), NOW_MS) == Target("image", "a", "vid_a", 3, image.expires_ms)
    assert signer.check(*parts(thumbnail.url), NOW_MS).route == "thumbnail"
    assert signer.check(*parts(file), NOW_MS) == Target("file", "a", "file_a", token="tok")


def test_the_tenant_cannot_be_read_from_a_url(signer: UrlSigner) -> None:
    first = signer.video_url("secret-studio", "vid_a", NOW_MS).url
    second = signer.video_url("secret-studio", "vid_b", NOW_MS).url

    assert "secret" not in first
    assert parts(first)[1]["t"] != parts(second)[1]["t"]


@pytest.mark.parametrize("name", ["exp", "t", "kid", "sig"])
def test_a_changed_parameter_is_refused(signer: UrlSigner, name: str) -> None:
    path, query = parts(signer.video_url("a", "vid_a", NOW_MS).url)
    first = query[name][0]
    query[name] = ("2" if first == "1" else "1") + query[name][1:]

    with pytest.raises(PermissionDenied):
        signer.check(path, query, NOW_MS)


@pytest.mark.parametrize("name", ["exp", "t", "kid", "sig"])
def test_a_missing_parameter_is_refused(signer: UrlSigner, name: str) -> None:
    path, query = parts(signer.video_url("a", "vid_a", NOW_MS).url)
    del query[name]

    with pytest.raises(PermissionDenied):
        signer.check(path, query, NOW_MS)


def test_a_signature_opens_no_other_path(signer: UrlSigner) -> None:
    _, query = parts(signer.video_url("a", "vid_a", NOW_MS).url)

    for path in ("/v/vid_b.mp4", "/t/vid_a.png", "/i/vid_a/0.png", "/v/../v/vid_a.png", "/"):
        with pytest.raises(PermissionDenied):
            signer.check(path, query, NOW_MS)


@pytest.mark.parametrize("sealed", ["", "!!!", "AAAA", "A" * 400, "ÄÖ"])
def test_a_tenant_that_was_not_sealed_here_is_refused(signer: UrlSigner, sealed: str) -> None:
    with pytest.raises(PermissionDenied):
        signer.check("/f/file_a/x.png", {"t": sealed, "token": "tok"}, NOW_MS)


def test_the_seal_of_one_file_opens_no_other(signer: UrlSigner) -> None:
    _, query = parts(signer.file_url("a", "file_a", "x.png", "tok"))

    with pytest.raises(PermissionDenied):
        signer.check("/f/file_b/x.png", query, NOW_MS)


def test_another_installation_refuses(signer: UrlSigner) -> None:
    other = UrlSigner("77" * 32, public_url="https://video.example/media", ttl_s=DAY_S)

    with pytest.raises(PermissionDenied):
        other.check(*parts(signer.video_url("a", "vid_a", NOW_MS).url), NOW_MS)


def test_own_urls_are_recognised_by_any_host_and_even_when_expired(signer: UrlSigner) -> None:
    url = signer.video_url("a", "vid_a", NOW_MS - 10 * DAY_S * 1000).url

    elsewhere = url.replace("https://video.example/media", "http://127.0.0.1:8080")

    for address in (url, elsewhere):
        target = signer.recognise(address)
        assert target is not None
        assert (target.route, target.tenant, target.id) == ("video", "a", "vid_a")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://elsewhere.example/v/vid_a.mp4",
        "https://elsewhere.example/v/vid_a.mp4?" + urlencode({"exp": 9, "t": "AAAA", "kid": "x", "sig": "y"}),
        "data:video/mp4;base64,AAAA",
        "http://[bad",
    ],
)
def test_a_foreign_url_is_not_recognised(signer: UrlSigner, url: str) -> None:
    assert signer.recognise(url) is None


def test_of_a_signed_url_there_is_one_spelling(signer: UrlSigner) -> None:
    path, query = parts(signer.video_url("a", "vid_a", NOW_MS).url)
    assert signer.check(path, query, NOW_MS).id == "vid_a"
    for other in (f"{path}\n", f"/f{path}", f"/i{path}", f"//{path}"):
        with pytest.raises(PermissionDenied):
            signer.check(other, query, NOW_MS)
    expires = query["exp"]
    in_arabic = "".join(chr(ord(digit) + 0x630) for digit in expires)
    for other in (f"0{expires}", f" {expires}", f"+{expires}", in_arabic):
        with pytest.raises(PermissionDenied):
            signer.check(path, {**query, "exp": other}, NOW_MS)
