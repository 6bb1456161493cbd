"""The child process that decodes untrusted bytes. `sandbox.py` starts one per input and believes nothing it says.

Input: the operation as JSON in the first argument, the bytes on standard input (a picture) or as a file on descriptor 0
(a video). Output: one line of JSON, then raw RGB bytes. A refusal is `{"refused": "..."}`; whatever else goes wrong
ends the process with a non-zero status.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys

import av
from PIL import Image, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from serving.media import films, pictures
from serving.media.lockdown import lock_down
from serving.media.pictures import RefusedError


def main() -> int:
    """Carry out one operation."""
    call = json.loads(sys.argv[1])
    av.logging.set_level(None)
    # Pillow and PyAV import parts of themselves when they are first needed; after the lock-down they could not.
    Image.preinit()
    assert WebPImagePlugin.SUPPORTED and MpoImagePlugin and TiffImagePlugin  # noqa: PT018  (EXIF needs the latter two)
    for part in pkgutil.walk_packages(av.__path__, "av."):
        if not part.name.endswith("__main__"):
            importlib.import_module(part.name)
    lock_down(memory_bytes=call["memory_bytes"], cpu_seconds=call["cpu_seconds"])
    out = sys.stdout.buffer
    try:
        if call["do"] == "picture":
            # A parent that started before this file was replaced says nothing of it.
            whole = call.get("whole", False)
            found = pictures.picture(sys.stdin.buffer.read(), ground="white" if whole else "black")
            said = {"width": found.image.width, "height": found.image.height, "transparent": found.transparent}
            shaped = (pictures.within if whole else pictures.cropped)(found.image, call["width"], call["height"])
            out.write(json.dumps(said).encode() + b"\n" + shaped)
            return 0
        with os.fdopen(0, "rb", closefd=False) as file:
            if call["do"] == "facts":
                out.write(json.dumps(films.facts(file)).encode() + b"\n")
            else:
                size = (call["width"], call["height"], call["fps"], call["frames"])
                for number, frame in enumerate(films.frames(file, *size)):
                    out.write((b"{}\n" if number == 0 else b"") + frame)
    except (RefusedError, av.FFmpegError) as error:
        reason = str(error) if isinstance(error, RefusedError) else "it is damaged and cannot be decoded"
        out.write(json.dumps({"refused": reason}).encode() + b"\n")
    return 0
