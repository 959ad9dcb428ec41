"""The agent's code on its way to a device host: sent over stdin, imported from memory."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import importlib.util
from pathlib import Path
from typing import Any

__all__ = ["BOOTSTRAP", "agent_sources"]

#: Runs on the device host: takes the agent's modules from the first line of stdin, as JSON, and
#: imports them from memory, so that nothing is left on the host's disk. Modules under ``spare``
#: serve only where the host has none of its own. What is missing is the first and only answer.
_BOOTSTRAP = """
import importlib.abc, importlib.util, json, platform, sys
class Sent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, sources): self.sources = sources
    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            package = any(n.startswith(name + ".") for n in self.sources)
            return importlib.util.spec_from_loader(name, self, is_package=package)
    def create_module(self, spec): return None
    def exec_module(self, module):
        name = module.__name__
        exec(compile(self.sources[name], "<sent>/" + name, "exec"), module.__dict__)
def fail(error, **fields):
    print(json.dumps(dict(fields, ok=False, error=error)), flush=True)
    sys.exit(0)
sent = json.loads(sys.stdin.readline())
if sys.version_info < (3, 11): fail("python", version=platform.python_version())
sys.meta_path.insert(0, Sent(sent["modules"]))
sys.meta_path.append(Sent(sent["spare"]))
try:
    from latprof.devices.agent._agent import main
except ModuleNotFoundError as exc:
    fail("missing", package=exc.name)
main()
"""
#: One line of plain characters, so that every login shell passes it on whole.
_ENCODED = base64.b64encode(_BOOTSTRAP.encode()).decode()
BOOTSTRAP = f"import base64;exec(base64.b64decode(b'{_ENCODED}'))"


def agent_sources(runtime: str, *, gpu: bool) -> dict[str, Any]:
    """The agent's own code, and what it may lack of the pure-Python packages it uses.

    Returns:
        {"modules": {dotted name: source}, "spare": the same, used where the host has none}.
    """
    modules = dict.fromkeys(("latprof", "latprof.devices"), "")
    modules["latprof.errors"] = _text("latprof", "errors.py")
    for package in ("latprof.workloads", "latprof.devices.agent", "latprof.devices.agent.runtimes"):
        modules |= _package(package)
    if gpu:
        from latprof.cuda_src import SOURCES

        modules |= _package("latprof.devices.agent.cuda")
        modules["latprof.cuda_src"] = f"SOURCES = {SOURCES!r}"
    spare = _flatbuffers() if runtime == "tflite" else {}
    return {"modules": modules, "spare": spare | (_nvml() if gpu else {})}


@functools.cache
def _package(package: str) -> dict[str, str]:
    """{dotted name: source} of a folder's own modules."""
    found = {}
    for file in importlib.resources.files(package).iterdir():
        name, dot, suffix = file.name.rpartition(".")
        if dot and suffix == "py":
            full = package if name == "__init__" else f"{package}.{name}"
            found[full] = file.read_text(encoding="utf-8")
    return found


def _text(package: str, file: str) -> str:
    return importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")


@functools.cache
def _nvml() -> dict[str, str]:
    """Reading a GPU's clocks needs nvidia-ml-py, which is one module of pure Python."""
    found = importlib.util.find_spec("pynvml")
    if found is None or found.origin is None:  # then the host must have it, or goes without
        return {}
    return {"pynvml": Path(found.origin).read_text(encoding="utf-8")}


@functools.cache
def _flatbuffers() -> dict[str, str]:
    """The writer of TFLite models needs flatbuffers, which is pure Python; hosts often lack it."""
    try:
        return _package("flatbuffers")
    except ModuleNotFoundError:  # then the host must have it, or says that it is missing
        return {}
