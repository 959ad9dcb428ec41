"""Tables of others: aiconfigurator, NeuSight, nn-Meter, Once-for-All; CSV with other headers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.tables import TARGET

import latprof
from latprof.errors import TableError, UsageError
from latprof.tables import (
    LatencyTable,
    import_aiconfigurator,
    import_neusight,
    import_nn_meter,
    import_notes,
    import_ofa,
    import_plain_csv,
)
from latprof.workloads import Attention, Conv2d, Elementwise, MatMul, Pool

#: Where whole published tables are, for those who have them.
FOLDER = os.environ.get("LATPROF_GPU_TABLES", "")

_GEMM = """\
framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency
VLLM,0.24.0,NVIDIA L40S,gemm,torch.nn.functional.linear,bfloat16,128,4096,1024,0.05
VLLM,0.24.0,NVIDIA L40S,gemm,Cutlass,fp8,128,4096,1024,0.03
VLLM,0.24.0,NVIDIA L40S,gemm,torch.nn.functional.linear,bfloat16,128,4096,1024,0.06

VLLM,0.24.0,NVIDIA L40S,gemm,torch.nn.functional.linear,bfloat16,0,4096,1024,0.05
VLLM,0.24.0,NVIDIA L40S,gemm,torch.nn.functional.linear,bfloat16,64,4096,1024,-1
VLLM,0.24.0,NVIDIA L40S,gemm,torch.nn.functional.linear,bfloat16,8192,8192,8192,0.0001
VLLM,0.24.0,NVIDIA L40S,moe,torch.nn.functional.linear,bfloat16,64,4096,1024,1
"""

_NEUSIGHT = """\
OPName,Latency,Device,Torch Version,CUDNN Version,Kernel Name,CUDA Version,B,M,N,K
linear,0.0659,Tesla V100,p2.1.0,8902,volta_sgemm_32x128_tn,cu121,1,58,13,141
bmm,0.0412,Tesla V100,p2.1.0,8902,volta_sgemm_128x32_nn,cu121,13,27,15,29
softmax,0.01,Tesla V100,p2.1.0,8902,softmax,cu121,13,27,15,29
"""

_NEUSIGHT_CONV = """\
OPName,Latency,Device,B,Input_Channel,Output_Channel,Kernel_Szie,Input_Size,Stride,Padding
conv,0.881,Tesla V100,38,893,326,3,5,1,1
conv,0.881,Tesla V100,38,893,326,3,5,1,0
"""

_NN_METER = """\
{
 "conv-bn-relu": {
  "id_0": {"latency": "41.781 +- 1.0", "shapes": [[28, 28, 120]],
           "config": {"HW": 28, "CIN": 120, "COUT": 48, "KERNEL_SIZE": 5, "STRIDES": 1}},
  "id_1": {"latency": 0,
           "config": {"HW": 28, "CIN": 120, "COUT": 48, "KERNEL_SIZE": 3, "STRIDES": 1}}
 },
 "dwconv-bn": {
  "id_0": {"latency": "1.5", "config": {"HW": 14, "CIN": 32, "KERNEL_SIZE": 3, "STRIDES": 2}}
 },
 "fc": {"id_0": {"latency": "0.5 +- 0.01", "config": {"CIN": 1280, "COUT": 1000}}},
 "maxpool": {"id_0": {"latency": "0.2", "config": {"HW": 56, "CIN": 64, "KERNEL_SIZE": 3,
                      "POOL_STRIDES": 2}}},
 "hswish": {"id_0": {"latency": "0.1", "config": {"HW": 56, "CIN": 64}}},
 "channelshuffle": {"id_0": {"latency": "0.1", "config": {"HW": 56, "CIN": 64}}}
}
"""

_OFA = """\
Conv-input:224x224x3-output:112x112x32: {mean: 11.3, count: 40}
Conv_1-input:7x7x320-output:7x7x1280:
  mean: 2.0
expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:5-stride:2-idskip:0: {mean: 10.2}
expanded_conv-input:40x40x32-output:40x40x32-expand:96-kernel:3-stride:1-idskip:1-se:1-hs:1: 4.0
Logits-input:7x7x1280-output:1000: {mean: 1.5}
Conv_1-input:7x7x320-output:7x7x1280: {mean: 2.1}
Shuffle-input:7x7x320-output:7x7x320: {mean: 2.1}
Conv_1-input:7x7x16-output:7x7x32: {mean: 0}
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_aiconfigurator(tmp_path: Path) -> None:
    path = _write(tmp_path / "gemm_perf.txt", _GEMM)
    table = import_aiconfigurator(path)
    assert {m.workload for m in table.measurements} == {MatMul(128, 1024, 4096, dtype="bfloat16")}
    assert [m.latency_s for m in table.measurements] == pytest.approx([5e-5, 6e-5])
    target = table.target
    assert (target.device, target.runtime) == ("NVIDIA L40S", "vllm")
    assert (target.runtime_version, target.precision) == ("0.24.0", "bfloat16")
    assert target.settings == (("kernel_source", "torch.nn.functional.linear"),)
    facts = table.provenance
    assert facts["duplicates"]["lines"] == [[4, 2]]
    assert [line for line, _ in facts["impossible"]["lines"]] == [6, 7, 8]
    notes = "\n".join(import_notes(table))
    assert "1 row left out (from line 3): gemm_dtype is fp8" in notes
    assert "op_name is moe" in notes
    with pytest.raises(TableError, match="float16 was asked for"):
        import_aiconfigurator(path, dtype="float16")
    other = _write(tmp_path / "two.txt", _GEMM.replace("L40S", "A100", 1))
    with pytest.raises(TableError, match="a table is of one target"):
        import_aiconfigurator(other)


_ATTENTION = """\
framework,version,device,op_name,kernel_source,batch_size,isl,num_heads,num_key_value_heads,\
head_dim,beam_width,attn_dtype,kv_cache_dtype,step,window_size,latency
VLLM,0.24.0,NVIDIA H100,context_attention,fa3,4,128,32,8,64,1,bfloat16,bfloat16,0,96,0.2
VLLM,0.24.0,NVIDIA H100,generation_attention,fa3,2,1,32,0,64,1,bfloat16,bfloat16,15,0,0.01
VLLM,0.24.0,NVIDIA H100,generation_attention,fa4,2,1,32,8,64,1,bfloat16,fp8,15,0,0.01
VLLM,0.24.0,NVIDIA H100,generation_attention,fa3,2,1,32,5,64,1,bfloat16,bfloat16,15,0,0.01
VLLM,0.24.0,NVIDIA H100,generation_attention,fa3,0,1,32,8,64,1,bfloat16,bfloat16,15,0,0.01
VLLM,0.24.0,NVIDIA H100,generation_attention,fa3,2,1,32,8,64,4,bfloat16,bfloat16,15,0,0.01
VLLM,0.24.0,NVIDIA H100,context_attention,fa3,2,16,32,8,64,1,fp8,fp8,0,0,0.01
VLLM,0.24.0,NVIDIA H100,generation_attention,fa3,2,1,32,8,64,1,bfloat16,bfloat16,15,0,
"""


def test_attention_of_aiconfigurator(tmp_path: Path) -> None:
    path = _write(tmp_path / "attention.csv", _ATTENTION)
    table = import_aiconfigurator(path)
    assert {m.workload: m.latency_s for m in table.measurements} == {
        Attention(32, 128, 128, 64, 4, True, 96, 4, "bfloat16"): pytest.approx(2e-4),
        Attention(32, 1, 16, 64, 1, False, 0, 2, "bfloat16"): pytest.approx(1e-5),
    }
    assert table.target.settings == (("kernel_source", "fa3"),)
    assert {r: f["first_line"] for r, f in table.provenance["left_out"].items()} == {
        "attn_dtype is none that a workload has": 8,
        "kv_cache_dtype is not attn_dtype, and a workload has one type": 4,
        "beams share a cache, which no workload says": 7,
        "num_heads is no multiple of num_key_value_heads": 5,
    }
    assert [line for line, _ in table.provenance["impossible"]["lines"]] == [6, 9]
    with pytest.raises(TableError, match="float16, which was asked for"):
        import_aiconfigurator(path, dtype="float16")
    lacking = _write(tmp_path / "lacking.csv", _ATTENTION.replace("head_dim", "size"))
    with pytest.raises(TableError, match="expected head_dim too"):
        import_aiconfigurator(lacking)


def test_what_is_no_matrix_product_is_counted(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", "op_name,batch_size,latency\nattention,4,0.5\n")
    with pytest.raises(TableError, match=r"1 row left out \(from line 2\): op_name is attention"):
        import_aiconfigurator(path)


def test_neusight(tmp_path: Path) -> None:
    table = import_neusight(_write(tmp_path / "v100.csv", _NEUSIGHT))
    assert {m.workload for m in table.measurements} == {
        MatMul(58, 13, 141), MatMul(27, 15, 29, batch=13, weights=False),
    }  # fmt: skip
    assert table.target.runtime_version == "2.1.0"
    assert table.target.settings == (("cuda", "121"), ("cudnn", "8902"))
    assert table.provenance["left_out"] == {
        "OPName is softmax, which no workload says": {"rows": 1, "first_line": 4}
    }
    conv = import_neusight(_write(tmp_path / "conv.csv", _NEUSIGHT_CONV))
    assert [m.workload for m in conv.measurements] == [Conv2d(5, 5, 893, 326, 3, batch=38)]
    assert "Padding" in import_notes(conv)[0]


def test_nn_meter(tmp_path: Path) -> None:
    path = _write(tmp_path / "kernels.json", _NN_METER)
    table = import_nn_meter(path, TARGET)
    assert [m.workload for m in table.measurements] == [
        Conv2d(28, 28, 120, 48, kernel=5),
        Conv2d(14, 14, 32, 32, kernel=3, stride=2, groups=32),
        MatMul(1, 1280, 1000),
        Pool("max", 56, 56, 64, kernel=3, stride=2),
        Elementwise("hard_swish", 56, 56, 64),
    ]
    assert table.measurements[0].latency_s == pytest.approx(0.041781)
    assert table.provenance["impossible"]["lines"][0][0] == 5
    left_out = table.provenance["left_out"]
    assert left_out == {"the kernel channelshuffle is no workload": {"rows": 1, "first_line": 15}}
    with pytest.raises(TableError, match="expected a JSON object"):
        import_nn_meter(_write(tmp_path / "list.json", "[1]"), TARGET)


def test_blocks_of_once_for_all(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    table = import_ofa(_write(tmp_path / "note10.yaml", _OFA), TARGET)
    assert [m.workload for m in table.usable] == [
        Conv2d(224, 224, 3, 32, kernel=3, stride=2), Conv2d(7, 7, 320, 1280),
    ]  # fmt: skip
    plain, squeezed, logits = table.models
    assert plain.workloads == (
        Conv2d(112, 112, 16, 48), Conv2d(112, 112, 48, 48, 5, 2, 48), Conv2d(56, 56, 48, 24),
    )  # fmt: skip
    assert squeezed.workloads == (
        Conv2d(40, 40, 32, 96), Conv2d(40, 40, 96, 96, 3, 1, 96),
        Pool("global_avg", 40, 40, 96), Conv2d(1, 1, 96, 24), Conv2d(1, 1, 24, 96),
        Elementwise("scale", 40, 40, 96), Conv2d(40, 40, 96, 32), Elementwise("add", 40, 40, 32),
    )  # fmt: skip
    assert logits.workloads == (Pool("global_avg", 7, 7, 1280), MatMul(1, 1280, 1000))
    assert squeezed.latency_s == pytest.approx(4e-3)
    assert table.provenance["duplicates"]["lines"] == [[7, 2]]
    assert table.provenance["left_out"]["the block Shuffle is no workload"]["first_line"] == 8
    assert table.provenance["impossible"]["lines"][0][0] == 9
    for text in ("- a\n", "a: b\n", "a: {\n"):
        with pytest.raises(TableError, match=r"YAML|latency"):
            import_ofa(_write(tmp_path / "bad.yaml", text), TARGET)


def test_csv_with_another_header(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.csv", "id,rows,inner,cols,time\na,1,8,9,0.5\nb,2,8,9,0.6\n")
    names = {"kind": "=matmul", "m": "rows", "k": "inner", "n": "cols", "latency_ms": "time"}
    table = import_plain_csv(path, TARGET, columns=names)
    assert [m.workload for m in table.measurements] == [MatMul(1, 8, 9), MatMul(2, 8, 9)]
    assert table.measurements[1].latency_s == pytest.approx(6e-4)
    with pytest.raises(TableError, match="expected the columns breadth"):
        import_plain_csv(path, TARGET, columns=names | {"n": "breadth"})
    with pytest.raises(TableError, match="exactly one of latency_s"):
        import_plain_csv(path, TARGET, columns={"kind": "=matmul", "m": "rows"})
    with pytest.raises(UsageError, match="columns are named for a csv"):
        latprof.table.import_(path, format="neusight", columns=names)


@pytest.mark.parametrize("kind", ["linear", "bmm"])
def test_kernels_of_neusight_have_a_tile_of_the_output_in_each_block(kind: str) -> None:
    """By which its M, N and K are rows, inner terms and columns."""
    if not FOLDER:
        pytest.skip("LATPROF_GPU_TABLES names no folder of published GPU tables")
    path = Path(FOLDER) / f"neusight_v100_{kind}.parquet"
    frame = pd.read_parquet(path)
    tiles = frame["Kernel Name"].str.extract(r"(\d+)x(\d+)").astype(float)
    products = [m.workload for m in import_neusight(path).measurements]
    known = tiles[0].notna().to_numpy()
    for name, tile, grid in (("n", 0, "Grid x"), ("m", 1, "Grid y")):
        counts = np.array([getattr(w, name) for w in products])
        assert (np.ceil(counts / tiles[tile])[known] == frame[grid][known]).all()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("aiconfigurator_h100_gemm", 35_742),
        ("aiconfigurator_a100_gemm", 9240),
        ("aiconfigurator_h100_context_attention", 25_704),
        ("aiconfigurator_h100_generation_attention", 31_483),
        ("neusight_v100_bmm", 17_694),
        ("neusight_v100_linear", 6460),
        ("neusight_v100_conv", 4958),
    ],
)
def test_whole_published_tables(name: str, rows: int) -> None:
    if not FOLDER:
        pytest.skip("LATPROF_GPU_TABLES names no folder of published GPU tables")
    path = Path(FOLDER) / f"{name}.parquet"
    table: LatencyTable = {"a": import_aiconfigurator, "n": import_neusight}[name[0]](path)
    impossible = table.provenance.get("impossible", {"rows": 0})["rows"]
    left_out = sum(f["rows"] for f in table.provenance.get("left_out", {}).values())
    assert len(table) + impossible + (left_out if name.startswith("n") else 0) == rows
    assert impossible < 0.01 * rows
    assert table.target.device.startswith(("NVIDIA", "Tesla"))


def test_lines_without_a_type_or_a_name_are_counted(tmp_path: Path) -> None:
    lines = "linear,bfloat16,1,8,8,0.01\nlinear,,1,8,8,0.01\n"
    header = "kernel_source,gemm_dtype,m,n,k,latency\n"
    table = import_aiconfigurator(_write(tmp_path / "a.csv", header + lines))
    assert import_notes(table) == ["1 row left out (from line 3): gemm_dtype is empty, which no "
                                   "workload has"]  # fmt: skip
    v100 = _write(tmp_path / "v.csv", _NEUSIGHT.replace("softmax,0.01", ",0.01"))
    assert "(from line 4): OPName is empty" in import_notes(import_neusight(v100))[0]
