"""What is logged stands in a real event file, read back record by record."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.training import plain_compressor

pytest.importorskip("tensorboardX", reason="pip install 'latprof[tensorboard]'")

from tensorboardX.proto.event_pb2 import Event

from latprof.integrations import TensorBoard

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
    found: dict[str, dict[int, float]] = {}
    for path in folder.glob("events.*"):
        for event in events(path):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_scalars_are_read_back(tmp_path: Path) -> None:
    comp = plain_compressor()
    with TensorBoard(tmp_path / "board") as board:
        for step in (1, 2, 3):
            board.log(step, comp, loss=1.0 / step)
    found = scalars_in(tmp_path / "board")
    assert set(found) == {
        "loss",
        "latprof/latency_s",
        "latprof/budget_s",
        "latprof/strength",
        "latprof/channels",
    }
    assert found["loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert found["latprof/channels"][3] == sum(comp.counts())
    assert found["latprof/latency_s"][2] == pytest.approx(comp.latency_s(), rel=1e-6)
    assert math.isclose(found["latprof/budget_s"][1], comp.budget_s, rel_tol=1e-6)
