"""Targets: what exactly was measured. Tables of different targets never merge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from latprof.errors import TableError, TargetMismatchError

__all__ = ["Target"]


@dataclass(frozen=True)
class Target:
    """Device identity + runtime + settings.

    Args:
        device: hardware identity as a person would name it, stable over reboots
            (``AMD EPYC, 2 cores``; ``NVIDIA H200``; ``Pixel 6/big``).
        runtime: ``onnxruntime``, ``tflite``, ``torch``, ``cuda`` or ``fake``.
        runtime_version: the version string the runtime itself reports.
        threads: intra-op threads.
        precision: what the arithmetic is done in.
        delegate: execution provider or delegate (``CPUExecutionProvider``, ``XNNPACK``).
        settings: further settings that change latency, sorted (name, value) pairs.
    """

    device: str
    runtime: str
    runtime_version: str
    threads: int = 1
    precision: str = "float32"
    delegate: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of to_dict. Raises TableError where fields are missing or unknown."""
        names = [f.name for f in dataclasses.fields(cls)]
        try:
            fields = dict(data)
            fields["settings"] = tuple(sorted(dict(fields.get("settings", {})).items()))
            target = cls(**fields)
        except (TypeError, ValueError) as exc:
            raise TableError(f"target is {data!r:.200}; expected {', '.join(names)}") from exc
        texts = ("device", "runtime", "runtime_version", "precision", "delegate")
        right = (
            all(isinstance(getattr(target, name), str) for name in texts)
            and type(target.threads) is int
            and all(isinstance(part, str) for pair in target.settings for part in pair)
        )
        if not right:
            raise TableError(f"target is {data!r:.200}; expected text, and whole threads")
        return target

    def __str__(self) -> str:
        parts = [f"{self.runtime} {self.runtime_version}", f"{self.threads} thread(s)"]
        parts += [p for p in (self.delegate, self.precision) if p]
        parts += [f"{name}={value}" for name, value in self.settings]
        return f"{self.device} [{', '.join(parts)}]"

    def difference_from(self, other: Target) -> str:
        """What this target has that the other has not, in a few words; empty where they are equal.

        target.difference_from(replace(target, threads=2))  # '1 thread(s)'
        """
        words, others = self._words(), other._words()
        changed = [text for name, text in words.items() if others.get(name) != text]
        return ", ".join(changed + [f"no {name}" for name in others if name not in words])

    def _words(self) -> dict[str, str]:
        """{field or setting: its value, as a person reads it}"""
        fields = {**self.to_dict(), "threads": f"{self.threads} thread(s)"}
        settings = fields.pop("settings")
        return fields | {name: f"{name}={value}" for name, value in settings.items()}

    def require(self, other: Target, what: str) -> None:
        """Raise TargetMismatchError unless ``other`` is this target, naming what differs."""
        expected, got = self.to_dict(), other.to_dict()
        differing = [
            f"{k} {got[k]!r} (expected {expected[k]!r})" for k in expected if expected[k] != got[k]
        ]
        if differing:
            raise TargetMismatchError(
                f"{what} is of another target: {'; '.join(differing)}; "
                "use that target's own table, or write to a new file with -o"
            )
