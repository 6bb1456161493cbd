"""What a set of engines says of itself: their keys and digests, and how they were verified.

`building/build.py` writes a manifest, `store.py` reads it before any engine, `building/verify.py` checks what it
claims. It is one JSON file beside the prebuilt engines, or one object of the store; engines that it does not name do
not exist.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from engines import key as keys
from engines import objects as layout
from engines import precision
from engines.errors import EngineCorrupt, EngineDeviceAbsent, EngineNotBuilt, EngineUnverified
from engines.objects import FORMAT
from engines.spec import EngineSpec, text
from engines.weights import WeightsFile

if TYPE_CHECKING:
    from engines.runtimes.base import Runtime

UNVERIFIED: Final = math.inf
"""Difference of an engine that was compared with nothing: no tolerance has room for it."""
FORMAT_BESIDE: Final = 2
"""Of manifests with weights beside an engine. A version that knows none refuses it, and says so."""
_COMPONENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class EngineEntry:
    """One engine of a set."""

    key: str
    spec: EngineSpec
    graph_digest: str
    """sha256 of the exported ONNX graph."""
    runtime_version: str
    """What its bytes are bound to; see `key.engine_key`."""
    sha256: str
    """Of the engine's own bytes; the graph's, where the runtime compiles nothing."""
    size: int
    """Bytes."""
    parity: float
    """Largest difference from the torch reference over all random inputs, relative to the output's own scale;
    `UNVERIFIED` before the two were compared."""
    weights: tuple[WeightsFile, ...] = ()
    """The files beside it, in the order of its key."""

    @property
    def bytes_in_all(self) -> int:
        """Of the engine and of the files beside it."""
        return self.size + sum(file.size for file in self.weights)

    @property
    def component(self) -> str:
        """Name of the component."""
        return self.spec.component.name


@dataclass(frozen=True)
class Probe:
    """What the torch reference answers to known inputs: lets an install without torch check its engines.

    The inputs are drawn anew from `seed` by `building/probes.py`.
    """

    component: str
    """Or `end_to_end`."""
    case: str
    seed: int
    values: Mapping[str, tuple[float, ...]]
    """By output: values at evenly spaced places of the flattened array."""


@dataclass(frozen=True)
class Manifest:
    """A model's engines, all of them or it is none."""

    model: str
    weights_digest: str
    engines: tuple[EngineEntry, ...]
    runtime_versions: tuple[str, str]
    """Of the runtime that may load them: at least the first, below the second (`1.31`, `2`)."""
    verified_with: Mapping[str, str]
    """Version by package, of the run that verified them."""
    end_to_end: float
    """Largest difference of latents over whole runs, relative to their scale; or `UNVERIFIED`."""
    probes: tuple[Probe, ...]
    papers: Mapping[str, WeightsFile] = field(default_factory=dict)
    """By name, what lies beside the engines in a store for those who verify and look (`blobs.py`)."""

    @property
    def runtime(self) -> str:
        """The name of the runtime that all of them are for."""
        return self.engines[0].spec.runtime

    @property
    def device(self) -> str:
        """What all of them were compiled for."""
        return self.engines[0].spec.device

    @property
    def variant(self) -> str:
        """Runtime, device and precision, as an installation chooses them."""
        return self.engines[0].spec.variant + precision.suffix(self.precisions)

    @property
    def precisions(self) -> precision.Precisions:
        """How each component computes."""
        return {entry.component: entry.spec.precision for entry in self.engines}

    @property
    def set_name(self) -> str:
        """Of their folder in a store."""
        return layout.set_name(self.weights_digest, self.variant)

    @property
    def verified(self) -> bool:
        """Whether they were compared with their model, on a device that they are for."""
        return all(math.isfinite(value) for value in (self.end_to_end, *(entry.parity for entry in self.engines)))

    @property
    def digest(self) -> str:
        """Digest of the model as it is served."""
        return keys.model_digest(entry.key for entry in self.engines)

    def entry(self, component: str) -> EngineEntry:
        """The engine of a component. Raises `EngineNotBuilt`."""
        for entry in self.engines:
            if entry.component == component:
                return entry
        raise EngineNotBuilt(missing_message(self.model, f"engine {component!r}"))

    def check_runtime(self, runtime: Runtime) -> None:
        """Whether the engines can be loaded here.

        Raises `EngineUnverified` unless the installed version of this runtime may, and `EngineDeviceAbsent` on a
        machine without the device that they are for: nobody compared them with their model on another.
        """
        least, below = self.runtime_versions
        wanted = f"{runtime.distribution}>={least},<{below}"
        try:
            installed = runtime.version()
        except ImportError as error:
            raise EngineUnverified(
                f"the engines of {self.model} are for {runtime.name}, which is not installed: pip install '{wanted}'"
            ) from error
        if not _version(least) <= _version(installed) < _version(below):
            raise EngineUnverified(
                f"the engines of {self.model} are for {runtime.name} >={least},<{below}, and {installed} is installed: "
                f"pip install '{wanted}'"
            )
        if not runtime.runs(self.device):
            here = runtime.here()
            raise EngineDeviceAbsent(
                f"the engines of {self.model} are for {self.device}, and this machine has "
                f"{here or 'no device that ' + runtime.name + ' runs on'}: {runtime.remedy(self.device)}"
            )

    def to_json(self) -> bytes:
        """The manifest's bytes: equal for equal contents, readable by people."""
        value = {
            "format": FORMAT_BESIDE if any(entry.weights for entry in self.engines) else FORMAT,
            "model": self.model,
            "weights_digest": self.weights_digest,
            "digest": self.digest,
            "runtime_versions": list(self.runtime_versions),
            "verified_with": dict(self.verified_with),
            "end_to_end": _difference(self.end_to_end),
            "engines": [
                {
                    "key": entry.key,
                    "spec": entry.spec.to_json(),
                    "graph_digest": entry.graph_digest,
                    "runtime_version": entry.runtime_version,
                    "sha256": entry.sha256,
                    "size": entry.size,
                    "parity": _difference(entry.parity),
                    **({"weights": [vars(file) for file in entry.weights]} if entry.weights else {}),
                }
                for entry in self.engines
            ],
            "probes": [
                {
                    "component": probe.component,
                    "case": probe.case,
                    "seed": probe.seed,
                    "values": {name: list(values) for name, values in probe.values.items()},
                }
                for probe in self.probes
            ],
            **({"papers": {name: vars(file) for name, file in self.papers.items()}} if self.papers else {}),
        }
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str, verified: bool = True) -> Self:
        """Read a manifest and check each engine's key against its spec.

        Not `verified`: that of engines that were compiled only, which nobody takes for the other by a mistake. Raises
        `EngineCorrupt` naming `where`.
        """
        try:
            value = json.loads(data)
            if value["format"] not in (FORMAT, FORMAT_BESIDE):
                raise EngineCorrupt(
                    f"{where}: format {value['format']!r:.80}; this version of longtake reads {FORMAT} and "
                    f"{FORMAT_BESIDE}"
                )
            beside = value["format"] == FORMAT_BESIDE
            manifest = cls(
                model=text(value["model"]),
                weights_digest=text(value["weights_digest"]),
                engines=tuple(_entry(entry, beside=beside) for entry in value["engines"]),
                runtime_versions=(text(value["runtime_versions"][0]), text(value["runtime_versions"][1])),
                verified_with={text(name): text(said) for name, said in value["verified_with"].items()},
                end_to_end=_parity(value["end_to_end"]),
                probes=tuple(_probe(probe) for probe in value["probes"]),
                papers={text(name): _file(file) for name, file in value.get("papers", {}).items()},
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            if isinstance(error, EngineCorrupt):
                raise
            raise EngineCorrupt(f"{where}: not a manifest of engines ({error!r}): build the engines again") from error
        if manifest.verified is not verified:
            raise EngineCorrupt(f"{where}: engines that were {'never ' if verified else ''}verified: build them again")
        _check_set(manifest, where)
        for entry in manifest.engines:
            _check_names(entry, where)
            expected = keys.engine_key(
                entry.spec,
                graph_digest=entry.graph_digest,
                runtime_version=entry.runtime_version,
                weights=[file.sha256 for file in entry.weights],
            )
            if entry.key != expected:
                raise EngineCorrupt(
                    f"{where}: the key of {entry.component} is not that of its spec: build the engines again"
                )
            if (entry.spec.model, entry.spec.weights_digest) != (manifest.model, manifest.weights_digest):
                raise EngineCorrupt(
                    f"{where}: {entry.component} is of another model or other weights: build the engines again"
                )
        return manifest


def missing_message(model: str, what: str, variant: str = layout.USUAL) -> str:
    """What to tell who has no engine."""
    if variant == layout.USUAL:
        return f"no {what} of model {model}: build it with `longtake engines build --model {model}`"
    runtime, device, said = precision.in_variant(variant)
    command = f"longtake engines build --model {model} --runtime {runtime} --target {device}"
    command += f" --precision {said}" if said else ""
    return f"no {what} of model {model} for {variant}: build it with `{command}`"


def unverified_message(manifest: Manifest) -> str:
    """What to tell who has engines that were compiled only."""
    command = f"longtake engines verify --model {manifest.model} --variant {manifest.variant}"
    return (
        f"the engines of {manifest.model} for {manifest.variant} were compiled and never verified, and are not served: "
        f"run `{command}` on a machine with {manifest.device}"
    )


def _check_set(manifest: Manifest, where: str) -> None:
    """That its engines go together."""
    if len({entry.spec.variant for entry in manifest.engines}) != 1:
        raise EngineCorrupt(f"{where}: not the engines of one runtime and device: build the engines again")
    if not set(manifest.precisions.values()) <= set(precision.WORDS.values()):
        raise EngineCorrupt(f"{where}: engines of a precision that this version does not know: build them again")
    if len(manifest.precisions) != len(manifest.engines):
        raise EngineCorrupt(f"{where}: two engines of one component: build the engines again")


def _check_names(entry: EngineEntry, where: str) -> None:
    """Component and digest become names of files and objects: nothing in them may lead elsewhere."""
    if not _COMPONENT.fullmatch(entry.component) or not _DIGEST.fullmatch(entry.sha256):
        raise EngineCorrupt(
            f"{where}: {entry.component!r} with digest {entry.sha256[:80]!r} names no file: build the engines again"
        )
    if type(entry.size) is not int or entry.size < 0:
        raise EngineCorrupt(f"{where}: {entry.component} has {entry.size!r} bytes: build the engines again")
    for file in entry.weights:
        if not _DIGEST.fullmatch(file.sha256) or type(file.size) is not int or file.size < 0:
            raise EngineCorrupt(
                f"{where}: {file.size!r} bytes of weights with digest {file.sha256[:80]!r}: build the engines again"
            )


def _file(value: Mapping[str, Any]) -> WeightsFile:
    """Of papers, which nobody needs to serve: what names none is no manifest."""
    if not _DIGEST.fullmatch(value["sha256"]) or type(value["size"]) is not int or value["size"] < 0:
        raise TypeError(f"{value!r:.80} names no file")
    return WeightsFile(value["sha256"], value["size"])


def _entry(value: Mapping[str, Any], *, beside: bool) -> EngineEntry:
    names = {name: text(value[name]) for name in ("key", "graph_digest", "runtime_version", "sha256")}
    spec = EngineSpec.from_json(value["spec"])
    files = value.get("weights", []) if beside else []
    weights = tuple(WeightsFile(text(file["sha256"]), file["size"]) for file in files)
    return EngineEntry(**names, spec=spec, size=value["size"], parity=_parity(value["parity"]), weights=weights)


def _probe(value: Mapping[str, Any]) -> Probe:
    values = {text(name): tuple(map(_number, numbers)) for name, numbers in value["values"].items()}
    return Probe(text(value["component"]), text(value["case"]), int(value["seed"]), values)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.80} is no number")
    return float(value)


def _difference(value: float) -> float | None:
    return None if value == UNVERIFIED else value


def _parity(value: object) -> float:
    return UNVERIFIED if value is None else _number(value)


def _version(text: str) -> tuple[int, ...]:
    """`1.31.1` → (1, 31, 1); what follows the numbers does not count."""
    numbers = []
    for part in text.split("+", maxsplit=1)[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
