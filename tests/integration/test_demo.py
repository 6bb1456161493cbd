"""The demo's film, made by a running Longtake: its pixels show what was directed, and its world is remembered."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

from PIL import Image

from serving.client import Client
from serving.demo import sheets, story
from serving.demo.page import page
from serving.gen.longtake.v1.videos_pb2 import ShownSource
from tests.integration.house import House


def test_a_film_is_as_it_was_directed_and_what_left_the_frame_comes_back(house: House, tmp_path: Path) -> None:
    with Client(house.address) as client:
        told = list(islice(story.play(client, tmp_path, lambda client, video, _: client.wait(video)), 2))

    begun, turned = told
    seconds = turned.reading.seconds
    assert [(one.right, one.looks) for one in seconds] == [(5, 5), *[(4, 4)] * 9]
    assert [one.again for one in seconds] == [0, 0, 0, 0, 16, 16, 0, 0, 16, 0]
    assert sum(one.same for one in seconds) >= 46  # a guess is right in one block of six
    assert begun.reading.seconds == seconds[:6]
    remembered = [any(s.kind == ShownSource.MEMORY for s in segment.history) for segment in turned.segments]
    assert remembered == [one.remembered is not None for one in seconds]

    assert page(told).count("<tr data-from") == 10
    for sheet in (sheets.of_film(turned), sheets.of_story(told)):
        with Image.open(io.BytesIO(sheet)) as picture:
            assert min(picture.size) > 200
