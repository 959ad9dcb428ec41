"""``profile``: measure a model's ops on devices into latency tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from latprof.devices import Device, Event, mostly_failed, open_device
from latprof.errors import UsageError
from latprof.models import at_batch, model_workloads
from latprof.pipeline._fit import loaded
from latprof.pipeline.into import profile_into, profile_many_into
from latprof.tables import LatencyTable
from latprof.vocabulary import STATUSES, Target, format_s

__all__ = ["ProfileResult", "profile"]

#: Shapes of a table that stands alone, and of one that leans on another target's.
_SHAPES, _FROM_DONORS = 200, 10
#: Runtimes and delegates with products of weights of few bits.
_FEW_BITS = (
    ("onnxruntime", "CPUExecutionProvider"),
    ("tflite", "XNNPACK"),
    ("tflite", "none"),
    ("fake", ""),
)
#: Runtimes and precisions with products that skip zeros; which GPUs have them, their agents say.
_PATTERNS = (("torch", "float16"), ("fake", "float32"))


@dataclass(frozen=True)
class ProfileResult:
    """One table that a profile wrote.

    Args:
        path: of the table.
        table: its contents.
    """

    path: Path
    table: LatencyTable

    @property
    def target(self) -> Target:
        return self.table.target

    @property
    def status(self) -> dict[str, int]:
        """{status: rows of that status}."""
        rows = self.table.measurements
        return {name: sum(m.status == name for m in rows) for name in STATUSES}

    @property
    def mostly_failed(self) -> bool:
        """Whether more than half of the rows hold no figure."""
        return mostly_failed(self.table.measurements)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "table": str(self.path),
            "target": self.target.to_dict(),
            "shapes": len(self.table),
            "status": self.status,
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.status.items() if n)
        total_s = sum(m.latency_s for m in self.table.usable)
        return (
            f"{self.path}: {len(self.table)} shapes of {self.target} ({counts}), "
            f"{format_s(total_s)} in sum"
        )


def profile(
    devices: str | Sequence[str],
    model: str,
    out: str | Path,
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    batch: int | Sequence[int] = 1,
    seq: int | Sequence[int] = (),
    decode: int | Sequence[int] = (),
    shapes: int | None = None,
    donors: Sequence[str | Path | LatencyTable] = (),
    method: str = "spread",
    target_error: float | None = None,
    seed: int = 0,
    theta: int | None = None,
    bits: Sequence[int] = (),
    patterns: Sequence[str] = (),
    inputs: Mapping[str, Sequence[int]] = MappingProxyType({}),
    trust: bool = False,
    on_target: Callable[[str, Target], None] = lambda device, target: None,
    on_note: Callable[[str], None] = lambda text: None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> list[ProfileResult]:
    """Measure the ops of ``model`` on devices into a table per target.

    The same call continues where it was stopped, and adds to a table of the same target. Devices
    of one target share the shapes; each other target gets a table named after its device.

    Args:
        devices: ``local``, ``cuda:0``, ``ssh:HOST``, ``ssh:HOST/cuda:0``, ``adb:SERIAL``,
            ``fake``; one or several.
        model: MODEL string: a file (.onnx, .tflite, .pt2), ``zoo:NAME``, ``timm:NAME``,
            ``torchvision:NAME``, ``transformers:NAME`` or ``package.module:callable``.
        out: table to write or continue.
        runtime: ``onnxruntime``, ``tflite``, ``torch`` or ``cuda``.
        threads: of the runtime.
        batch: inputs at once; several share the shapes and the table.
        seq: tokens of each input, of a model that takes tokens; several share the shapes and the
            table. By default those of its example inputs.
        decode: of a causal language model also the step that makes the last of so many tokens.
        shapes: to measure at most; by default 200, or 10 with donors.
        donors: tables of other targets, or their paths. The first one's fit chooses the few shapes
            that tell most of how the devices differ; the table keeps the donors, and ``fit`` moves
            them to what was measured.
        method: how shapes are chosen: ``spread``, ``paper``, ``grid``, or ``adaptive``, which
            chooses by what is measured so far.
        target_error: with ``adaptive``: stop at this held-out error, as in 0.03.
        seed: of the choice of shapes.
        theta: with ``paper``: how many of the largest counts of each axis are all measured, as far
            as ``shapes`` reach; by default half of each axis' points.
        bits: of 2, 4 and 8: linear layers are measured with weights of so many bits too, in up to
            45% more shapes.
        patterns: ``2:4``: linear layers are measured with two of four weights too, and with all of
            them, in up to 45% more shapes (torch, an NVIDIA GPU of compute capability 8.0 or later,
            ``precision="float16"``).
        inputs: {name: shape} of inputs whose dims a file leaves open.
        trust: load a ``.pt2`` file whatever it holds; it can run any code.
        on_target: called with each device and its target once it is open.
        on_note: called with what is in no workload, and so in no row.
        on_event: called as measuring goes on.
        settings: of the device or the runtime, by name.

    Returns:
        one result per table, in the order of ``devices``.

    Raises:
        UsageError: a bad argument. TargetMismatchError: a donor is of a device's own target.
        DeviceError, ModelLoadError, TableError: as they say.

    Example:
        >>> (result,) = latprof.profile("local", "zoo:resnet18", "local.parquet")  # doctest: +SKIP
        >>> result.table.usable[0].latency_s                                       # doctest: +SKIP
        4.1e-05
    """
    names = [devices] if isinstance(devices, str) else list(devices)
    if len(names) > 1 and target_error is not None:
        raise UsageError("target_error takes one device; expected one, or no target_error")
    sizes, lengths, steps = (
        list(dict.fromkeys([given] if isinstance(given, int) else given))
        for given in (batch, seq, decode)
    )
    given = list(map(loaded, donors))
    n_shapes = shapes if shapes is not None else _FROM_DONORS if given else _SHAPES
    plan: dict[str, Any] = {"n_shapes": n_shapes, "method": method, "seed": seed, "theta": theta}
    plan |= {"bits": tuple(bits), "patterns": tuple(patterns), "donors": given}
    if theta is not None and method != "paper":
        raise UsageError(f"theta is {theta} with method {method}; expected method paper")
    with contextlib.ExitStack() as stack:
        opened: list[tuple[str, Device]] = []
        for name in names:
            device = open_device(name, runtime=runtime, threads=threads, **settings)
            opened.append((name, stack.enter_context(device)))
            on_target(name, opened[-1][1].target)
            if bits:
                _check_bits(name, opened[-1][1].target)
            if patterns:
                _check_patterns(name, opened[-1][1].target)
        asked: list[int | None] = [*lengths] or [None]
        wholes = [model_workloads(model, inputs=inputs, trust=trust, seq=n) for n in asked]
        wholes += [model_workloads(model, inputs=inputs, trust=trust, decode=n) for n in steps]
        for note in dict.fromkeys(whole.note for whole in wholes if whole.note):
            on_note(note)
        workloads = [w for whole in wholes for one in sizes for w in at_batch(whole, one)]
        path = Path(out)
        if len(opened) > 1:
            tables = profile_many_into(path, opened, workloads, on_event=on_event, **plan)
            return [ProfileResult(where, table) for where, table in tables.items()]
        ((_, device),) = opened
        table = profile_into(
            path, device, workloads, target_error=target_error, on_event=on_event, **plan
        )
        return [ProfileResult(path, table)]


def _check_bits(name: str, target: Target) -> None:
    """Refuse a runtime that has no products of weights of few bits."""
    if (target.runtime, target.delegate) in _FEW_BITS:
        return
    runs = f"{target.runtime} ({target.delegate})" if target.delegate else target.runtime
    raise UsageError(
        f"bits are measured by ONNX Runtime and LiteRT on a CPU, and {name} runs {runs}"
    )


def _check_patterns(name: str, target: Target) -> None:
    """Refuse a target that multiplies zeros like any other weight."""
    if (target.runtime, target.precision) not in _PATTERNS:
        raise UsageError(
            "patterns are measured by torch on an NVIDIA GPU with precision=float16, and "
            f"{name} runs {target.runtime} in {target.precision}"
        )
