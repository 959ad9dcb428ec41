"""A run with a budget of bytes ends with a packed file within it, and says how large it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.run import Net, fake_run

from latprof.compress import Prune, Quantize, Sparse
from latprof.vocabulary import gzip_bytes

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_a_budget_of_bytes_holds_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    blocks = (Prune(), Sparse(), Quantize(bits=(4, 8)))
    done, result = fake_run(folder, budget="80%, bytes=15%", blocks=blocks, trail=0)
    (outcome,) = (b for b in result.budgets if b.kind == "bytes")
    small, original = result.compressed, result.original
    assert outcome.met
    assert outcome.reached == small.bytes == Path(small.file).stat().st_size
    assert original.bytes == Path(original.file).stat().st_size
    assert outcome.limit == pytest.approx(0.15 * original.bytes)
    assert small.gzip_bytes == gzip_bytes(Path(small.file))
    assert small.params == sum(p.numel() for p in done.small.parameters())
    assert small.non_zeros is not None
    assert small.non_zeros <= small.params < original.params
    weights = 4 * sum(p.numel() for p in Net().parameters())
    assert weights < original.bytes < 1.2 * weights  # float32, without the exporter's notes
