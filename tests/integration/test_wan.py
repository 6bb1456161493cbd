"""A checkpoint that an operator brings, through all of Longtake: added by the command line, served to any client.

The checkpoint is tiny and random, and goes the way of a real one: shards, tokenizer, export, parity, signature, Ray. It
is of VACE, which does all that a text-to-video checkpoint does, and whose engines take minutes to be made: one will do.
It is served with an adapter, whose engines are its own where the adapter changes nothing. For one test there is another
beside it, of a video that must begin with a frame.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from serving.gen.longtake.v1 import jobs_pb2, models_pb2, videos_pb2
from serving.gen.longtake.v1.videos_pb2 import Extension, Media, ShownSource
from serving.jobs.history import EventKind
from serving.jobs.repository import Jobs
from serving.settings import Engines, Settings
from serving.stage_names import STAGES
from serving.store.open import open_store
from tests.contract.xai_door import run_client
from tests.integration.command import Command
from tests.integration.house import House, Video, fetch, foreign_mp4, frames_of, red_square, scene

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]  # an export takes a minute, and many on a busy machine
BASE, NAME, IMAGE = "wan-tiny", "wan-tiny+style", "wan-image"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of an installation that a checkpoint was added to."""
    reason = "a Wan is built with longtake[build]"
    for package in ("torch", "diffusers", "transformers", "tokenizers", "onnxscript"):
        pytest.importorskip(package, reason=reason)
    from tests.unit.engines.families.wan import adapters, checkpoints

    folder = tmp_path_factory.mktemp("wan")
    checkpoints.save("vace", folder / "checkpoint")
    checkpoints.save("image", folder / "image")
    style = adapters.save(folder / "style.safetensors", adapters.tensors("kohya", alpha=2.0))
    keys = {"signing_key": folder / "keys" / "key.pem", "trusted_keys": folder / "keys" / "trusted"}
    sizes = ("--canvas", "16:9=256x144", "--canvas", "1:1=32x32", "--seconds", "2")
    environment = {
        **os.environ,
        "LONGTAKE_STORE": str(folder / "store"),
        **{f"LONGTAKE_ENGINES__{name.upper()}": str(path) for name, path in keys.items()},
    }
    for command in (
        ["add", BASE, "--from", str(folder / "checkpoint"), *sizes],
        ["add", NAME, "--lora", f"{style}=0.5"],
        ["add", IMAGE, "--from", str(folder / "image"), "--canvas", "1:1=32x32", "--seconds", "1"],
        ["ls"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "serving.cli.main", "models", *command],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert NAME in done.stdout
    (folder / "checkpoint").rename(folder / "away")  # serving needs the store alone
    style.unlink()
    engines = Engines(signing_key=keys["signing_key"], trusted_keys=keys["trusted_keys"])
    return Settings(store=str(folder / "store"), model=NAME, engines=engines)


@pytest.fixture(scope="module")
def command(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """It, running."""
    with Command(_toml(settings), store=settings.store, folder=tmp_path_factory.mktemp("up")) as command:
        yield command


@pytest.fixture(scope="module")
def house(command: Command) -> House:
    """A client of it."""
    return command.house()


def _toml(settings: Settings, *beside: str) -> str:
    """A file of settings, with these models beside the one that is always served."""
    keys = {"signing_key": settings.engines.signing_key, "trusted_keys": settings.engines.trusted_keys}
    tables = [f"[models.{json.dumps(model)}]" for model in beside]
    said = [f"{name} = {json.dumps(str(path))}" for name, path in keys.items()]
    return "\n".join([f"model = {json.dumps(settings.model)}", *tables, "[engines]", *said])


def test_an_adapter_has_all_engines_of_its_base_but_the_one_that_it_changes(settings: Settings) -> None:
    sets = asyncio.run(_engines_of(settings.store))

    assert set(sets) == {BASE, NAME, IMAGE}
    changed = {name for name, digest in sets[NAME].items() if sets[BASE][name] != digest}
    assert (len(sets[NAME]), changed) == (7, {"dit"})


def test_the_public_client_gets_a_video_of_the_checkpoint(house: House, tmp_path: Path) -> None:
    host = f"localhost:{house.address.rpartition(':')[2]}"
    seen = run_client(tmp_path, "videos.py", "bare", LONGTAKE_HOST=host)

    assert (seen["model"], seen["duration"]) == (NAME, 2)
    assert frames_of(Path(seen["path"]).read_bytes(), tmp_path).shape == (33, 144, 256, 3)


def test_the_public_client_extends_a_video_of_a_first_frame_and_references(house: House, tmp_path: Path) -> None:
    host = f"localhost:{house.address.rpartition(':')[2]}"
    seen = run_client(tmp_path, "videos.py", "own_length", LONGTAKE_HOST=host)

    assert seen["durations"] == [2, 1, 1]
    films = [Path(path).read_bytes() for path in seen["paths"]]
    assert [len(frames_of(film, tmp_path)) for film in films] == [33, 49, 65]
    media = [film[film.index(b"moof") :] for film in films]
    for shorter, longer in pairwise(media):
        assert longer.startswith(shorter)
    (newest,) = house.videos.ListVideos(videos_pb2.ListVideosRequest(page_size=1)).videos
    shown = _history(house, newest)[-1]
    assert [source.kind for source in shown.history] == [
        ShownSource.MEMORY,
        ShownSource.ANCHOR,
        ShownSource.REFERENCE,
        ShownSource.REFERENCE,
        ShownSource.NEWEST,
    ]
    assert [latent.number for latent in shown.history[0].latents] == [4]
    assert shown.history[0].shows.startswith("a keyframe")
    assert shown.history_left_out == 6


def test_the_public_client_gets_images_of_the_checkpoint(house: House, tmp_path: Path) -> None:
    host = f"localhost:{house.address.rpartition(':')[2]}"
    seen = run_client(tmp_path, "images.py", "samples", LONGTAKE_HOST=host)

    assert (seen["model"], seen["several"]) == (NAME, 3)
    assert seen["fetched"] == [200, "image/png", PNG.hex()]
    picture = Media(file_id=house.upload(scene(red_square), "start.png"))
    image: dict[str, Any] = {"kind": Video.KIND_IMAGE, "seed": 3, "steps": 4}
    plain, again, shown = (
        fetch(house.made(house.create("a cat", **image, **fields)).image_urls[0])
        for fields in ({}, {}, {"references": [picture]})
    )
    assert plain == again != shown


def test_what_is_shown_to_it_changes_what_it_makes(house: House) -> None:
    picture = Media(file_id=house.upload(scene(red_square), "start.png"))
    shown: tuple[dict[str, Any], ...] = (
        {},
        {"first_frame": picture},
        {"references": [picture]},
        {"references": [picture] * 3},
    )
    films = [_media(house.made(house.create("a cat", seed=3, steps=4, **fields))) for fields in shown]
    again = house.made(house.create("a cat", seed=3, steps=4, **shown[3]))

    assert len(set(films)) == 4
    assert _media(again) == films[3]
    assert list(again.effective_references) == ["a picture, seen as 256x144 pixels"] * 3


def test_a_denoiser_that_is_killed_is_followed_to_the_same_bytes(house: House) -> None:
    """The sampler looks back upon its last steps: checkpoints keep what it remembers, and all that it denoises, what
    keyframes show among it."""
    root = house.made(house.create("a cat", steps=2))
    further = house.made(house.create("a cat runs", steps=2, extends=Extension(video_id=root.id)))
    parent = Extension(video_id=further.id)
    whole, drafts = _drawn(house, house.create("dog sits", seed=7, steps=100, extends=parent))
    assert all(draft.png.startswith(PNG) and draft.segment_index == 2 for draft in drafts)
    assert drafts
    video = house.create("dog sits", seed=7, steps=100, extends=parent)
    for event in house.watch(video):
        if event.video.progress.steps_done >= 20:
            break

    house.kill("denoiser")

    made = house.made(video)
    # It dies in a slice, or between two: then none is lost, and the next begins elsewhere.
    assert {EventKind.LOST, EventKind.RESUMED} & _happened(house, made.id)
    assert _media(made) == _media(whole)
    assert ShownSource.MEMORY in [source.kind for source in _history(house, made)[-1].history]


def test_a_conditioner_that_is_killed_while_it_encodes_is_followed_to_the_same_bytes(house: House) -> None:
    happened: set[str] = set()
    for seed, after_s in enumerate((0.4, 0.7, 0.2, 1.0, 0.1, 0.5), start=5):  # when it encodes nobody outside is told
        parent = house.made(house.create("a cat", seed=seed, steps=2))
        extension = {"extends": Extension(video_id=parent.id), "seed": 8, "steps": 4}
        video = house.create("dog sits", **extension)
        for event in house.watch(video):
            if event.video.state == Video.RUNNING:
                break
        time.sleep(after_s)
        house.kill("conditioner")

        assert _media(house.made(video)) == _media(house.made(house.create("dog sits", **extension)))
        happened = _happened(house, video.id)
        if EventKind.LOST in happened:
            break
    assert EventKind.LOST in happened


def test_a_video_from_elsewhere_is_extended(house: House, tmp_path: Path) -> None:
    source = Extension(media=Media(file_id=house.upload(foreign_mp4(tmp_path / "foreign.mp4"), "foreign.mp4")))
    made = house.made(house.create("a cat", extends=source, steps=4))

    assert frames_of(fetch(made.url), tmp_path).shape == (45 + 16, 144, 256, 3)


def test_a_negative_prompt_leads_away_and_is_told(house: House) -> None:
    plain, led, again = (
        house.made(house.create("a cat", seed=3, steps=4, negative_prompt=negative))
        for negative in ("", "red blurred", "red blurred")
    )
    assert (plain.negative_prompt, led.negative_prompt) == ("", "red blurred")
    assert _media(plain) != _media(led) == _media(again)


def test_what_the_checkpoint_cannot_do_is_refused_by_name(house: House) -> None:
    for fields, named in (
        ({"model": "sprite-2"}, "sprite-2"),
        ({"resolution": "1080p"}, "resolution"),
        ({"references": [Media(file_id="file_a")] * 4}, "references"),
    ):
        with pytest.raises(Exception, match=named):
            house.create("a cat", **fields)


def test_a_video_that_must_begin_with_a_frame_goes_on_from_its_last(
    house: House, command: Command, settings: Settings, tmp_path: Path
) -> None:
    command.change(_toml(settings, IMAGE))
    _until(lambda: len(_offered(house)) == 2, "it is offered")
    with pytest.raises(Exception, match="first_frame: wan-image makes no video without one"):
        house.create("a cat", model=IMAGE)
    pictures = [scene(red_square), scene(lambda _: None)]
    frames = [Media(file_id=house.upload(picture, "start.png")) for picture in pictures]
    made, again, other = (
        _made(house, house.create("a cat", model=IMAGE, seed=3, steps=4, first_frame=frame))
        for frame in (frames[0], *frames)
    )
    assert _media(made) == _media(again) != _media(other)
    longer = house.made(house.extend(made, seed=4, steps=4))
    assert (longer.model, frames_of(fetch(longer.url), tmp_path).shape) == (IMAGE, (17 + 16, 32, 32, 3))
    assert [source.kind for source in _history(house, longer)[-1].history] == [ShownSource.NEWEST]
    command.change(_toml(settings))
    _until(lambda: not house.pids("denoiser", IMAGE), "its processes go")


def test_a_model_comes_and_goes_and_no_process_of_another_one_is_touched(
    house: House, command: Command, settings: Settings
) -> None:
    """A video is made through it, to the same bytes; a job of the one that goes waits, says so, and goes on."""
    want = _media(house.made(house.create("dog sits", seed=7, steps=60)))
    before = {name: house.pids(name, NAME) for name in STAGES} | {"director": house.pids("director")}
    assert all(map(len, before.values()))

    through = house.create("dog sits", seed=7, steps=60)
    command.change(_toml(settings, "sprite-2"))
    _until(lambda: len(_offered(house)) == 2, "it is offered")
    circle = _made(house, house.create(model="sprite-2", seed=3))
    # An extension that names no model is of the one that made its video.
    assert house.made(house.extend(circle, seed=4)).model == "sprite-2"
    waits = house.create(model="sprite-2", seconds=15, steps=50, seed=5)
    command.change(_toml(settings))
    _until(lambda: not house.pids("denoiser", "sprite-2"), "its processes go")
    with pytest.raises(Exception, match=rf"no model 'sprite-2': there is {re.escape(NAME)}"):
        house.create(model="sprite-2")
    _until(lambda: "sprite-2" in _why(house, waits), "it is told what is waited for")
    meanwhile = house.made(house.create("dog sits", seed=7, steps=60))
    assert house.get(waits).state in (Video.QUEUED, Video.RUNNING)

    command.change(_toml(settings, "sprite-2"))
    assert _made(house, waits).model == "sprite-2"
    command.change(_toml(settings))
    _until(lambda: not house.pids("denoiser", "sprite-2"), "its processes go again")

    after = {name: house.pids(name, NAME) for name in STAGES} | {"director": house.pids("director")}
    assert after == before
    assert _media(house.made(through)) == _media(meanwhile) == want


def _made(house: House, video: Video) -> Video:
    """A video whose stages may take long to start."""
    _until(lambda: house.get(video).state not in (Video.QUEUED, Video.RUNNING), "it ends")
    return house.made(video)


def _offered(house: House) -> list[str]:
    return [model.name for model in house.models.ListModels(models_pb2.ListModelsRequest()).models]


def _why(house: House, video: Video) -> str:
    """What is said of a job that waits or runs."""
    jobs = house.jobs.ListJobs(jobs_pb2.ListJobsRequest()).jobs
    return next((job.why for job in jobs if job.video.id == video.id), "")


def _until(holds: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.1)


def _drawn(house: House, video: Video) -> tuple[Video, list[videos_pb2.Preview]]:
    """The finished video, and what was shown of it on its way."""
    events = list(house.watch(video, previews=True))
    return house.get(video), [event.preview for event in events if event.preview.draft]


def _history(house: House, video: Video) -> list[videos_pb2.Segment]:
    """Its segments, with what each was shown."""
    request = videos_pb2.GetLineageRequest(id=video.id, view=videos_pb2.LINEAGE_VIEW_HISTORY)
    return list(house.videos.GetLineage(request).segments)


def _media(video: Video) -> bytes:
    """Everything from the first fragment on: what is before it tells of the job."""
    data = fetch(video.url)
    return data[data.index(b"moof") :]


def _happened(house: House, job: str) -> set[str]:
    async def read() -> set[str]:
        store = await open_store(house.store, probe=False)
        try:
            return {event.kind for event in (await Jobs(store).get("default", job)).events}
        finally:
            await store.close()

    return asyncio.run(read())


async def _engines_of(url: str) -> dict[str, dict[str, str]]:
    """By model and component, the digests of its engines."""
    store = await open_store(url, probe=False)
    found: dict[str, dict[str, str]] = {}
    async for entry in store.list("engines/"):
        if "/manifest-" in entry.key:
            made = json.loads((await store.get(entry.key)).data)
            found[made["model"]] = {one["spec"]["component"]["name"]: one["sha256"] for one in made["engines"]}
    await store.close()
    return found
