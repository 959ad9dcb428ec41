"""Latency of blocks, as Once-for-All and ProxylessNAS publish it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from latprof.errors import MissingExtraError, TableError, UsageError
from latprof.tables._table import LatencyTable
from latprof.tables.formats._collect import Collected
from latprof.tables.formats._published import require_dtype
from latprof.tables.formats._text import read_text
from latprof.vocabulary import Target
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = ["import_ofa"]

_SHAPE = re.compile(r"[0-9]{1,9}(x[0-9]{1,9})*", re.ASCII)

#: Squeeze-excite has a quarter of the block's channels, rounded to multiples of this.
_SQUEEZED, _MULTIPLE = 4, 8


def import_ofa(path: Path, target: Target, *, dtype: str = "float32") -> LatencyTable:
    """YAML, one entry for each block, in milliseconds:

        Conv-input:224x224x3-output:112x112x32: {mean: 11.3}
        expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:5-stride:2-idskip:0:
          mean: 10.2

    ``Conv`` is a 3x3 and ``Conv_1``, ``Conv_2`` are 1x1 convolutions: rows of one op.
    ``expanded_conv`` (1x1, depthwise, squeeze-excite with ``se:1``, 1x1, and the sum with
    ``idskip:1``) and ``Logits`` on a map become whole models of their ops, which calibrate a
    prediction. ``expand`` is a ratio where it is less than the input channels, else a count.
    Activations count as part of the convolution before them. Other entries are counted and
    left out.

    Args:
        dtype: of the numbers, which the file does not name.

    Raises:
        TableError: it is not such a file; names the line. MissingExtraError: no PyYAML.
    """
    require_dtype(dtype)
    found = Collected(path)
    for line, key, milliseconds in _entries(path):
        try:
            workloads = tuple(w.with_dtype(dtype) for w in _workloads(key))
        except (KeyError, IndexError, ValueError, UsageError) as exc:
            found.faults.append((line, f"{key[:80]}: {exc!r}"))
            continue
        if not workloads:
            found.leave_out([line], f"the block {key.split('-')[0]} is no workload")
        elif len(workloads) == 1:
            found.add(line, workloads[0], milliseconds * 1e-3)
        else:
            found.add_model(line, key, workloads, milliseconds * 1e-3)
    return found.table(target)


def _workloads(key: str) -> list[Workload]:
    kind, *parts = key.split("-")
    fields = dict(part.split(":", 1) for part in parts)
    h, w, c_in = _shape(fields["input"], 3)
    if kind in ("Conv", "Conv_1", "Conv_2"):
        h_out, _, c_out = _shape(fields["output"], 3)
        return [Conv2d(h, w, c_in, c_out, 3 if kind == "Conv" else 1, -(-h // h_out))]
    if kind == "Logits":
        classes = _shape(fields["output"], 1)[-1]
        pool: list[Workload] = [Pool("global_avg", h, w, c_in)] if h * w > 1 else []
        return [*pool, MatMul(1, c_in, classes)]
    if kind != "expanded_conv":
        return []
    h_out, w_out, c_out = _shape(fields["output"], 3)
    expand, stride = int(fields["expand"]), int(fields["stride"])
    inner = expand * c_in if expand < c_in else expand
    ops: list[Workload] = [Conv2d(h, w, c_in, inner)] if inner != c_in else []
    ops.append(Conv2d(h, w, inner, inner, int(fields["kernel"]), stride, inner))
    if fields.get("se") == "1":
        ops += _squeeze_excite(h_out, w_out, inner)
    ops.append(Conv2d(h_out, w_out, inner, c_out))
    if fields["idskip"] == "1":
        ops.append(Elementwise("add", h_out, w_out, c_out))
    return ops


def _squeeze_excite(h: int, w: int, channels: int) -> list[Workload]:
    wanted = channels // _SQUEEZED
    inner = max(_MULTIPLE, (wanted + _MULTIPLE // 2) // _MULTIPLE * _MULTIPLE)
    inner += _MULTIPLE if inner < 0.9 * wanted else 0
    return [
        Pool("global_avg", h, w, channels),
        Conv2d(1, 1, channels, inner),
        Conv2d(1, 1, inner, channels),
        Elementwise("scale", h, w, channels),
    ]


def _shape(text: str, at_least: int) -> list[int]:
    if not _SHAPE.fullmatch(text):
        raise ValueError(f"a shape is {text!r}; expected sizes like 112x112x16")
    found = [int(size) for size in text.split("x")]
    if len(found) < at_least:
        raise ValueError(f"a shape is {text!r}; expected {at_least} sizes")
    return found


def _entries(path: Path) -> Iterator[tuple[int, str, float]]:
    """(line, key, milliseconds) of each entry; a repeated key comes again."""
    try:
        import yaml
    except ImportError as exc:
        raise MissingExtraError("PyYAML", "formats", "a table in YAML") from exc
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(read_text(path), Loader=loader)
    except (yaml.YAMLError, RecursionError) as exc:
        raise TableError(f"{path}: is no YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(root, yaml.MappingNode):
        raise TableError(f"{path}: expected a YAML mapping from blocks to latencies")
    for key, value in root.value:
        line = key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            means = [v for k, v in value.value if k.value == "mean"]
            value = means[-1] if means else value
        try:
            yield line, str(key.value), float(value.value)
        except (TypeError, ValueError):
            raise TableError(
                f"{path}: line {line} is {str(key.value)[:60]!r} without a latency; expected "
                "{mean: milliseconds}"
            ) from None
