"""What a trace with its grouping costs, of networks at the size they are published in."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from latprof import zoo
from latprof.compress import trace
from latprof.compress.graph import Inputs

transformers = pytest.importorskip("transformers", reason="pip install 'latprof[models]'")
PAGES = Path("/proc/self/statm")

# transformers and the exporter warn of their own internals
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

IMAGE = {"pixel_values": torch.zeros(1, 3, 224, 224)}
TOKENS = {"input_ids": torch.arange(1, 65)[None]}
LLAMA = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16}
LLAMA |= {"num_attention_heads": 16, "num_key_value_heads": 4, "use_cache": False}
#: Class of transformers: (inputs, options); the rest is its configuration's default.
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ViTForImageClassification": (IMAGE, {}),
    "SwinForImageClassification": (IMAGE, {}),
    "ConvNextForImageClassification": (IMAGE, {}),
    "SegformerForSemanticSegmentation": (IMAGE, {}),
    "MobileViTForImageClassification": ({"pixel_values": torch.zeros(1, 3, 256, 256)}, {}),
    "BertForSequenceClassification": (TOKENS, {}),
    "GPT2LMHeadModel": (TOKENS, {"use_cache": False}),
    "LlamaForCausalLM": (TOKENS, LLAMA),
    "T5EncoderModel": (TOKENS, {}),
    "Wav2Vec2Model": ({"input_values": torch.zeros(1, 16000)}, {}),
    "CLIPModel": ({**IMAGE, **TOKENS}, {}),
}


def build(name: str) -> tuple[nn.Module, Any]:
    if name == "resnet50":
        return zoo.resnet50(size=224, stem="imagenet", num_classes=1000)
    inputs, options = PUBLISHED[name]
    cls = getattr(transformers, name)
    return cls(cls.config_class(**options)), inputs


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Growth of the resident memory within, in bytes, at its peak."""

    def resident() -> int:
        return int(PAGES.read_text().split()[1]) * resource.getpagesize()

    before, grown, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            grown[0] = max(grown[0], resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()


@pytest.mark.skipif(not PAGES.exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("name", ["resnet50", *PUBLISHED])
def test_tracing_takes_seconds_and_twice_the_memory_at_most(name: str) -> None:
    trace(*zoo.unet(size=16))  # what torch itself allocates once
    model, example = build(name)
    inputs = Inputs.of(example)
    with torch.no_grad():
        model.eval()(*inputs.args, **inputs.kwargs)
    with peak_bytes() as grown:
        start = time.process_time()
        trace(model, inputs)
        seconds = time.process_time() - start
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    assert seconds <= 10 * torch.get_num_threads()
    assert grown[0] <= 2 * size
