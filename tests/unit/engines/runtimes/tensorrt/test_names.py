"""Every name that the code asks of NVIDIA's packages is there, and takes as many arguments as it is given.

The code is read, not run; which object stands behind which expression is told below. `tensorrt_rtx` is the installed
package. Of `tensorrt`, whose libraries are large and come from elsewhere, the bindings alone are loaded, over libraries
of the same names that hold nothing.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engines.runtimes.tensorrt import compiler, kernels, loaded, log, timings

OBJECTS = {
    compiler: {
        "builder": "Builder",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "error": "ParserError",
    },
    loaded: {
        "self._runtime": "Runtime",
        "runtime": "Runtime",
        "self._engine": "ICudaEngine",
        "engine": "ICudaEngine",
        "self._context": "IExecutionContext",
    },
    kernels: {
        "engine": "ICudaEngine",
        "config": "IRuntimeConfig",
        "cache": "IRuntimeCache",
        "self._cache": "IRuntimeCache",
    },
    timings: {
        "config": "IBuilderConfig",
        "self._cache": "ITimingCache",
    },
    log: {},
}
RTX_ALONE = {
    "ComputeCapability",
    "DynamicShapesKernelSpecializationStrategy",
    "EngineInvalidityDiagnostics",
    "EngineValidity",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeCache",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.set_runtime_cache",
    "Runtime.engine_header_size",
    "Runtime.get_engine_validity",
}
"""What is asked of TensorRT-RTX only: the code looks for `ComputeCapability`, or is given a target."""
OVERRIDDEN = {
    "IProgressMonitor": ("phase_start", "phase_finish", "step_complete"),
    "ILogger": ("log",),
}
HOLLOW = {
    "libnvinfer.so.11": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "libnvonnxparser.so.11": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
    "libnvinfer_plugin.so.11": ("initLibNvInferPlugins",),
}
DESCRIBE = """
import importlib, json, sys
package = importlib.import_module(sys.argv[1])
names = {}
for name in dir(package):
    value = getattr(package, name)
    names[name] = getattr(value, "__doc__", None) or ""
    if isinstance(value, type):
        for member in dir(value):
            if member == "__init__" or not member.startswith("__"):
                names[f"{name}.{member}"] = getattr(getattr(value, member), "__doc__", None) or ""
print(json.dumps({"version": package.__version__, "names": names}))
"""


@dataclass(frozen=True)
class Asked:
    """One name that the code uses."""

    name: str
    arguments: int | None
    """Of a call; None for what is only read or set."""
    where: str


@pytest.fixture(scope="module")
def rtx() -> dict[str, str]:
    """Each name of the installed package, and its text."""
    return described("tensorrt_rtx", "longtake[tensorrt_rtx] is not installed")


@pytest.fixture(scope="module")
def eleven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same of TensorRT 11, over hollow libraries."""
    folder = tmp_path_factory.mktemp("hollow")
    if shutil.which("gcc") is None:
        pytest.skip("gcc makes the hollow libraries, and is not on the PATH")
    for name, symbols in HOLLOW.items():
        code = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols)
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), "-xc", "-"]
        subprocess.run(command, input=code, text=True, check=True)
    reason = "the bindings of TensorRT 11 are not installed (pip install tensorrt-cu13-bindings, 1.3 MB)"
    return described("tensorrt_bindings", reason, LD_LIBRARY_PATH=str(folder))


def described(package: str, reason: str, **environment: str) -> dict[str, str]:
    """By a process of its own: native libraries stay out of this one."""
    command = [sys.executable, "-c", DESCRIBE, package]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(reason)
    assert done.returncode == 0, done.stderr
    names: dict[str, str] = json.loads(done.stdout.splitlines()[-1])["names"]
    return names


def asked() -> Iterator[Asked]:
    """All that the code asks for."""
    for module, objects in OBJECTS.items():
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text())
        calls = {
            id(node.func): len(node.args) + len(node.keywords) for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        spread = {
            id(node.func)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and any(isinstance(argument, ast.Starred) for argument in node.args)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            behind, where = ast.unparse(node.value), f"{module.__name__}:{node.lineno}"
            arguments = None if id(node) in spread else calls.get(id(node))
            if behind == "trt":
                yield Asked(node.attr, arguments, where)
            elif behind.startswith("trt.") and "__members__" not in (node.attr, behind.split(".")[-1]):
                yield Asked(f"{behind.removeprefix('trt.')}.{node.attr}", arguments, where)
            elif behind in objects:
                yield Asked(f"{objects[behind]}.{node.attr}", arguments, where)


def problems(names: dict[str, str], without: set[str]) -> list[str]:
    """What is not there, or takes another number of arguments."""
    found = []
    for one in asked():
        if one.name in without or any(one.name.startswith(f"{name}.") for name in without):
            continue
        if one.name not in names:
            found.append(f"{one.where}: no {one.name}")
        elif one.arguments is not None and not fits(names, one):
            found.append(f"{one.where}: {one.name} does not take {one.arguments} arguments: {names[one.name][:200]}")
    return found


def fits(names: dict[str, str], one: Asked) -> bool:
    """Whether one of the signatures takes as many. A class is called by its `__init__`."""
    text = names.get(f"{one.name}.__init__", names[one.name])
    signatures = re.findall(r"\w+\((self: [^\n]*)\) -> ", text)
    return not signatures or any(least <= (one.arguments or 0) <= most for least, most in map(bounds, signatures))


def bounds(signature: str) -> tuple[int, int]:
    """Least and most arguments of `self: X, a: int, b: str = ''`."""
    parts, depth = [""], 0
    for letter in signature:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    given = [part for part in parts[1:] if part.strip()]
    return sum(" = " not in part for part in given), len(given)


def test_the_code_is_read_as_it_is_written() -> None:
    names = {one.name for one in asked()}
    assert {"Runtime", "IExecutionContext.execute_async_v3", "BuilderFlag.TF32", "ILogger"} <= names
    assert {"IRuntimeCache.deserialize", "IRuntimeCache.serialize", "ITimingCache.serialize"} <= names
    assert len(names) > 40
    assert bounds("self: a.B, name: str, shapes: tuple[int, int], c: int = 0") == (2, 3)


def test_a_name_that_is_not_there_is_found_out(rtx: dict[str, str]) -> None:
    names = {**rtx, "IExecutionContext.set_input_shape": "set_input_shape(self: x, name: str) -> bool"}
    del names["IExecutionContext.execute_async_v3"]
    found = problems(names, without=set())
    assert len(found) == 2
    assert "no IExecutionContext.execute_async_v3" in " ".join(found)
    assert "set_input_shape does not take 2 arguments" in " ".join(found)


def test_tensorrt_rtx_has_all_that_the_code_asks(rtx: dict[str, str]) -> None:
    assert problems(rtx, without=set()) == []


def test_tensorrt_11_has_all_but_what_is_asked_of_rtx_alone(eleven: dict[str, str]) -> None:
    assert problems(eleven, without=RTX_ALONE) == []
    assert not RTX_ALONE & {name for name in eleven if name == "ComputeCapability"}


@pytest.mark.parametrize("package", ["rtx", "eleven"])
def test_what_the_code_overrides_is_what_is_called(package: str, request: pytest.FixtureRequest) -> None:
    names = request.getfixturevalue(package)
    for owner, methods in OVERRIDDEN.items():
        assert {f"{owner}.{method}" for method in methods} <= set(names)
