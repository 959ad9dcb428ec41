"""The one comparison: finite values, infinities, NaN, rounding, and forwards that draw numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latprof.compress import shrink, trace
from latprof.compress.graph import Inputs
from latprof.compress.shrink import (
    TOLERANCE,
    compare_models,
    compare_outputs,
    proof_inputs,
    relative_error,
    repeat_fault,
)
from latprof.errors import ShrinkError

INF, NAN = float("inf"), float("nan")


def test_error_is_relative_to_each_outputs_largest_value() -> None:
    expected = [np.array([1.0, -4.0]), np.array([0.0, 0.01])]
    got = [np.array([1.0, -4.0]), np.array([0.0, 0.0101])]
    assert relative_error(expected, got) == pytest.approx(0.01)
    assert relative_error([np.zeros(2)], [np.full(2, 0.5)]) == 0.5  # nothing to be relative to
    assert relative_error([np.zeros((0, 3))], [np.zeros((0, 3))]) == 0.0
    assert relative_error([torch.tensor([True, False])], [torch.tensor([True, True])]) == 1.0
    assert relative_error([torch.tensor([1 + 2j])], [torch.tensor([1 + 1j])]) == 0.5


def test_tensors_of_half_precision_are_compared_exactly() -> None:
    one = torch.tensor([256.0, 257.0], dtype=torch.bfloat16)  # 257 is 256 in bfloat16
    assert relative_error([one], [np.array([256.0, 256.0])]) == 0.0
    assert relative_error([torch.tensor([60000.0]).half()], [np.array([60000.0 * 1.5])]) > 0.4


def test_infinities_must_stand_at_the_same_places() -> None:
    expected = [np.array([1.0, -INF, INF])]
    assert compare_outputs(expected, [np.array([1.0, -INF, INF])]).error == 0.0
    assert compare_outputs(expected, [np.array([1.5, -INF, INF])]).error == 0.5
    for got in ([1.0, INF, -INF], [1.0, 0.0, INF], [INF, -INF, INF]):
        found = compare_outputs(expected, [np.array(got)])
        assert not found.holds
        assert found.error == INF
        assert "output 0 differs in which values are infinite" in str(found)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_nan_in_any_output_is_told_by_its_name(place: int) -> None:
    fine = [np.ones(4) for _ in range(3)]
    broken = [a.copy() for a in fine]
    broken[place][2] = NAN
    found = compare_outputs(fine, broken, names=["a", "b", "c"])
    assert found.fault == f"output {'abc'[place]} holds NaN in 1 of 4 places"
    assert not found.holds
    assert not compare_outputs(broken, broken).holds
    assert "of the original network holds NaN" in compare_outputs(broken, fine).fault


def test_other_shapes_and_numbers_of_outputs() -> None:
    two = [np.ones((2, 3)), np.ones(4)]
    assert "there are 1 outputs; expected 2" in str(compare_outputs(two, two[:1]))
    found = compare_outputs(two, [np.ones((3, 2)), np.ones(4)])
    assert str(found) == "output 0 has the shape (3, 2); expected (2, 3)"


@pytest.mark.parametrize("fill", [-1e4, -1e9, float(np.finfo(np.float32).min), 1e30])
def test_a_fill_value_does_not_hide_the_others(fill: float) -> None:
    """Masked logits of -1e9 agree on both sides; a difference beside them is no smaller for it."""
    expected = np.array([1.0, 2.0, fill])
    assert relative_error([expected], [np.array([1.0, 3.0, fill])]) == 0.5


def test_arrays_are_compared_without_torch() -> None:
    code = (
        "import sys, numpy as np; sys.modules['torch'] = None\n"
        "from latprof.compress.shrink import compare_outputs\n"
        "print(compare_outputs([np.ones(2)], [np.ones(2) * 1.5]).error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "0.5\n"


class ByPosition(nn.Module):
    """The first half of the channels, by number: no channel may go."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.mid, self.out = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.enter(x))
        y = torch.cat([y[:, :16] * 1.02, y[:, 16:]], 1)
        return self.out(F.relu(self.mid(y)))


class Resized(nn.Module):
    """Computes with its number of channels, which ``shrink`` cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.out = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.enter(x))
        return self.out(y) * (1 + 1e-3 * y.shape[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [ByPosition, Resized])
def test_half_precision_hides_no_mistake(kind: type[nn.Module], dtype: torch.dtype) -> None:
    """2% are within bfloat16's rounding; float64 tells that they are no rounding."""
    torch.manual_seed(0)
    model, x = kind().to(dtype), torch.randn(16, 8, dtype=dtype)
    full = trace(kind(), x.float())
    assert [g.prunable for g in trace(model, x).groups] == [g.prunable for g in full.groups]
    if kind is Resized:
        graph = trace(model, x, probe=False)
        mask = (torch.arange(32) % 3 > 0).float()
        with pytest.raises(ShrinkError, match="differs from the masked one: it is"):
            shrink(model, graph, {"enter": mask})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masks_that_scale_are_folded_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).to(dtype)
    graph = trace(model, torch.randn(2, 8, dtype=dtype))
    mask = torch.rand(32) * (torch.arange(32) % 2)
    assert shrink(model, graph, {"0": mask})[0].out_features == 16


class Draws(nn.Module):
    """Noise that does not know of eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(8, 32), nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.a(x)) * (1 + 0.1 * torch.rand(1)))


def test_a_forward_that_draws_numbers_is_named() -> None:
    model, x = Draws(), torch.randn(4, 8)
    fault = repeat_fault(model, Inputs.of(x))
    assert fault.startswith("the original network draws numbers (rand)")
    (reason,) = (g.reason for g in trace(model, x).groups if g.name == "a")
    assert reason.startswith("the original network draws numbers (rand)")
    graph = trace(model, x, probe=False)
    with pytest.raises(ShrinkError, match="draws numbers"):
        shrink(model, graph, {"a": (torch.arange(32) % 2).float()})


class Logarithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.a(torch.log(x))))


def test_inputs_that_must_be_positive_are_the_examples_own() -> None:
    model, x = Logarithm(), torch.rand(4, 8) + 0.5
    assert proof_inputs(model, Inputs.of(x)).args[0] is x
    plain = nn.Linear(8, 2)
    assert proof_inputs(plain, Inputs.of(x)).args[0] is not x
    graph = trace(model, x)
    assert [g.name for g in graph.prunable] == ["a"]
    shrink(model, graph, {"a": (torch.arange(16) % 2).float()})


def test_a_nan_of_the_original_is_told_as_that() -> None:
    model, x = Logarithm(), -torch.ones(4, 8)
    found = compare_models(model, model, Inputs.of(x))
    assert found.fault == "output 0 of the original network holds NaN"


def test_minus_infinity_in_an_output_leaves_groups_free() -> None:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out = nn.Linear(8, 32), nn.Linear(32, 4)
            self.register_buffer("illegal", torch.tensor([0, 1, 0, 0], dtype=torch.bool))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.a(x))).masked_fill(self.illegal, -INF)

    model = Policy()
    graph = trace(model, torch.randn(2, 8))
    assert [g.name for g in graph.prunable] == ["a"]
    shrink(model, graph, {"a": (torch.arange(32) % 2).float()})


def test_attention_is_compared_off_its_fast_path() -> None:
    """Which zeroes padded places, as the same layers do not in training."""
    layer = nn.TransformerEncoderLayer(16, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    pad = torch.tensor([[False, False, True], [False, False, False]])
    inputs = Inputs.of({"src": torch.randn(2, 3, 16), "src_key_padding_mask": pad})
    enabled = torch.backends.mha.get_fastpath_enabled()
    seen = []
    hook = model.register_forward_hook(
        lambda *_: seen.append(torch.backends.mha.get_fastpath_enabled())
    )
    found = compare_models(model, model, inputs)
    hook.remove()
    assert found.error <= TOLERANCE
    assert seen
    assert not any(seen)
    assert torch.backends.mha.get_fastpath_enabled() == enabled
