"""Where results are saved, and that it is known before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from serving.cli.save import make_ready, save
from serving.gen.longtake.v1.videos_pb2 import Video


class Saved:
    """Stands for a client: notes where it was to save."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def download(self, video: str, path: Path, *, number: int) -> int:
        self.paths.append(str(path))
        return number


FILM = Video(id="vid_a", url="http://x/v")
PICTURE = Video(id="vid_a", image_urls=["1"])
PICTURES = Video(id="vid_a", image_urls=["1", "2"])


@pytest.mark.parametrize(
    ("video", "to", "want"),
    [
        (FILM, "", ["vid_a.mp4"]),
        (FILM, "x.mp4", ["x.mp4"]),
        (FILM, "new/", ["new/vid_a.mp4"]),
        (FILM, "there", ["there/vid_a.mp4"]),
        (PICTURE, "", ["vid_a.png"]),
        (PICTURES, "", ["vid_a-1.png", "vid_a-2.png"]),
        (PICTURES, "a/x.png", ["a/x-1.png", "a/x-2.png"]),
    ],
)
def test_each_file_has_its_place(
    video: Video, to: str, want: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    client = Saved()
    list(save(client, video, to))  # type: ignore[arg-type]
    assert client.paths == want


@pytest.mark.parametrize("to", ["", "x.mp4", "a/b/x.mp4", "a/b/"])
def test_the_folder_is_made(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_ready(to)
    assert (tmp_path / (to or "x")).parent.is_dir()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("to", ["/proc/x.mp4", "/proc/new/", "file/x.mp4", "a" * 300 + "/x.mp4"])
def test_a_folder_that_cannot_be_written_is_known_before(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(typer.Exit) as ended:
        make_ready(to)
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("error: nothing can be saved in ")
