"""Generate serving/gen from every .proto under protos/: `make protos` runs it, CI runs it with `--check`.

Output is committed. Messages and services come from grpcio-tools, type stubs from mypy-protobuf. protoc writes imports
that are relative to protos/; they are rewritten so that everything is imported as `serving.gen.<package>`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
TARGET = PROTOS.parent / "serving" / "gen"
ROOTS = ("longtake", "xai")
"""Folders under protos/, and the top-level packages whose imports are rewritten."""

_ROOT = "|".join(ROOTS)
_REWRITES = (
    (re.compile(rf"^from ({_ROOT})(\.[\w.]+)? import ", re.MULTILINE), r"from serving.gen.\1\2 import "),
    (re.compile(rf"^import ({_ROOT})\.", re.MULTILINE), r"import serving.gen.\1."),
    # The module that messages say they come from: Ray Serve pickles them on the way from its proxy to the Director.
    (re.compile(rf"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')({_ROOT})\."), r"\1serving.gen.\2."),
)


def main() -> int:
    """Write serving/gen, or with `--check` say what differs; 1 when something does."""
    parser = argparse.ArgumentParser(description="Generate serving/gen from protos/.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when serving/gen is out of date")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = generate(Path(folder))
    if arguments.check:
        stale = differences(wanted)
        for name in stale:
            print(f"serving/gen/{name} is out of date: run `make protos`", file=sys.stderr)
        return 1 if stale else 0
    write(wanted)
    return 0


def generate(folder: Path) -> dict[str, str]:
    """Run protoc into `folder`; file name below serving/gen → contents."""
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(PROTOS)) for root in ROOTS for path in (PROTOS / root).rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main([
        "protoc", f"--proto_path={PROTOS}", f"--proto_path={well_known}",
        f"--plugin=protoc-gen-mypy={_script('protoc-gen-mypy')}",
        f"--plugin=protoc-gen-mypy_grpc={_script('protoc-gen-mypy_grpc')}",
        f"--python_out={folder}", f"--grpc_python_out={folder}", f"--mypy_out=quiet:{folder}",
        f"--mypy_grpc_out=quiet:{folder}", *sources,
    ])  # fmt: skip
    if code:
        raise SystemExit(f"protoc failed ({code}) on {len(sources)} files")
    files = {str(path.relative_to(folder)): _rewrite(path.read_text()) for path in folder.rglob("*.py*")}
    packages = {str(parent) for name in files for parent in Path(name).parents}
    return files | {str(Path(package) / "__init__.py"): "" for package in packages}


def _script(name: str) -> Path:
    """A console script beside this Python, whether or not its environment is activated."""
    return Path(sys.executable).parent / name


def _rewrite(text: str) -> str:
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def _present() -> set[str]:
    files = (path for path in TARGET.rglob("*.py*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(TARGET)) for path in files}


def differences(wanted: dict[str, str]) -> list[str]:
    """Files of serving/gen that are missing, left over, or other than `wanted`."""
    present = _present()
    changed = {name for name in present & wanted.keys() if (TARGET / name).read_text() != wanted[name]}
    return sorted(changed | (present ^ wanted.keys()))


def write(wanted: dict[str, str]) -> None:
    """Make serving/gen be exactly `wanted`."""
    for name in _present() - wanted.keys():
        (TARGET / name).unlink()
    for name, text in wanted.items():
        path = TARGET / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
