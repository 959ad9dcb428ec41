"""Checkpoints are read back whole, or refused in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from support.training import plain_compressor, task

from latprof.compress import TensorBatches, TrainSettings, train
from latprof.compress.train import load_state, save_state
from latprof.errors import UsageError

STATE = {"weights": torch.arange(12.0).reshape(3, 4), "step": 7, "nested": {"rate": 0.5}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_state(tmp_path / "masks.checkpoint", STATE)
    return tmp_path / "masks.checkpoint"


def test_what_is_written_is_read(path: Path) -> None:
    state = load_state(path)
    assert torch.equal(state["weights"], STATE["weights"])
    assert (state["step"], state["nested"]) == (7, {"rate": 0.5})
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing is left beside it


def test_no_mutation_is_read(path: Path) -> None:
    """Bits flipped, parts cut, bytes added, anywhere: always one line that says what to do."""
    body, generator = path.read_bytes(), random.Random(0)
    for _ in range(300):
        mutated = bytearray(body)
        place = generator.randrange(len(mutated))
        kind = generator.choice(["flip", "cut", "add", "swap"])
        if kind == "flip":
            mutated[place] ^= 1 << generator.randrange(8)
        elif kind == "cut":
            del mutated[place:]
        elif kind == "add":
            mutated[place:place] = generator.randbytes(5)
        else:
            mutated[place:] = mutated[place:][::-1]
        if mutated == body:
            continue
        path.write_bytes(mutated)
        with pytest.raises(UsageError, match=r"checkpoint .*delete it to begin anew") as caught:
            load_state(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is damaged or incomplete; delete it"),
        (b"not a checkpoint", "is damaged or incomplete; delete it"),
        (b"latprof-checkpoint 1 abc\n", "is damaged or incomplete; delete it"),
    ],
)
def test_other_files_are_refused(path: Path, body: bytes, says: str) -> None:
    path.write_bytes(body)
    with pytest.raises(UsageError, match=says):
        load_state(path)


def test_other_versions_are_named(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"checkpoint 1 ", b"checkpoint 2 ", 1))
    with pytest.raises(UsageError, match="has format 2, expected 1: another latprof wrote it"):
        load_state(path)
    torch.save(STATE, path)
    with pytest.raises(UsageError, match="is of an older format without a checksum; delete it"):
        load_state(path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "masks.checkpoint").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_state(tmp_path / "masks.checkpoint")


def test_an_empty_checkpoint_does_not_begin_a_training(tmp_path: Path) -> None:
    x, y = task(64)
    empty = tmp_path / "masks.checkpoint"
    empty.touch()
    with pytest.raises(UsageError, match="is damaged or incomplete"):
        train(
            plain_compressor(4),
            TensorBatches(x.view(-1, 16, 1, 1), y, 32),
            TrainSettings(2),
            checkpoint=empty,
        )
