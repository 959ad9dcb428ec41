"""Data by name: what its rows are, that they are the same in each run, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support.own_data import photos, sentences, tiny_bert

from latprof.compress import DatasetBatches
from latprof.data import (
    DataSource,
    ImageSettings,
    ImageTransform,
    TextSettings,
    check_labels,
    load_data,
)
from latprof.errors import TrainingError, UsageError

Image = pytest.importorskip("PIL.Image", reason="pip install 'latprof[data]'")
SIZE = (3, 16, 24)


def loaded(tmp_path: Path, **keys: Any) -> tuple[Any, Any, Any]:
    return load_data(DataSource(folder=tmp_path, **keys), SIZE)


def test_a_folder_of_classes_is_split_alike_each_time(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    train, test, _ = loaded(tmp_path, train="folder:photos")
    assert (len(train), len(test)) == (54, 6)
    image, label = train[0]
    assert image.shape == SIZE
    assert image.dtype == torch.float32
    assert label.dtype == torch.int64
    again = loaded(tmp_path, train="folder:photos")[1]
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(test, again, strict=True))
    epochs = [next(iter(DatasetBatches(train, 8).epoch(1)))[0] for _ in range(2)]
    assert torch.equal(*epochs)  # crops and flips follow from the seed


def test_folders_of_train_and_test_are_used_as_such(tmp_path: Path) -> None:
    photos(tmp_path / "photos/train", each=4)
    photos(tmp_path / "photos/val", each=2)
    photos(tmp_path / "others", each=1)
    train, test, _ = loaded(tmp_path, train="folder:photos")
    assert (len(train), len(test)) == (12, 6)
    assert len(loaded(tmp_path, train="folder:photos", test="folder:others")[1]) == 3


def test_a_transform_keeps_the_middle_and_the_shape() -> None:
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[10:30] = 255  # white in the middle, black above and below
    plain = ImageSettings(mean=(0.0,) * 3, std=(1.0,) * 3, min_area=1.0, flip=False)
    middle = ImageTransform((3, 8, 8), plain)(Image.fromarray(pixels))
    assert float(middle.mean()) == pytest.approx(1.0, abs=0.05)
    whole = ImageTransform((3, 8, 8), plain, training=True)(Image.fromarray(pixels))
    assert float(whole.mean()) == pytest.approx(0.5, abs=0.05)
    gray = ImageTransform((1, 8, 8), ImageSettings())(Image.fromarray(pixels))
    assert gray.shape == (1, 8, 8)
    with pytest.raises(UsageError, match="takes 4 channels; images have 1 or 3"):
        ImageTransform((4, 8, 8), ImageSettings())
    with pytest.raises(UsageError, match="mean has 2 numbers; expected 3"):
        ImageTransform((3, 8, 8), ImageSettings(mean=(0.0, 0.1)))
    with pytest.raises(UsageError, match="min_area is 2"):
        ImageSettings(min_area=2.0)


def test_images_in_a_table_are_decoded_as_they_are_needed(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="pip install 'latprof[data]'")
    photos(tmp_path / "photos", each=4)
    files = sorted((tmp_path / "photos").rglob("*.png"))
    rows = {"img": [{"bytes": f.read_bytes(), "path": None} for f in files], "label": [0, 1, 2] * 4}
    rows["img"][7]["bytes"] = b"no image"
    pd.DataFrame(rows).to_parquet(tmp_path / "p.parquet")
    train, _, _ = loaded(tmp_path, train="parquet:p.parquet", test="parquet:p.parquet")
    assert train[0][0].shape == SIZE
    with pytest.raises(TrainingError, match=r"parquet:p.parquet: row 7 does not load \(Unident"):
        train[7]


def test_sentences_are_tokens_as_long_as_the_longest_of_their_batch(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="pip install 'latprof[data]'")
    pytest.importorskip("transformers", reason="pip install 'latprof[models]'")
    tiny_bert(tmp_path / "bert")
    sentences(tmp_path / "t.csv")
    source = DataSource("csv:t.csv", text=TextSettings("bert", 12), folder=tmp_path)
    train, test, example = load_data(source, None, batch=8)
    assert {name: tuple(t.shape) for name, t in example.items()}["input_ids"] == (1, 12)
    batch = next(iter(train))
    assert set(batch) >= {"input_ids", "attention_mask", "labels"}
    longest = int(batch["attention_mask"].sum(1).max())
    assert batch["input_ids"].shape == (8, longest)
    assert longest <= 12
    assert len(test.dataset) == 6


def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="pip install 'latprof[data]'")
    photos(tmp_path / "photos", each=1)
    sentences(tmp_path / "t.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text("{")
    for keys, says in (
        ({"train": "folder:nowhere"}, "no such folder"),
        ({"train": "folder:empty"}, "has 0 folders and 0 images; expected one folder"),
        ({"train": "csv:nowhere.csv"}, "no such file"),
        ({"train": "json:broken.json"}, "data json:broken.json cannot be read"),
        ({"train": "csv:t.csv", "columns": {"text": "text"}}, "no column 'text' for text; it has"),
        ({"train": "csv:t.csv", "columns": {"label": "y"}}, "no column 'y' for label; it has"),
        ({"train": "tsv:t.csv"}, "data is 'tsv:t.csv'; expected one of folder:"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            loaded(tmp_path, **keys)
        assert "\n" not in str(caught.value)


def test_labels_without_an_output_are_named_by_row(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="pip install 'latprof[data]'")
    photos(tmp_path / "photos", each=2)
    train, _, _ = loaded(tmp_path, train="folder:photos")
    check_labels(train, 3, "photos")
    with pytest.raises(UsageError, match=r"row 4 has label 2; expected 0 to 1.* classes = 3"):
        check_labels(train, 2, "photos")
    frame = pd.DataFrame({"image": ["a.png"] * 3, "label": ["cat", "dog", "cow"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.replace("cow", "owl").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UsageError, match="row 2 has label 'owl'; the training data has cat, cow"):
        loaded(tmp_path, train="csv:a.csv", test="csv:b.csv")
    pd.DataFrame({"image": ["a.png"] * 3, "label": [0, 1, 0.5]}).to_csv(
        tmp_path / "c.csv", index=False
    )
    with pytest.raises(UsageError, match=r"row 0 has label 0.0; expected a whole number"):
        loaded(tmp_path, train="csv:c.csv")
    assert loaded(tmp_path, train="csv:c.csv", regression=True)[0].labels.dtype == np.float32
