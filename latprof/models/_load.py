"""MODEL strings: from what a user types to a module and its example inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress.graph import first_line
from latprof.errors import ModelLoadError
from latprof.models._head import Wanted, set_head
from latprof.models._pt2 import load_pt2
from latprof.models.onnx import load_onnx_module
from latprof.vocabulary import load_callable, load_object, require

__all__ = ["is_named", "load_model"]

_FORMS = (
    "package.module:callable, file.py:callable, FILE.pt2, FILE.onnx, torchvision:NAME, timm:NAME, "
    "transformers:NAME or zoo:NAME"
)


def load_model(
    spec: str,
    *,
    trust: bool = False,
    folder: Path | None = None,
    classes: int | None = None,
    published: bool = False,
) -> tuple[nn.Module, Any, str]:
    """(model in eval mode, example inputs, name) of a MODEL string.

    ``package.module:callable`` and ``file.py:callable`` run their code: the callable is called
    without arguments, and returns a module that has ``example_inputs``, or
    ``(module, example_inputs)``.

    Args:
        trust: load a ``.pt2`` file whatever it holds; it can run any code.
        folder: where files and modules are looked for first; the working directory by default.
        classes: outputs of its head; a head of another size becomes a new one of random weights.
        published: with the weights that timm or torchvision publishes for it, not random ones.

    Raises:
        ModelLoadError: it does not import, open or run.
        MissingExtraError: the package that a prefix names is not installed.
    """
    folder = folder or Path.cwd()
    if spec.endswith(".onnx"):
        return load_onnx_module(folder / spec if folder != Path.cwd() else Path(spec))
    if spec.endswith(".pt2"):
        return load_pt2(folder / spec if folder != Path.cwd() else Path(spec), trust=trust)
    prefix, _, name = spec.rpartition(":")
    if not prefix or not name:
        raise ModelLoadError(f"MODEL is {spec!r}; expected {_FORMS}")
    source = _SOURCES.get(spec.partition(":")[0])
    if source is not None:
        name = spec.partition(":")[2]
        model, inputs = source(name, Wanted(classes, published, folder))
    else:
        model, inputs = _called(spec, folder)
    if classes is not None:
        set_head(model, inputs, classes, spec)
    for part in model.modules():
        part.training = False
    return model, inputs, name


def is_named(spec: str) -> bool:
    """Whether a library builds this MODEL by its name, so that it is the same on every machine."""
    prefix, _, name = spec.partition(":")
    return prefix in _SOURCES and name.replace(".", "_" if prefix == "timm" else ".").isidentifier()


def _called(spec: str, folder: Path) -> tuple[nn.Module, Any]:
    try:
        found = load_object(spec, folder)
        if not callable(found) or isinstance(found, nn.Module):
            return _pair(found, spec)
        make = load_callable(spec, folder)
    except ModelLoadError as exc:
        raise ModelLoadError(f"MODEL {exc}") from exc
    try:
        made = make()
    except Exception as exc:
        raise ModelLoadError(f"MODEL {spec}: calling it fails: {first_line(exc)}") from exc
    return _pair(made, spec)


def _pair(made: Any, spec: str) -> tuple[nn.Module, Any]:
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made
    if not isinstance(made, nn.Module):
        raise ModelLoadError(
            f"MODEL {spec}: it gives {type(made).__name__}; expected a torch.nn.Module "
            "or (module, example_inputs)"
        )
    inputs = getattr(made, "example_inputs", None)
    if inputs is None:
        raise ModelLoadError(
            f"MODEL {spec}: no example inputs; return (module, example_inputs) or set "
            "module.example_inputs"
        )
    return made, inputs() if callable(inputs) else inputs


def _zoo(name: str, wanted: Wanted) -> tuple[nn.Module, Any]:
    from latprof import zoo

    if name not in zoo.MODELS:
        raise ModelLoadError(f"zoo has no {name!r}; it has {', '.join(zoo.MODELS)}")
    made: tuple[nn.Module, Any] = getattr(zoo, name)()
    return made


def _torchvision(name: str, wanted: Wanted) -> tuple[nn.Module, Any]:
    models = require("torchvision.models", extra="models", why=f"MODEL torchvision:{name}")
    try:
        builder = models.get_model_builder(name)
    except ValueError as exc:
        raise ModelLoadError(f"MODEL torchvision:{name}: {first_line(exc)}") from exc
    size = 299 if "inception" in name else 224
    if not wanted.published:
        return builder(weights=None), (torch.zeros(1, 3, size, size),)
    try:
        return builder(weights="DEFAULT"), (torch.zeros(1, 3, size, size),)
    except Exception as exc:
        raise _unpublished(f"torchvision:{name}", exc) from exc


def _timm(name: str, wanted: Wanted) -> tuple[nn.Module, Any]:
    timm = require("timm", extra="models", why=f"MODEL timm:{name}")
    try:
        head = {} if wanted.classes is None else {"num_classes": wanted.classes}
        model = timm.create_model(name, pretrained=False, **head)
        if wanted.published:
            try:
                model = timm.create_model(name, pretrained=True, **head)
            except Exception as exc:
                raise _unpublished(f"timm:{name}", exc) from exc
    except ModelLoadError:
        raise
    except Exception as exc:
        raise ModelLoadError(f"MODEL timm:{name}: {first_line(exc)}") from exc
    return model, (torch.zeros(1, *model.default_cfg.get("input_size", (3, 224, 224))),)


def _transformers(name: str, wanted: Wanted) -> tuple[nn.Module, Any]:
    """A class name for its default configuration, or a folder or cached name for its weights."""
    library = require("transformers", extra="models", why=f"MODEL transformers:{name}")
    kind: Any = getattr(library, name, None)  # a class, where NAME is one
    model: Any
    try:
        if callable(kind):
            head = {} if wanted.classes is None else {"num_labels": wanted.classes}
            model = kind(kind.config_class(**head))
        else:
            place = str(wanted.folder / name) if (wanted.folder / name).is_dir() else name
            model = _pretrained(library, place, wanted.classes)
    except Exception as exc:
        raise ModelLoadError(f"MODEL transformers:{name}: {first_line(exc)}") from exc
    model.config.use_cache = False
    try:
        inputs = dict(model.dummy_inputs)
    except Exception as exc:
        raise ModelLoadError(
            f"MODEL transformers:{name}: no example inputs: {first_line(exc)}"
        ) from exc
    main = getattr(model, "main_input_name", "input_ids")
    if main == "pixel_values":
        size = getattr(model.config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        channels = getattr(model.config, "num_channels", 3)
        inputs = {main: torch.zeros(1, channels, height, width)}
    elif main in inputs:
        inputs = {main: inputs[main][:1]}
    return model, inputs


def _pretrained(library: Any, place: str, classes: int | None) -> Any:
    """With a head of so many classes, where a number is given."""
    if classes is None:
        return library.AutoModel.from_pretrained(place)
    config = library.AutoConfig.from_pretrained(place)
    kind = "ImageClassification" if hasattr(config, "image_size") else "SequenceClassification"
    # That the head is new is what was asked for.
    level = library.logging.get_verbosity()
    library.logging.set_verbosity_error()
    try:
        return getattr(library, f"AutoModelFor{kind}").from_pretrained(
            place, num_labels=classes, ignore_mismatched_sizes=True
        )
    finally:
        library.logging.set_verbosity(level)


def _unpublished(spec: str, exc: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"MODEL {spec}: its published weights cannot be had: {first_line(exc)}; give "
        'weights = "file.safetensors", or weights = "random"'
    )


_SOURCES: dict[str, Callable[[str, Wanted], tuple[nn.Module, Any]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "zoo": _zoo,
}
