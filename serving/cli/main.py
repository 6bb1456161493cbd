"""The `longtake` command. Each command lives in a file of its own; nothing heavy is imported before it runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from serving.errors import LongtakeError

if TYPE_CHECKING:
    import typer

_HELP = """Longtake makes video: from text, from pictures, and by extending what is there.

Begin with `longtake up` in one terminal, then in another:

  longtake generate "a red bar moves right under a white sky"

Exit codes: 0 done, 1 it failed (the job, the check), 2 wrong usage or settings, 3 not found, 4 the server cannot be
reached, 5 it could not be found out, 6 refused as things stand (the job has ended already, has not ended yet, a quota),
130 interrupted.
"""
_FAILED, _USAGE = 1, 2


def build() -> typer.Typer:
    """The command with all its parts. They are imported here, typer too, so that `main` meets Ctrl-C meanwhile."""
    import typer

    from serving.cli import create, demo, doctor, engines, gc, jobs, keys, lineage, models, reproduce, up, videos

    app = typer.Typer(name="longtake", help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    app.command()(up.up)
    app.command()(create.generate)
    app.command()(create.image)
    app.command()(create.extend)
    for command in (videos.watch, videos.status, videos.ls, lineage.lineage, videos.cancel, videos.delete):
        app.command()(command)
    app.command()(videos.download)
    app.command()(demo.demo)
    app.command()(doctor.doctor)
    app.command()(reproduce.reproduce)
    app.command()(gc.gc)
    app.command()(gc.scrub)
    app.add_typer(jobs.app)
    app.add_typer(models.app)
    app.add_typer(engines.app)
    app.add_typer(keys.app)
    return app


def main() -> None:
    """Entry point of the `longtake` program.

    What lies outside it and is wrong (a file, a disk, a setting, bytes in an argument) is one line; a traceback is a
    fault of its own.
    """
    try:
        build()()
    except KeyboardInterrupt:
        sys.exit(130)
    except LongtakeError as error:
        _end(error.message, _USAGE)
    except UnicodeEncodeError as error:
        _end(_unwritable(error), _USAGE)
    except OSError as error:
        # One that names a file was met at a path that the user gave, or whose default does not fit this machine.
        _end(_in_words(error), _FAILED if error.filename is None else _USAGE)


def _end(message: str, code: int) -> None:
    with suppress(OSError):  # there may be no terminal any more
        sys.stderr.write(f"error: {message}\n")
        sys.stderr.flush()
    # What could not be written is not tried again at the exit.
    with suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123  (the device, not a path)
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    sys.exit(code)


def _unwritable(error: UnicodeEncodeError) -> str:
    """An argument's bytes come as surrogates where they are no UTF-8; all other text is what the output cannot show."""
    found = error.object[error.start : error.end]
    if any("\ud800" <= letter <= "\udfff" for letter in found):
        return f"an argument holds bytes that are not UTF-8: {os.fsencode(found)!r}"
    return f"the output is {error.encoding} and cannot show {found!r}: set PYTHONIOENCODING=utf-8"


def _in_words(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    return said if error.filename is None else f"{os.fsdecode(error.filename)}: {said}"


if __name__ == "__main__":
    main()
