"""Fetching under guard: what a URL may not lead to."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from serving.errors import InvalidArgument
from serving.media.fetch import Fetcher, FetchPolicy
from serving.media.unpacking import Unpacking

pytestmark = pytest.mark.anyio
OPEN = FetchPolicy(allow_loopback=True, seconds=3)
Answer = Callable[[str], bytes]


@asynccontextmanager
async def web(answer: Answer, *, pause: float = 0) -> AsyncIterator[int]:
    """A tiny HTTP server on loopback; `answer` maps a path to the whole response."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(pause)
        writer.write(answer(head.split()[1].decode()))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def ok(body: bytes, kind: str = "image/png") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def resolver(*scripts: list[str]) -> Callable[[str, str, int], Awaitable[list[str]]]:
    """Answers name look-ups by script, in order, the last one for ever."""
    left = list(scripts)

    async def resolve(tenant: str, host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def test_it_fetches_and_follows_redirects() -> None:
    async with web(lambda path: ok(b"picture") if path == "/b" else redirect("/b")) as port:
        assert await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/a", field="f", max_bytes=100) == b"picture"


async def test_loopback_and_private_addresses_are_refused_by_default() -> None:
    guarded = Fetcher(FetchPolicy())
    for host in ("127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "192.168.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"):
        with pytest.raises(InvalidArgument, match=r"^f: .*public internet"):
            await guarded.fetch("a", f"http://{host}/x", field="f", max_bytes=10)


async def test_a_name_that_leads_inside_is_refused_even_beside_a_public_address() -> None:
    guarded = Fetcher(FetchPolicy(), resolver(["8.8.8.8", "10.1.2.3"]))
    with pytest.raises(InvalidArgument, match="public internet"):
        await guarded.fetch("a", "http://rebind.example/x", field="f", max_bytes=10)


async def test_the_address_that_was_checked_is_the_one_that_is_used() -> None:
    """A second look-up would lead elsewhere; there is none."""
    async with web(lambda _: ok(b"yes")) as port:
        fetcher = Fetcher(OPEN, resolver(["127.0.0.1"], ["10.9.9.9"]))
        assert await fetcher.fetch("a", f"http://name.example:{port}/", field="f", max_bytes=10) == b"yes"


async def test_a_redirect_is_checked_like_the_first_url() -> None:
    async with web(lambda _: redirect("http://10.0.0.1/secret")) as port:
        with pytest.raises(InvalidArgument, match="public internet"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)
    async with web(lambda _: redirect("file:///etc/passwd")) as port:
        with pytest.raises(InvalidArgument, match="only http, https and data"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)
    async with web(lambda _: redirect("/again")) as port:
        with pytest.raises(InvalidArgument, match="more than 10"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)


@pytest.mark.parametrize(
    "location", ["http://[::1", "//[", "http://" + "a" * 300, "http://a..b/", "http://h:port/", "http://xn--a/"]
)
async def test_a_redirect_to_no_url_is_a_refusal(location: str) -> None:
    async with web(lambda _: redirect(location)) as port:
        with pytest.raises(InvalidArgument, match=r"^f: "):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)


@pytest.mark.parametrize("host", ["a" * 300, "a..b", ".b", "ü..b", "%41", "a b", "xn--a", "xn--", "a.xn--zz--"])
async def test_what_can_be_no_host_is_a_refusal(host: str) -> None:
    with pytest.raises(InvalidArgument, match=r"could not be fetched|malformed"):
        await Fetcher(FetchPolicy()).fetch("a", f"http://{host}/x", field="f", max_bytes=10)


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::a00:1",  # 10.0.0.1 behind a translator
        "2002:7f00:1::1",  # 127.0.0.1 through a tunnel
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "fec0::1",
        "fe80::1%lo",
        "100.64.0.1",
        "240.0.0.1",
        "ff02::1",
    ],
)
async def test_addresses_that_lead_inside_by_a_detour_are_refused(address: str) -> None:
    with pytest.raises(InvalidArgument, match="public internet"):
        await Fetcher(FetchPolicy(), resolver([address])).fetch("a", "http://a.example/", field="f", max_bytes=10)


async def test_an_address_out_of_reach_is_passed_over() -> None:
    async with web(lambda _: ok(b"yes")) as port:
        fetcher = Fetcher(OPEN, resolver(["127.0.0.2", "127.0.0.1"]))
        assert await fetcher.fetch("a", f"http://name.example:{port}/", field="f", max_bytes=10) == b"yes"


async def test_bytes_are_bounded_whether_declared_or_not() -> None:
    async with web(lambda _: ok(b"x" * 1000)) as port:
        with pytest.raises(InvalidArgument, match="larger than 100 bytes"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=100)
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + b"x" * 100_000
    async with web(lambda _: endless) as port:
        with pytest.raises(InvalidArgument, match="larger than 100 bytes"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=100)


def packed(body: bytes, how: str = "gzip") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {how}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_a_host_that_packs_what_it_was_not_asked_to_is_read() -> None:
    for how, body in (("gzip", gzip.compress(b"picture")), ("deflate", zlib.compress(b"picture")), ("", b"picture")):
        answer = packed(body, how)
        async with web(lambda _: answer) as port:  # noqa: B023  (it is closed before the next one)
            assert await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=100) == b"picture"


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_gzip_in_several_parts_is_one(piece: int) -> None:
    data = gzip.compress(b"pic") + gzip.compress(b"") + gzip.compress(b"ture") + bytes(50)
    unpacking = Unpacking()
    assert b"".join(unpacking.of(data[at : at + piece], 100) for at in range(0, len(data), piece)) == b"picture"
    assert unpacking.whole


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (packed(gzip.compress(b"x" * 60) + gzip.compress(b"x" * 60)), "larger than 100 bytes"),
        (packed(gzip.compress(b"pic") + gzip.compress(b"ture")[:-5]), "gzip that is cut"),
        (packed(gzip.compress(b"pic") + b"ture"), "gzip that is damaged"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"") * 9, "larger than 100 bytes"),
        (packed(gzip.compress(bytes(10_000_000))), "larger than 100 bytes"),
        (packed(gzip.compress(b"picture")[:-5]), "gzip that is cut"),
        (packed(b"picture"), "gzip that is damaged"),
        (packed(b"picture", "br"), "encoding 'br', which is not read"),
    ],
    ids=[
        "two are too much",
        "the second cut",
        "the second damaged",
        "much of nothing",
        "a bomb",
        "cut",
        "damaged",
        "another encoding",
    ],
)
async def test_what_is_packed_is_bounded_and_whole(answer: bytes, said: str) -> None:
    async with web(lambda _: answer) as port:
        with pytest.raises(InvalidArgument, match=said):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=100)


async def test_an_answer_in_several_gzip_parts_is_all_of_them() -> None:
    answer = packed(gzip.compress(b"pic") + gzip.compress(b"ture"))
    async with web(lambda _: answer) as port:
        assert await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=100) == b"picture"


def test_of_parts_there_are_not_without_end() -> None:
    with pytest.raises(zlib.error):
        Unpacking().of(gzip.compress(b"") * 5000, 100)


async def test_time_is_bounded() -> None:
    async with web(lambda _: ok(b"late"), pause=5) as port:
        quick = Fetcher(FetchPolicy(allow_loopback=True, seconds=0.3))
        with pytest.raises(InvalidArgument, match="did not answer within"):
            await quick.fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.com/x", "only http"),
        ("file:///etc/passwd", "only http"),
        ("http://user:secret@example.com/x", "user name or password"),
        ("http://example.com:22/x", "port 22"),
        ("http://[broken/x", "malformed"),
        ("//example.com/x", "only http"),
        ("", "only http"),
    ],
)
async def test_urls_that_are_never_fetched(url: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await Fetcher(FetchPolicy(), resolver(["8.8.8.8"])).fetch("a", url, field="f", max_bytes=10)


async def test_other_answers_are_named() -> None:
    async with web(lambda _: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as port:
        with pytest.raises(InvalidArgument, match="HTTP status 404"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)
    async with web(lambda _: ok(b"<html>", "text/html")) as port:
        with pytest.raises(InvalidArgument, match="not with a picture"):
            await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=10)


async def test_what_stands_around_a_url_is_no_part_of_it() -> None:
    async with web(lambda path: ok(path.encode())) as port:
        for before, after in ((" ", ""), ("", "\n"), ("\r\n\t ", " \x00")):
            url = f"{before}http://127.0.0.1:{port}/a.png{after}"
            assert await Fetcher(OPEN).fetch("a", url, field="f", max_bytes=10) == b"/a.png"
    with pytest.raises(InvalidArgument, match=r"^f: the URL is malformed"):
        await Fetcher(OPEN).fetch("a", "http://127.0.0.1/a\nb.png", field="f", max_bytes=10)


@pytest.mark.parametrize("first", [*map(chr, range(0x21)), "\x7f", "\x85", "\u2028", "\ufeff", "\ud800", "é", "://"])
async def test_whatever_a_url_begins_with_is_no_crash(first: str) -> None:
    async with web(lambda _: ok(b"yes")) as port:
        for url in (f"{first}http://127.0.0.1:{port}/x", f"http:{first}//127.0.0.1:{port}/x", f"http://{first}/"):
            with suppress(InvalidArgument):
                assert await Fetcher(OPEN, resolver(["127.0.0.1"])).fetch("a", url, field="f", max_bytes=10) == b"yes"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://bücher.example/x.png", "xn--bcher-kva.example"),
        ("https://BÜCHER.example/x.png", "xn--bcher-kva.example"),
        ("https://例え.テスト/", "xn--r8jz45g.xn--zckzah"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://xn--i-7iq.example/", "xn--i-7iq.example"),  # I and a heart, which IDNA of 2008 has no place for
        ("https://Example.com/ü", "example.com"),
    ],
)
async def test_a_host_beyond_ascii_is_looked_up_by_its_name_in_the_dns(url: str, host: str) -> None:
    asked = []

    async def resolve(tenant: str, host: str, port: int) -> list[str]:
        asked.append(host)
        raise OSError("no such host")

    with pytest.raises(InvalidArgument, match="could not be fetched"):
        await Fetcher(FetchPolicy(), resolve).fetch("a", url, field="f", max_bytes=10)
    assert asked == [host]


async def test_a_path_is_asked_for_as_it_was_written() -> None:
    for written, asked in (
        ("/a?b=+/=%2F&c=[1]", "/a?b=+/=%2F&c=[1]"),
        ("/ü x.png?q=ü", "/%C3%BC%20x.png?q=%C3%BC"),
        ("/a%20b#here", "/a%20b"),
    ):
        async with web(lambda path: ok(path.encode())) as port:
            url = f"http://127.0.0.1:{port}{written}"
            assert (await Fetcher(OPEN).fetch("a", url, field="f", max_bytes=100)).decode() == asked


@pytest.mark.parametrize("kind", ["IMAGE/PNG", "application/force-download", "binary/octet-stream", "image/jpg", ""])
async def test_what_a_host_calls_its_bytes_does_not_matter(kind: str) -> None:
    async with web(lambda _: ok(b"picture", kind)) as port:
        assert await Fetcher(OPEN).fetch("a", f"http://127.0.0.1:{port}/", field="f", max_bytes=100) == b"picture"


async def test_data_urls_are_bounded_before_they_are_decoded() -> None:
    fetcher = Fetcher(FetchPolicy())
    assert await fetcher.fetch("a", " data:image/png;base64,cGljdHVyZQ==", field="f", max_bytes=7) == b"picture"
    for bad, said in (
        ("data:image/png;base64," + "A" * 100, "larger than 10 bytes"),
        ("data:image/png;base64,***", "damaged"),
        ("data:image/png,abc", "must be base64"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            await fetcher.fetch("a", bad, field="f", max_bytes=10)
