"""A workload from its fields, as tables and files keep it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from latprof.errors import UsageError
from latprof.workloads._attention import Attention
from latprof.workloads._conv2d import Conv2d
from latprof.workloads._elementwise import Elementwise
from latprof.workloads._matmul import MatMul
from latprof.workloads._pool import Pool
from latprof.workloads._workload import Workload

__all__ = ["KINDS", "workload_from_dict"]

#: Every kind of workload, by its name.
KINDS: dict[str, type[Workload]] = {
    c.kind: c for c in (Conv2d, MatMul, Elementwise, Pool, Attention)
}


def workload_from_dict(data: Mapping[str, Any]) -> Workload:
    """Inverse of ``Workload.to_dict``.

    Raises:
        UsageError: unknown kind, or fields that are not the kind's.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise UsageError(f"workload kind is {kind!r}; expected one of {', '.join(KINDS)}")
    try:
        return KINDS[kind](**fields)
    except TypeError as exc:
        names = ", ".join(f.name for f in dataclasses.fields(KINDS[kind]))
        raise UsageError(f"{kind}: fields are {sorted(fields)}; expected {names}") from exc
