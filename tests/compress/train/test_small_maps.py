"""Depthwise convolutions of maps smaller than their kernel are trained another way: alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latprof.compress import TensorBatches, TrainSettings, train
from latprof.compress.train._hardware import Hardware

pytest.importorskip("accelerate", reason="pip install 'latprof[train]'")

CHANNELS_LAST = torch.channels_last


def computed(conv: nn.Conv2d, x: Tensor) -> list[Tensor]:
    """Output, and gradients of the input and all parameters."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    conv.zero_grad()
    out = conv(x)
    (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
    return [out.detach(), *(t.grad.clone() for t in (x, *conv.parameters()) if t.grad is not None)]


def pads_before(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether the convolution's input is one that was padded."""
    of_input = conv(x.requires_grad_()).grad_fn.next_functions[0][0]
    return "Pad" in type(of_input).__name__


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([1, 3, 5, 7]),
    st.integers(1, 2),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([1, 2, 8]),
    st.booleans(),
    st.integers(1, 2),
)
def test_outputs_and_gradients_are_the_same(
    kernel: int, stride: int, size: tuple[int, int], groups: int, bias: bool, dilation: int
) -> None:
    torch.manual_seed(0)
    pad = dilation * (kernel // 2)
    conv = nn.Conv2d(8, 8, kernel, stride, pad, dilation, groups, bias)
    x = torch.randn(3, 8, *size).contiguous(memory_format=CHANNELS_LAST)
    plain = computed(conv, x)
    with Hardware.of(TrainSettings(1)).convolving():
        found = computed(conv, x)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("conv", "size", "padded"),
    [
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), 4, True),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), 5, False),
        (nn.Conv2d(8, 8, 5, padding="same", groups=8), 4, False),
        (nn.Conv2d(8, 8, 5, padding=2), 4, False),
    ],
)
def test_only_depthwise_kernels_larger_than_their_map(
    conv: nn.Conv2d, size: int, padded: bool
) -> None:
    x = torch.randn(2, 8, size, size).contiguous(memory_format=CHANNELS_LAST)
    assert not pads_before(conv, x)
    with Hardware.of(TrainSettings(1)).convolving():
        assert pads_before(conv, x) == padded
        assert conv(x[0]).shape == conv(x)[0].shape  # without a batch


class Recomputed(nn.Module):
    """Its depthwise convolution is computed again in backward."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.again = nn.Conv2d(1, 8, 3, stride=2), again
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x).relu()
        deep = checkpoint(self.depthwise, maps, use_reentrant=False)
        found: Tensor = self.last((deep if self.again else self.depthwise(maps)).mean((2, 3)))
        return found


def test_what_backward_computes_again_is_the_same() -> None:
    images, labels = torch.randn(32, 1, 8, 8), torch.randint(0, 3, (32,))
    trained = []
    for again in (True, False):
        model = Recomputed(again)
        train(model, TensorBatches(images, labels, batch=8), TrainSettings(2, lr=1e-2))
        trained.append(model.state_dict())
    torch.testing.assert_close(*trained)
