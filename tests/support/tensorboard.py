"""TensorBoard's event files, read back record by record."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tensorboardX", reason="pip install 'latprof[tensorboard]'")

from tensorboardX.proto.event_pb2 import Event

__all__ = ["scalars_in"]


def events(path: Path) -> Iterator[Event]:
    """Records of length (8 bytes), its checksum (4), the event, its checksum (4)."""
    body = path.read_bytes()
    while body:
        (size,) = struct.unpack("<Q", body[:8])
        yield Event.FromString(body[12 : 12 + size])
        body = body[16 + size :]


def scalars_in(folder: Path) -> dict[str, dict[int, float]]:
    """{tag: {step: value}} of every event file in the folder."""
    scalars: dict[str, dict[int, float]] = {}
    for path in folder.glob("events.*"):
        for event in events(path):
            for value in event.summary.value:
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars
