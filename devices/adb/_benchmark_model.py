"""``benchmark_model``: its command lines, and what its versions print.

There are two tools of this name: TFLite's, which runs an interpreter with delegates, and LiteRT's,
which runs a CompiledModel on accelerators. They share what times and prints. Read from their
sources (tensorflow/lite/tools/benchmark and xla/tsl/util/stats_calculator.h; since 2024 in
google-ai-edge/LiteRT under tflite/, LiteRT's own under litert/tools). What matters here:

- It times one Invoke at a time, in whole microseconds. The mean is over all runs; since 2024 it
  also prints p5, median and p95. Before, minimum, mean and maximum are all there is.
- ``num_runs``, ``min_secs``, ``warmup_runs`` and ``warmup_min_secs`` are lower bounds (50, 1 s, 1
  and 0.5 s unless given); ``max_secs`` stops it between runs.
- A flag it does not know is only warned of, and the run goes on as if it had not been given.
- A delegate that takes none of the graph is only mentioned by TFLite's. LiteRT's refuses a graph
  that an accelerator does not take whole, where it is told to.
- LiteRT's prints no line of "Inference timings", and saves no outputs.
- It prints how far ``ru_maxrss`` has risen since its start (TFLite's since 2020); what
  ``report_peak_memory_footprint`` adds is sampled, and holds the tool itself.
- It prints no version: the binary's digest is the only name it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from latprof.devices.adb._transport import quote
from latprof.errors import DeviceError, ProtocolError, UsageError, WorkloadError

__all__ = [
    "DELEGATES",
    "NPU_FLAGS",
    "ToolRun",
    "check_run",
    "command_line",
    "delegate_flags",
    "parse_memory",
    "parse_run",
]

_NO_NPU: Mapping[str, str] = MappingProxyType({})

#: Delegate names (as targets spell them) and the flags that ask TFLite's tool for each.
_TFLITE = {
    "XNNPACK": ("--use_xnnpack=true",),
    "none": ("--use_xnnpack=false",),
    "GPU": ("--use_gpu=true", "--use_xnnpack=false"),
    "NNAPI": ("--use_nnapi=true", "--use_xnnpack=false"),
}
_WHOLE = ("--use_cpu=false", "--require_full_delegation=true")
#: The same of LiteRT's, whose CPU is XNNPACK.
_LITERT = {
    "XNNPACK": ("--use_cpu=true",),
    "GPU": ("--use_gpu=true", *_WHOLE),
    "NPU": ("--use_npu=true", *_WHOLE),
}
#: Every delegate that some tool has.
DELEGATES = tuple({**_TFLITE, **_LITERT})
#: Flags of LiteRT's tool for NPUs, which are settings of a phone by the same names.
NPU_FLAGS = (
    "compiler_plugin_library_path", "dispatch_library_path", "mediatek_nerun_pilot_version",
)  # fmt: skip

#: What makes each delegate compute in half precision, or keeps it from doing so.
_TFLITE_HALF = {
    ("XNNPACK", True): ("--xnnpack_force_fp16=true",),
    ("GPU", True): ("--gpu_precision_loss_allowed=true",),
    ("GPU", False): ("--gpu_precision_loss_allowed=false",),
    ("NNAPI", True): ("--nnapi_allow_fp16=true",),
    ("NNAPI", False): ("--nnapi_allow_fp16=false",),
}
_LITERT_HALF = {("GPU", True): ("--allow_fp16=true",), ("GPU", False): ("--allow_fp16=false",)}

_STATS = re.compile(r"(?:^|\s)count=(\d+)(?:\s|$)(.*)")
_FIELD = re.compile(r"(\w+)=(-?[\d.]+(?:e[+-]?\d+)?)")
_AVERAGE = re.compile(r"(?:Inference \(avg\)|Inference|no stats): *(-?[\d.]+(?:e[+-]?\d+)?)\s*$")
_UNKNOWN = re.compile(r"(?:Unconsumed cmdline flags|unrecognized commandline flag): *(.+)")
_UNUSED = re.compile(r"Though (.+) delegate is explicitly applied, the model graph will not be")
_FOOTPRINT = re.compile(
    r"(?:Memory footprint delta .*\boverall=|Overall footprint: +)(\d[\d.]*(?:e[+-]?\d+)?)"
)
_ERROR = re.compile(r"^(?:ERROR|FATAL|error): *(.+)|(.*(?:Failed to|not executable|not found).*)")


@dataclass(frozen=True)
class ToolRun:
    """What the tool said of its timed runs of one model.

    Args:
        count: timed runs.
        mean_us: the mean, which is exact where the runs are many; the others are whole us.
        low_us, middle_us, high_us: p5, median and p95, or minimum, mean and maximum where the tool
            is too old to print percentiles.
        percentiles: which of the two they are.
    """

    count: int
    mean_us: float
    low_us: float
    middle_us: float
    high_us: float
    percentiles: bool


def delegate_flags(
    delegate: str, precision: str, *, litert: bool = False, npu: Mapping[str, str] = _NO_NPU
) -> tuple[str, ...]:
    """Flags for a delegate of DELEGATES computing in ``precision``.

    Args:
        litert: for LiteRT's tool, not TFLite's.
        npu: values of NPU_FLAGS.

    Raises:
        UsageError: a delegate that the tool has not, or that cannot compute in that precision; an
            NPU without its libraries, or their settings without an NPU.
    """
    if delegate not in DELEGATES:
        raise UsageError(f"delegate is {delegate!r}; expected one of {', '.join(DELEGATES)}")
    known, halves = (_LITERT, _LITERT_HALF) if litert else (_TFLITE, _TFLITE_HALF)
    here, other = ("LiteRT's", "TFLite's") if litert else ("TFLite's", "LiteRT's")
    if delegate not in known:
        raise UsageError(
            f"this is {here} benchmark_model, which has no delegate {delegate!r}; expected one of "
            f"{', '.join(known)}, or give {other} with --benchmark-model PATH"
        )
    if npu and delegate != "NPU":
        raise UsageError(f"{next(iter(npu))} is for delegate=NPU; the delegate is {delegate!r}")
    if delegate == "NPU" and not npu.get("dispatch_library_path"):
        raise UsageError(
            "delegate 'NPU' needs dispatch_library_path: the folder on the phone that holds "
            "libLiteRtDispatch_*.so of its maker"
        )
    half = precision == "float16"
    if half and (delegate, True) not in halves:
        able = ", ".join(name for name, on in halves if on)
        raise UsageError(
            f"delegate {delegate!r} of {here} benchmark_model does not compute in float16; "
            f"expected {able}"
        )
    libraries = tuple(f"--{name}={value}" for name, value in sorted(npu.items()))
    return known[delegate] + halves.get((delegate, half), ()) + libraries


def command_line(
    model: str,
    *,
    threads: int,
    measure_s: float,
    warmup_s: float,
    limit_s: float,
    flags: Sequence[str] = (),
    tool: str = "./benchmark_model",
    libraries: str = "",
) -> str:
    """One run of the tool: at least 10 timed runs and ``measure_s``, stopped after ``limit_s``.

    Args:
        libraries: a folder on the phone whose libraries are found, by its signal processor too.
    """
    paths = [f"{name}={libraries}" for name in ("LD_LIBRARY_PATH", "ADSP_LIBRARY_PATH")]
    return quote(
        *(["env", *paths] if libraries else []),
        tool,
        f"--graph={model}",
        f"--num_threads={threads}",
        "--num_runs=10",
        f"--min_secs={measure_s:g}",
        "--warmup_runs=1",
        f"--warmup_min_secs={warmup_s:g}",
        f"--max_secs={limit_s:g}",
        *flags,
    )


def check_run(text: str, code: int, *, delegate: str = "XNNPACK") -> None:
    """Raise where a run did not do what its command line asked.

    Raises:
        DeviceError: it warned of a flag it does not know; every run would be wrong the same way.
        WorkloadError: it failed on this model, or the delegate took none of it.
    """
    if unknown := _UNKNOWN.search(text):
        raise DeviceError(
            f"benchmark_model does not know {unknown[1].strip()} and went on without; "
            "give a newer one with --benchmark-model PATH, or leave that setting away"
        )
    if code:
        raise WorkloadError(f"benchmark_model exited with {code}: {_said(text)}")
    if delegate not in ("XNNPACK", "none") and (unused := _UNUSED.search(text)):
        raise WorkloadError(f"the {unused[1]} delegate takes none of this model")


def parse_run(text: str, code: int, *, delegate: str = "XNNPACK", litert: bool = False) -> ToolRun:
    """What one run printed, as any version of TFLite's tool prints it, or LiteRT's.

    Raises:
        DeviceError, WorkloadError: as check_run; WorkloadError too where the mean is 0 us.
        ProtocolError: it ended well and yet did not print its figures.
    """
    check_run(text, code, delegate=delegate)
    lines = [line for line in text.splitlines() if line.strip()]
    stats = [found for line in lines if (found := _STATS.search(line))]
    averages = [float(found[1]) for line in lines if (found := _AVERAGE.search(line))]
    if litert and stats:
        averages = _mean(stats[-1][2])
    if len(stats) < 2 or not averages:
        raise ProtocolError(
            f"benchmark_model's output ends early ({_tail(text)!r}); expected warm-up figures, "
            "run figures and their mean; is the binary for another system?"
        )
    return _figures(int(stats[-1][1]), stats[-1][2], averages[-1])


def parse_memory(text: str) -> float | None:
    """Bytes by which the resident memory of a run rose at its peak; None where it printed none."""
    found = _FOOTPRINT.search(text)
    return float(found[1]) * 1024 * 1024 if found else None  # what it calls MB


def _mean(rest: str) -> list[float]:
    """The mean in a line of figures that is whole, which ends in the last percentile."""
    named = dict(_FIELD.findall(rest))
    if "p95" not in named:
        return []
    return [float(named[key]) for key in ("avg", "curr") if key in named][:1]


def _figures(count: int, rest: str, mean_us: float) -> ToolRun:
    named = {name: float(value) for name, value in _FIELD.findall(rest)}
    same = named.get("curr", mean_us)  # "count=50 curr=12(all same)" prints nothing else
    percentiles = "median" in named
    keys = ("p5", "median", "p95") if percentiles else ("min", "avg", "max")
    low, middle, high = (named.get(key, same) for key in keys)
    if count < 1 or mean_us <= 0 or low < 0:
        raise WorkloadError(
            f"benchmark_model timed {count} runs at {mean_us:g} us on average and {low:g} us at "
            "the least; expected more than 0"
        )
    return ToolRun(count, mean_us, low, middle, high, percentiles)


def _said(text: str) -> str:
    """The line that says what went wrong, or the last one."""
    for line in text.splitlines():
        if found := _ERROR.search(line.strip()):
            return " ".join((found[1] or found[2]).split())[:200]
    return _tail(text)


def _tail(text: str) -> str:
    return " ".join(text.split())[-120:]
