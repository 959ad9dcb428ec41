"""Every setting of every agent device: one schema, checked before anything is started.

Part of the agent: standard library and ``latprof.errors`` only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from latprof.errors import UsageError

__all__ = [
    "GPU_RUNTIME_SETTINGS",
    "GPU_SETTINGS",
    "HOST_SETTINGS",
    "LIMIT",
    "RUNTIME_SETTINGS",
    "THREADS",
    "Setting",
    "read_settings",
]


@dataclass(frozen=True)
class Setting:
    """One setting of a device or a runtime, given as NAME=VALUE.

    Args:
        name: as it is written.
        help: what it does, one line.
        type: ``text``, ``boolean``, ``count`` (whole, at least 1), ``integer``, ``number``,
            ``seconds`` or ``cores``.
        choices: the values there are; any of the type where empty.
        default: the value where it is not given, as text.
    """

    name: str
    help: str
    type: str = "text"
    choices: tuple[str, ...] = ()
    default: str = ""

    def read(self, value: object) -> Any:
        """The value that ``value`` spells, of the setting's type.

        Raises:
            UsageError: it spells none.
        """
        text = str(value).lower() if isinstance(value, bool) else str(value)
        parse, expected = _TYPES[self.type]
        if self.choices:
            expected = f"one of {', '.join(self.choices)}"
        try:
            read = parse(text)
        except (ValueError, OverflowError, KeyError):
            read = None
        if read is None or (self.choices and text not in self.choices):
            raise UsageError(f"{self.name} is {text!r}; expected {expected}")
        return read


def read_settings(
    given: Mapping[str, object], known: Iterable[Setting], device: str
) -> dict[str, Any]:
    """The given settings by name, each read by its Setting.

    Raises:
        UsageError: one that ``device`` does not have, or a value that it cannot take.
    """
    by_name = {setting.name: setting for setting in known}
    for name in given:
        if name not in by_name:
            names = ", ".join(by_name) or "none"
            raise UsageError(f"{device} has no setting {name!r}; its settings are {names}")
    return {name: by_name[name].read(value) for name, value in given.items()}


def _boolean(text: str) -> bool:
    """true or false; yes, no, on and off are the spellings of earlier versions."""
    spelled = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    return spelled[text.lower()]


def _count(text: str) -> int | None:
    return int(text) if int(text) >= 1 else None


def _number(text: str) -> float | None:
    return float(text) if math.isfinite(float(text)) else None


def _seconds(text: str) -> float | None:
    return float(text) if 0 < float(text) < math.inf else None


def _cores(text: str) -> str | None:
    well_formed = all(core.strip().isdecimal() for core in text.split(","))
    return text if text in ("auto", "none") or well_formed else None


#: Type -> (what reads it: None or a ValueError where it is none, what is expected).
_TYPES: dict[str, tuple[Callable[[str], Any], str]] = {
    "boolean": (_boolean, "true or false"),
    "cores": (_cores, "auto, none, or cores such as 0,1"),
    "count": (_count, "a whole number of at least 1"),
    "integer": (int, "a whole number"),
    "number": (_number, "a number"),
    "seconds": (_seconds, "seconds, more than 0"),
    "text": (str, "text"),
}

THREADS = Setting("threads", "intra-op threads of the runtime", "count", default="1")
LIMIT = Setting(
    "limit_s", "seconds without an answer before the device counts as hung", "seconds", default="60"
)

#: Of every host that runs the agent.
HOST_SETTINGS = (
    Setting("python", "the interpreter on that host that has the runtime"),
    Setting("affinity", "cores to run on", "cores", default="auto"),
    Setting("governor", "frequency governor to ask for"),
)
#: Of every host with a GPU, besides.
GPU_SETTINGS = (Setting("gpu_clock", "lock the GPU's clock at this many MHz; needs root", "count"),)
_COMPILED = Setting("compiled", "through torch.compile with inductor", "boolean", default="false")
#: Runtime -> its own settings.
RUNTIME_SETTINGS: dict[str, tuple[Setting, ...]] = {
    "onnxruntime": (
        Setting(
            "graph", "graph optimization level",
            choices=("all", "extended", "basic", "none"), default="all",
        ),
    ),
    "tflite": (
        Setting("xnnpack", "compute with XNNPACK, not the reference kernels", "boolean",
                default="true"),
    ),
    "torch": (_COMPILED,),
}  # fmt: skip
_DRIVER = Setting("driver", "what drives the GPU; auto is pycuda where it loads",
                  choices=("auto", "pycuda", "ctypes"), default="auto")  # fmt: skip
_ON_A_GPU = (
    Setting("precision", "of float32 workloads",
            choices=("float32", "tf32", "float16"), default="float32"),
    Setting("cache", "each call finds the last one's data in L2, or L2 flushed",
            choices=("hot", "cold"), default="hot"),
    Setting("layout", "of maps", choices=("nchw", "nhwc"), default="nchw"),
)  # fmt: skip
#: The same on a GPU.
GPU_RUNTIME_SETTINGS: dict[str, tuple[Setting, ...]] = {
    "cuda": (
        Setting("kernels", "the project's own, or cuBLAS",
                choices=("own", "cublas"), default="own"),
        _DRIVER,
        *_ON_A_GPU,
    ),
    "onnxruntime": (
        Setting("provider", "execution provider", choices=("cuda", "tensorrt"), default="cuda"),
        Setting("engine_cache", "folder on that host where TensorRT keeps its engines"),
        _DRIVER,
        *_ON_A_GPU,
    ),
    "torch": (
        _COMPILED,
        Setting("autotune", "let cuDNN time its algorithms for each shape", "boolean",
                default="true"),
        *_ON_A_GPU,
    ),
}  # fmt: skip
