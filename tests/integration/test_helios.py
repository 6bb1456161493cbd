"""A second family of checkpoints, through all of Longtake as `test_wan.py` has the first: a tiny, random Helios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gen.longtake.v1 import videos_pb2
from serving.gen.longtake.v1.videos_pb2 import Extension, Media, ShownSource
from tests.contract.xai_door import run_client
from tests.integration.command import Command
from tests.integration.house import House, Video, fetch, foreign_mp4, frames_of, media_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]  # an export takes a minute, and many on a busy machine
NAME, FPS = "helios-tiny", 24


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A client of an installation that the checkpoint was added to, and that serves it from its store alone."""
    for package in ("torch", "diffusers", "transformers", "tokenizers", "onnxscript"):
        pytest.importorskip(package, reason="a Helios is built with longtake[build]")
    from tests.unit.engines.families.helios import checkpoints

    folder = tmp_path_factory.mktemp("helios")
    checkpoints.save(folder / "checkpoint")
    store, signing = str(folder / "store"), {"signing_key": folder / "key.pem", "trusted_keys": folder / "trusted"}
    asked = ("--from", str(folder / "checkpoint"), "--canvas", "16:9=128x64", "--canvas", "1:1=64x64")
    done = subprocess.run(
        [sys.executable, "-m", "serving.cli.main", "models", "add", NAME, *asked],
        env={
            **os.environ,
            "LONGTAKE_STORE": store,
            **{f"LONGTAKE_ENGINES__{name.upper()}": str(path) for name, path in signing.items()},
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (folder / "checkpoint").rename(folder / "away")
    said = [f"{name} = {json.dumps(str(path))}" for name, path in signing.items()]
    settings = "\n".join([f"model = {json.dumps(NAME)}", "[engines]", *said])
    with Command(settings, store=store, folder=tmp_path_factory.mktemp("up")) as command:
        yield command.house()


def test_the_public_client_gets_a_video_of_several_segments_and_extends_it(house: House, tmp_path: Path) -> None:
    host = f"localhost:{house.address.rpartition(':')[2]}"
    seen = run_client(tmp_path, "videos.py", "text_and_on", LONGTAKE_HOST=host)

    assert seen["model"] == NAME
    films = [Path(path).read_bytes() for path in seen["paths"]]
    assert [frames_of(film, tmp_path, FPS).shape for film in films] == [(66, 64, 128, 3), (132, 64, 128, 3)]
    assert media_of(films[1]).startswith(media_of(films[0]))
    (newest,) = house.videos.ListVideos(videos_pb2.ListVideosRequest(page_size=1)).videos
    request = videos_pb2.GetLineageRequest(id=newest.id, view=videos_pb2.LINEAGE_VIEW_HISTORY)
    shown = list(house.videos.GetLineage(request).segments)[-1].history
    assert [source.kind for source in shown] == [ShownSource.MEMORY, ShownSource.ANCHOR, ShownSource.NEWEST]
    assert [len(source.latents) for source in shown] == [10, 1, 9]


def test_a_denoiser_that_is_killed_is_followed_to_the_same_bytes(house: House) -> None:
    parent = Extension(video_id=house.made(house.create("a cat", seconds=1, steps=2)).id)
    whole = house.made(house.create("dog sits", seed=7, seconds=3, steps=60, extends=parent))
    video = house.create("dog sits", seed=7, seconds=3, steps=60, extends=parent)
    for event in house.watch(video):
        if event.video.progress.steps_done >= 70:  # in the middle of the second segment
            break

    house.kill("denoiser")

    assert media_of(fetch(house.made(video).url)) == media_of(fetch(whole.url))


def test_a_video_from_elsewhere_goes_on_and_what_it_lacks_is_refused(house: House, tmp_path: Path) -> None:
    source = Extension(
        media=Media(file_id=house.upload(foreign_mp4(tmp_path / "foreign.mp4", width=720), "foreign.mp4"))
    )
    made = house.made(house.create("a cat", extends=source, seconds=1, steps=4))
    assert frames_of(fetch(made.url), tmp_path, FPS).shape == (71 + 33, 64, 128, 3)
    picture = house.made(house.create("a cat", kind=Video.KIND_IMAGE, steps=4))
    assert fetch(picture.image_urls[0]).startswith(b"\x89PNG")
    for fields in ({"first_frame": Media(file_id="file_a")}, {"references": [Media(file_id="file_a")]}):
        with pytest.raises(Exception, match=next(iter(fields))):
            house.create("a cat", **fields)
