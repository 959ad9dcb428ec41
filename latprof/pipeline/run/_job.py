"""All that a run needs, loaded: from a RUN.toml, or as Python gives it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from latprof.compress import Batches, Task
from latprof.compress.train import as_batches, held_out_batches
from latprof.data import check_labels, load_data
from latprof.errors import UsageError
from latprof.models import is_named, load_model, load_weights, outputs_of
from latprof.pipeline.run._run_file import RunFile
from latprof.tables import LatencyTable
from latprof.vocabulary import load_callable

__all__ = ["Job"]

#: Libraries that publish weights for the architectures they name.
_PUBLISHERS = ("timm:", "torchvision:")


@dataclass(frozen=True)
class Job:
    """A run with its model and data.

    Args:
        config: what is asked for.
        table: of the target.
        model, example_inputs: at full size.
        batches: to train with.
        test: (inputs, labels), a Dataset or a DataLoader.
        task: what is trained for.
        note: what a user should know of the weights; may be empty.
        held_out: as ``test``, what a search judges on; None: a part of other data.
    """

    config: RunFile
    table: LatencyTable
    model: nn.Module
    example_inputs: Any
    batches: Batches
    test: Any
    task: Task
    note: str = ""
    held_out: Any = None

    @classmethod
    def load(cls, config: RunFile) -> Self:
        """Load what a RUN.toml names.

        Raises:
            LatprofError: the first thing that cannot be loaded, in one line.
        """
        table = LatencyTable.load(config.table)
        task = config.task.resolve(config.folder)
        has_published = config.model.startswith(_PUBLISHERS)
        model, inputs, _ = load_model(
            config.model,
            folder=config.folder,
            classes=config.classes,
            published=has_published and config.is_published,
        )
        if config.weights == "published" and not has_published:
            raise UsageError(
                f"weights is published, and MODEL {config.model} is of no library that publishes "
                "some; leave it out, or give a file"
            )
        note = "the weights are random, as asked for" if config.weights == "random" else ""
        if config.weights is not None and not isinstance(config.weights, str):
            load_weights(model, config.weights)
        held_out = None
        if config.source is None:
            batches, test, held_out = _called(config)
        else:
            batches, test, text = _named(config, model, inputs)
            inputs = inputs if text is None else text
        return cls(config, table, model, inputs, batches, test, task, note, held_out)

    @classmethod
    def of(
        cls,
        config: RunFile,
        model: nn.Module,
        example_inputs: Any,
        train: Any,
        test: Any,
        held_out: Any = None,
    ) -> Self:
        """With the model and data that Python gives.

        Raises:
            UsageError: the data is none.
        """
        task = config.task.resolve(config.folder)
        data = (train, test) if held_out is None else (train, test, held_out)
        batches, test, held_out = _checked("train and test", data, config)
        table = LatencyTable.load(config.table)
        inputs = example_inputs
        return cls(config, table, model.eval(), inputs, batches, test, task, held_out=held_out)

    def asked(self) -> dict[str, str]:
        """What the outcome follows from beside settings, weights and target."""
        config, test = self.config, self.test
        if isinstance(test, tuple) and all(isinstance(part, Tensor) for part in test):
            content = hashlib.sha256()
            for tensor in test:
                content.update(tensor.contiguous().numpy().tobytes())
            held = content.hexdigest()
        else:
            held = f"{self.test_rows} rows"
        source = {} if config.source is None else {"data keys": repr(_keys(config))}
        return {
            "model": config.model,
            "data": config.data,
            "data content": f"{len(self.batches)} batches, test set {held}",
            "table": hashlib.sha256(config.table.read_bytes()).hexdigest(),
            "device": config.device,
            **source,
            **config.task.to_text(),
        }

    @property
    def source(self) -> dict[str, Any]:
        """How ``load_shrunk`` builds the original: its MODEL where a library has it by name."""
        model = self.config.model if is_named(self.config.model) else None
        return {"model": model, "classes": self.config.classes}

    @property
    def test_rows(self) -> int:
        """Rows of the test data."""
        if isinstance(self.test, tuple):
            return len(self.test[1])
        return len(getattr(self.test, "dataset", self.test))


def _keys(config: RunFile) -> Any:
    """The keys of the data, wherever the run file lies."""
    assert config.source is not None
    return replace(config.source, folder=Path())


def _named(config: RunFile, model: nn.Module, inputs: Any) -> tuple[Batches, Any, Any]:
    """Data by name; of text also example inputs."""
    assert config.source is not None
    source = config.source
    size = _image_size(inputs)
    published = getattr(model, "pretrained_cfg", None) or {}
    if size is not None and isinstance(published, dict) and not source.images.mean:
        images = source.images
        own = [tuple(published.get(k) or getattr(images, k)) for k in ("mean", "std")]
        source = replace(source, images=replace(images, mean=own[0], std=own[1]))
    named = config.model.partition(":")[2] if config.model.startswith("transformers:") else ""
    local = config.folder / named
    tokenizer = str(local) if named and local.is_dir() else named
    train, test, text = load_data(source, size, tokenizer, batch=config.settings.batch)
    if not source.regression:
        outputs = outputs_of(model, inputs if text is None else text)
        check_labels(train, outputs, f"data {source.train}")
        check_labels(test, outputs, f"test data of {source.test or source.train}")
    batches, test, _ = _checked(f"data {config.data}", (train, test), config)
    return batches, test, text


def _image_size(inputs: Any) -> tuple[int, int, int] | None:
    values = list(inputs.values()) if isinstance(inputs, dict) else inputs
    first = values[0] if isinstance(values, (tuple, list)) and values else values
    is_image = isinstance(first, Tensor) and first.ndim == 4 and first.is_floating_point()
    return tuple(first.shape[1:]) if is_image else None


def _called(config: RunFile) -> tuple[Batches, Any, Any]:
    """(training batches, test data, held-out data or None) of a callable, checked before anything
    is trained.

    Raises:
        UsageError: it fails, or returns something else.
    """
    spec = config.data
    make = load_callable(spec, config.folder)
    try:
        made = make()
    except Exception as exc:
        raise UsageError(f"data {spec}: calling it fails: {type(exc).__name__}: {exc}") from exc
    return _checked(f"data {spec}", made, config)


def _checked(what: str, made: Any, config: RunFile) -> tuple[Batches, Any, Any]:
    try:
        train, test, held_out = made if len(made) == 3 else (*made, None)
        batches = as_batches(train, batch=config.settings.batch, seed=config.settings.seed)
        next(iter(batches.epoch(0)))
        for data in (test, held_out) if held_out is not None else (test,):
            next(iter(held_out_batches(data)))
        if len(batches) < 1:
            raise ValueError("no batch")
    except UsageError as exc:
        raise UsageError(f"{what}: {exc}") from exc
    except (TypeError, ValueError, AttributeError, StopIteration) as exc:
        raise UsageError(
            f"{what}: it returns something else ({type(exc).__name__}: {exc}); expected "
            "(training data, test data): each a torch Dataset or DataLoader, or batches with "
            "epoch(n) and a length, and (test inputs, labels); a third part is what keep judges on"
        ) from exc
    return batches, test, held_out
