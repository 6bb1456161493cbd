"""Videos through the public client. `test_xai_video.py` runs it."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from session import FAST, fetch, main, refused, save, settle
from xai_sdk.video import VideoGenerationError


def seen(response: Any) -> dict[str, Any]:
    return {
        "url": response.url,
        "model": response.model,
        "duration": response.duration,
        "respect_moderation": response.respect_moderation,
        "cost": response.cost_usd,
    }


async def text(client: Any) -> dict[str, Any]:
    """Generate, and read the URL as a player would."""
    response = await settle(
        client.video.generate(
            "a red circle",
            "",
            duration=2,
            aspect_ratio="16:9",
            resolution="480p",
            generate_audio=False,
            **FAST,
        )
    )
    whole = fetch(response.url)
    head = fetch(response.url, method="HEAD")
    size = len(whole["body"])
    parts = [fetch(response.url, headers={"Range": f"bytes={a}-{a + 9999}"}) for a in range(0, size, 10000)]
    suffix = fetch(response.url, headers={"Range": "bytes=-100"})
    beyond = fetch(response.url, headers={"Range": f"bytes={size}-"})
    stale = fetch(response.url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    fresh = fetch(response.url, headers={"Range": "bytes=0-9", "If-Range": whole["headers"]["etag"]})
    known = fetch(response.url, headers={"If-None-Match": whole["headers"]["etag"]})
    forged = fetch(response.url[:-2] + ("AA" if not response.url.endswith("AA") else "BB"))
    return {
        **seen(response),
        "path": save(response.url, "text.mp4"),
        "size": size,
        "headers": whole["headers"],
        "head": [head["status"], int(head["headers"]["content-length"]), len(head["body"])],
        "joined_is_whole": b"".join(part["body"] for part in parts) == whole["body"],
        "part_statuses": sorted({part["status"] for part in parts}),
        "first_content_range": parts[0]["headers"]["content-range"],
        "suffix_is_end": suffix["body"] == whole["body"][-100:],
        "beyond": [beyond["status"], beyond["headers"]["content-range"]],
        "stale": [stale["status"], len(stale["body"])],
        "fresh": [fresh["status"], len(fresh["body"])],
        "known": known["status"],
        "forged": [forged["status"], forged["body"].decode()],
    }


async def bare(client: Any) -> dict[str, Any]:
    """A prompt, and nothing else asked for."""
    response = await settle(client.video.generate("a red cat runs over the hill", "", **FAST))
    return {**seen(response), "path": save(response.url, "bare.mp4")}


async def start_and_poll(client: Any) -> dict[str, Any]:
    """What single polls say of a waiting, a finished and a failed video."""
    waiting = await settle(client.video.start("hang", ""))
    pending = await settle(client.video.get(waiting.request_id))
    try:
        await settle(client.video.generate("fail", "", **FAST))
        failure = {}
    except VideoGenerationError as error:
        failure = {"code": error.code, "message": error.message}
    return {
        "id": waiting.request_id,
        "status": pending.status,
        "progress": pending.response.progress,
        "failure": failure,
        "unknown": await refused(lambda: client.video.get("vid_aaaaaaaaaaaaaaaaaaaaaaaaaa")),
        "nonsense": await refused(lambda: client.video.get("../../etc/passwd")),
    }


async def pictures(client: Any) -> dict[str, Any]:
    """A first frame and references: by data URL, and by uploaded file."""
    cat = Path("cat.png").read_bytes()
    file = await settle(client.files.upload(cat, filename="cat.png"))
    data_url = Path("cat.dataurl").read_text()
    by_url = await settle(client.video.generate("", "", image_url=data_url, duration=1, **FAST))
    by_file = await settle(client.video.generate("", "", image_file_id=file.id, duration=1, **FAST))
    reference = await settle(client.video.generate("it jumps", "", reference_image_urls=[data_url], duration=1, **FAST))
    uploaded = await settle(
        client.video.generate("it jumps", "", reference_image_file_ids=[file.id], duration=1, **FAST)
    )
    return {
        "videos": [seen(response) for response in (by_url, by_file, reference, uploaded)],
        "file": file.id,
    }


async def chain(client: Any) -> dict[str, Any]:
    """Extend by URL, by kept file, and by an uploaded copy of a download; every file holds its input unchanged."""
    root = await settle(client.video.generate("a red circle", "", duration=2, **FAST))
    second = await settle(
        client.video.extend(
            "goes left", "", video_url=root.url, duration=2,
            storage_options={"filename": "second.mp4", "expires_after": 7200, "public_url": True}, **FAST,
        )
    )  # fmt: skip
    third = await settle(client.video.extend("", "", video_file_id=second.file_output.file_id, duration=1, **FAST))
    paths = [save(video.url, f"chain{number}.mp4") for number, video in enumerate((root, second, third))]
    copy = await settle(client.files.upload(paths[2], filename="copy.mp4"))
    fourth = await settle(client.video.extend("", "", video_file_id=copy.id, duration=1, **FAST))
    paths.append(save(fourth.url, "chain3.mp4"))
    kept = second.file_output
    content = await settle(client.files.content(kept.file_id))
    return {
        "paths": paths,
        "durations": [video.duration for video in (root, second, third, fourth)],
        "urls": len({video.url for video in (root, second, third, fourth)}),
        "kept": {"filename": kept.filename, "storage_error": second.storage_error},
        "content_is_download": hashlib.sha256(content).digest() == hashlib.sha256(Path(paths[1]).read_bytes()).digest(),
        "public_is_download": fetch(kept.public_url)["body"] == Path(paths[1]).read_bytes(),
        "kept_expires": kept.HasField("expires_at"),
    }


async def own_length(client: Any) -> dict[str, Any]:
    """From a first frame and references, and then on twice, as long as the model makes each; it may be a slow one."""
    video, data_url = client.video, Path("cat.dataurl").read_text()
    patient = {**FAST, "timeout": timedelta(minutes=3)}
    pictures = {"image_url": data_url, "reference_image_urls": [data_url, data_url]}
    videos = [await settle(video.generate("a cat runs", "", **pictures, **patient))]
    for prompt in ("it sits", "it runs"):
        videos.append(await settle(video.extend(prompt, "", video_url=videos[-1].url, **patient)))
    return {
        "paths": [save(made.url, f"own{number}.mp4") for number, made in enumerate(videos)],
        "durations": [made.duration for made in videos],
    }


async def text_and_on(client: Any) -> dict[str, Any]:
    """From text alone, and on once, so long as is asked for; it may be a slow one."""
    patient = {**FAST, "timeout": timedelta(minutes=5)}
    made = await settle(client.video.generate("a red cat runs over the hill", "", duration=3, **patient))
    longer = await settle(client.video.extend("it sits", "", video_url=made.url, duration=3, **patient))
    return {
        "model": made.model,
        "paths": [save(one.url, f"on{number}.mp4") for number, one in enumerate((made, longer))],
        "durations": [made.duration, longer.duration],
    }


async def foreign(client: Any) -> dict[str, Any]:
    """Videos from elsewhere: by file, by data URL, and some that are none."""
    video, files = client.video, client.files
    film = Path("film.mp4").read_bytes()
    whole = await settle(files.upload(film, filename="film.mp4"))
    half = await settle(files.upload(film[: len(film) // 2], filename="half.mp4"))
    cat = await settle(files.upload("cat.png"))
    data_url = "data:video/mp4;base64," + base64.b64encode(film).decode()
    by_file = await settle(video.extend_start("hang", "", video_file_id=whole.id, duration=1))
    by_url = await settle(video.extend_start("hang", "", video_url=data_url, duration=1))
    return {
        "ids": [by_file.request_id, by_url.request_id],
        "half": await refused(lambda: video.extend_start("x", "", video_file_id=half.id)),
        "picture": await refused(lambda: video.extend_start("x", "", video_file_id=cat.id)),
    }


async def grown(client: Any) -> dict[str, Any]:
    """A video from elsewhere is extended until it is one file, input and new part."""
    film = await settle(client.files.upload("film.mp4"))
    response = await settle(client.video.extend("it moves", "", video_file_id=film.id, duration=1, **FAST))
    return {**seen(response), "path": save(response.url, "grown.mp4")}


async def refusals(client: Any) -> dict[str, Any]:
    """Every request that cannot be met, and what the client is told."""
    video = client.video
    keyframe = {"image_url": "data:,", "timestamp": 0.5}
    picture = Path("cat.dataurl").read_text()
    cases: dict[str, Any] = {
        "generate_audio": lambda: video.start("x", "", generate_audio=True),
        "keyframes": lambda: video.start("x", "", keyframes=[keyframe]),
        "last_frame": lambda: video.start("x", "", last_frame_url=picture),
        "reference_audios": lambda: video.start("x", "", reference_audios=[{"voice_id": "ara"}]),
        "video": lambda: video.start("x", "", video_url="http://example.com/a.mp4"),
        "aspect_ratio": lambda: video.start("x", "", aspect_ratio="4:3"),
        "duration": lambda: video.start("x", "", duration=16),
        "duration_zero": lambda: video.start("x", "", duration=0),
        "model": lambda: video.start("x", "no-such-model"),
        "prompt": lambda: video.start("x" * 20_000, ""),
        "image_not_one": lambda: video.start("x", "", image_url="data:image/png;base64,AAAA"),
        "image_loopback": lambda: video.start("x", "", image_url="http://127.0.0.1:1/a.png"),
        "image_missing_file": lambda: video.start("x", "", image_file_id="file_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        "references_too_many": lambda: video.start("x", "", reference_image_urls=[picture] * 9),
        "extend_duration": lambda: video.extend_start("x", "", video_url="http://127.0.0.1/a.mp4", duration=11),
        "extend_missing_file": lambda: video.extend_start("x", "", video_file_id="file_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        "extend_loopback": lambda: video.extend_start("x", "", video_url="http://127.0.0.1:1/a.mp4"),
        "storage_name": lambda: video.start("x", "", storage_options={"filename": 'a";b'}),
        "storage_expiry": lambda: video.start("x", "", storage_options={"filename": "a", "expires_after": 9}),
        "audio_false_is_fine": lambda: video.start("hang", "", generate_audio=False),
    }
    return {name: await refused(case) for name, case in cases.items()}


if __name__ == "__main__":
    main(text, bare, start_and_poll, pictures, chain, own_length, text_and_on, foreign, grown, refusals)
