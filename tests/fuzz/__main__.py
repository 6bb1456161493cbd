"""`python -m tests.fuzz TARGET`: make bytes up for one target, led by what they reach, until one is too much for it.

    pip install atheris
    python -m tests.fuzz                                  # the targets
    python -m tests.fuzz data_urls -runs=1000000          # and any other flag of libFuzzer's

What a target could not take is written to `crash-...` in the current folder, and run again by naming that file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Fuzz until libFuzzer ends the process; 2 where nothing was named that there is."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["serving"]):
        from tests.fuzz.targets import TARGETS
    name, flags = (arguments[0], arguments[1:]) if arguments else ("", [])
    target = TARGETS.get(name)
    if target is None:
        print(*TARGETS, sep="\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="longtake-fuzz-") as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        places = [] if any(not flag.startswith("-") for flag in flags) else [corpus]
        atheris.Setup([sys.argv[0], *flags, *places], target.read)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
