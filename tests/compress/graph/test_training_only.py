"""Heads that run in training mode alone are named; nothing else is."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from latprof.compress import trace
from latprof.compress.graph import Inputs, TrainingOnlyWarning, training_only


class WithHead(nn.Module):
    """An auxiliary head as GoogLeNet's, a batch norm, and a layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.second, self.out = nn.Conv2d(16, 16, 3), nn.Linear(16, 4)
        self.aux, self.unused = nn.Linear(16, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = torch.relu(self.norm(self.first(x)))
        y: Tensor = self.out(torch.relu(self.second(x)).mean((2, 3)))
        return (y, self.aux(x.mean((2, 3)))) if self.training else y


def test_trace_names_the_head_and_leaves_the_model_as_it_was() -> None:
    model, x = WithHead().eval(), torch.randn(2, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with pytest.warns(TrainingOnlyWarning, match=r"aux\.weight, aux\.bias are used in training"):
        trace(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    "model",
    [
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),  # fused in eval mode
        nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 16)),
        nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(4)),
    ],
    ids=["encoder", "dropout", "norm"],
)
def test_other_models_have_none(model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert training_only(model.eval(), Inputs.of(torch.randn(1, 4, 16))) == []


def test_a_training_forward_that_fails_is_followed_as_far_as_it_comes() -> None:
    class Picky(WithHead):
        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            out = super().forward(x)
            if self.training:
                raise ValueError("labels are None")
            return out

    assert training_only(Picky(), Inputs.of(torch.randn(2, 3, 8, 8))) == ["aux.weight", "aux.bias"]
