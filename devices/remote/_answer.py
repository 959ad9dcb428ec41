"""One answer of an agent, field by field: what is not as agreed is a ProtocolError."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from latprof.devices._op_profile import OpProfile, OpTime
from latprof.devices._usage import Usage
from latprof.errors import ProtocolError, WorkloadError

__all__ = ["Answer"]

#: An agent keeps 40 samples of a timing; nobody needs more than this.
_MAX_SAMPLES = 10_000


class Answer:
    """The fields of an answer to ``op`` of the device ``name``."""

    def __init__(self, name: str, op: str, fields: Mapping[str, Any]) -> None:
        self._name, self._op = name, op
        #: Everything but the protocol's own.
        self.fields = {key: fields[key] for key in fields if key not in ("ok", "request")}

    def number(self, key: str, *, at_most: float = math.inf) -> float:
        value = self.fields.get(key)
        if not _finite(value) or not 0 <= value <= at_most:  # type: ignore[operator]
            raise self._wrong(key, "a finite number of at least 0" if at_most == math.inf else
                              f"a number from 0 to {at_most:g}")  # fmt: skip
        return float(value)  # type: ignore[arg-type]

    def samples(self, key: str) -> tuple[float, ...]:
        values = self.fields.get(key)
        if (
            not isinstance(values, list)
            or not 0 < len(values) <= _MAX_SAMPLES
            or not all(_finite(value) and value > 0 for value in values)
        ):
            raise self._wrong(key, "finite seconds, more than 0")
        return tuple(map(float, values))

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "text")
        return value

    def op_profile(self) -> OpProfile:
        """Of an answer to ``profile``."""
        expected = "ops with name, op, provider and seconds, in a list"
        ops = self.fields.get("ops")
        if not isinstance(ops, list) or not ops:
            raise self._wrong("ops", expected)
        try:
            times = tuple(OpTime(**op) for op in ops)
        except (TypeError, WorkloadError) as exc:
            raise self._wrong("ops", expected) from exc
        try:
            graph = base64.b64decode(self.text("graph"), validate=True)
        except ValueError as exc:
            raise self._wrong("graph", "base64") from exc
        share = self.number("core_share", at_most=1.0)
        return OpProfile(times, self.number("whole_s"), graph, share)

    def usage(self) -> Usage:
        """Of an answer to ``usage``."""
        missing = self.mapping("missing")
        keys = ("memory_bytes", "arena_bytes", "energy_j")
        try:
            return Usage(**{key: self.fields.get(key) for key in keys}, missing=missing)
        except WorkloadError as exc:
            raise self._wrong("missing", "a reason for each figure that is none") from exc

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.fields.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "names with values")
        return value

    def _wrong(self, key: str, expected: str) -> ProtocolError:
        got = repr(self.fields[key])[:80] if key in self.fields else "missing"
        return ProtocolError(
            f"{self._name}: {key} in the answer to {self._op} is {got}; expected {expected}"
        )


def _finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
