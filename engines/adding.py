"""Makes the record of a checkpoint that an operator adds: every byte is read once, and digested.

`longtake models add` calls it; `added.py` says what a record is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engines import key as keys
from engines import models
from engines import objects as layout
from engines.added import Added, Kept
from engines.checkpoints import diffusers
from engines.checkpoints.files import Counted, Files, digest_of, read_small
from engines.families.buildable import Sizes
from engines.families.history import Before


def record(
    files: Files,
    *,
    name: str,
    source: str,
    sizes: Sizes,
    added_ms: int,
    progress: Callable[[str, int, int], None],
    known: Added | None = None,
) -> tuple[Added, bytes]:
    """The record of a checkpoint, and what is to be kept of it. Reads every byte once.

    `progress` is told the file, and bytes done and in all. `known` is the model that has the name: raises `ValueError`
    at the first file that is another one. Raises `CheckpointUnfit`, `ValueError` for the name.
    """
    if not layout.is_model_name(name):
        raise ValueError(f"name: {name!r}; a model is called by 1 to 63 of a-z 0-9 . _ -, a letter or number first")
    # What can be wrong with the small files is told before the weights are read, the tokenizer's part too.
    family = models.opened(files, name=name, sizes=sizes).family
    family.read_prompt(family.probe_prompt, seed=0, before=Before(family.capabilities.canvases[0]))
    checkpoint = diffusers.inspect(files)
    headers = {shard.file: shard.begin for part in checkpoint.components.values() for shard in part.shards}
    compared = _Compared(name, known)
    file_sizes = {file: files.size(file) for file in checkpoint.files}
    compared.sizes(file_sizes)
    kept, parts, at = [], [], 0
    progress(checkpoint.files[0], 0, sum(file_sizes.values()))
    counted = Counted(files, sum(file_sizes.values()), lambda done, total: progress(file, done, total))
    for file, size in file_sizes.items():
        if file in headers:
            part, sha256 = files.read(file, 0, headers[file]), digest_of(counted, file)
        else:
            part = read_small(counted, file)
            sha256 = keys.digest_of(part)
        compared.digest(file, sha256)
        kept.append(Kept(file, size, sha256, at, at + len(part)))
        parts.append(part)
        at += len(part)
    data = b"".join(parts)
    return Added(name, source, tuple(kept), keys.digest_of(data), sizes, added_ms), data


class _Compared:
    """Compares files with those of the model that has the name already, if there is one. Raises `ValueError`, which
    names the first that differs."""

    def __init__(self, name: str, known: Added | None) -> None:
        self._name = name
        self._known = None if known is None else {file.name: file for file in known.files}

    def sizes(self, sizes: Mapping[str, int]) -> None:
        """All files, before any is read."""
        if self._known is not None:
            there = {file.name: file.size for file in self._known.values()}
            for file in sorted(there.keys() | sizes.keys()):
                self._demand(file, same=there.get(file) == sizes.get(file))

    def digest(self, file: str, sha256: str) -> None:
        """One that was read."""
        if self._known is not None:
            self._demand(file, same=self._known[file].sha256 == sha256)

    def _demand(self, file: str, *, same: bool) -> None:
        if not same:
            raise ValueError(
                f"name: {self._name!r} is another checkpoint, whose {file} differs: choose another name, or "
                f"`longtake models rm {self._name}` first"
            )
