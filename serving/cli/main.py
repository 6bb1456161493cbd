"""The `longtake` command. Each command lives in a file of its own; nothing heavy is imported before it runs."""

from __future__ import annotations

import sys

import typer

_HELP = """Longtake makes video: from text, from pictures, and by extending what is there.

Begin with `longtake up` in one terminal, then in another:

  longtake generate "a red circle moves right over a white background"

Exit codes: 0 done, 1 the job failed, 2 wrong usage or settings, 3 not found, 4 the server cannot be reached,
130 interrupted.
"""


def build() -> typer.Typer:
    """The command with all its parts. They are imported here, so that Ctrl-C meanwhile is met by `main`."""
    from serving.cli import create, demo, doctor, engines, gc, jobs, keys, models, reproduce, up, videos

    app = typer.Typer(name="longtake", help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    app.command()(up.up)
    app.command()(create.generate)
    app.command()(create.image)
    app.command()(create.extend)
    for command in (videos.watch, videos.status, videos.ls, videos.lineage, videos.cancel, videos.delete):
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
    """Entry point of the `longtake` program."""
    try:
        build()()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
