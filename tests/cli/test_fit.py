"""``latprof table`` and ``latprof fit``: what is printed, as JSON and as one-line errors."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tables import OPS, TARGET, planned, table_of, variants

from latprof._cli import main
from latprof.tables import LatencyTable, plan
from latprof.workloads import Conv2d, MatMul


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call the command line; gives (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["latprof", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return planned(n_shapes=120).with_models(variants(3)).save(tmp_path / "t.parquet")


def test_show(run: Any, path: Path) -> None:
    code, out, _ = run("table", "show", path)
    assert code == 0
    assert "conv2d.k3 14x14 stride=2" in out
    code, out, _ = run("table", "show", path, "--rows")
    assert out.count("ok") >= 100
    code, out, _ = run("table", "show", path, "--json")
    shown = json.loads(out)
    assert len(shown["measurements"]) == len(LatencyTable.load(path))
    assert shown["measurements"][0]["latency_s"] > 0
    assert len(shown["models"]) == 3


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_export_and_import_lose_nothing(run: Any, path: Path, tmp_path: Path, suffix: str) -> None:
    text, back = tmp_path / f"t.{suffix}", tmp_path / "back.parquet"
    assert run("table", "export", path, "-o", text)[0] == 0
    code, out, _ = run("table", "import", text, "-o", back, "--json")
    assert code == 0
    assert json.loads(out)["rows"] == len(LatencyTable.load(path))
    assert LatencyTable.load(back) == LatencyTable.load(path)


def test_import_of_plain_csv_asks_for_the_target(run: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "plain.csv", tmp_path / "t.parquet"
    source.write_text("kind,h,w,c_in,c_out,latency_us\nconv2d,7,7,8,8,3\n")
    code, _, err = run("table", "import", source, "-o", out, "--format", "csv")
    assert code == 2
    assert "--device NAME --runtime NAME" in err
    plain = ("--format", "csv", "--device", "phone", "--runtime", "tflite")
    assert run("table", "import", source, "-o", out, *plain)[0] == 0
    assert LatencyTable.load(out).target.device == "phone"


def test_a_file_that_is_there_is_replaced_only_when_told(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("kind,m,k,n,latency_us\nmatmul,1,8,8,3\nmatmul,1,8,8,4\n")
    plain = ("--format", "csv", "--device", "phone", "--runtime", "tflite", "--dtype", "float16")
    table_of(OPS).save(tmp_path / "t.parquet")
    code, _, err = run("table", "import", source, *plain)
    assert (code, LatencyTable.load(tmp_path / "t.parquet")) == (2, table_of(OPS))
    assert "--force" in err
    code, _, err = run("table", "import", source, *plain, "--force")
    assert code == 0
    assert "1 row of a shape that came before: line 3 that of line 2" in err
    assert LatencyTable.load(tmp_path / "t.parquet").target.precision == "float16"
    code, _, err = run("table", "export", tmp_path / "t.parquet")
    assert code == 2
    assert "t.csv is there already" in err


def test_show_counts_flagged_rows_and_check_says_what_to_do(run: Any, tmp_path: Path) -> None:
    rows = table_of(OPS).measurements
    noisy = tuple(replace(m, status="noisy", detail="busy memory") for m in rows[:3])
    path = LatencyTable(TARGET, (*noisy, *rows[3:])).save(tmp_path / "t.parquet")
    _, out, err = run("table", "show", path)
    assert "8 rows, 3 noisy" in out
    assert "latprof table check" in err
    assert (
        "3 of 8 rows are noisy; most often: busy memory; a fit reads them"
        in run("table", "check", path)[1]
    )


def test_check_ends_with_one_where_data_is_wrong(run: Any, path: Path, tmp_path: Path) -> None:
    code, out, _ = run("table", "check", path, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    table = LatencyTable.load(path)
    twice = LatencyTable(table.target, (*table.measurements, table.measurements[0]))
    wrong = twice.save(tmp_path / "wrong.parquet")
    code, out, _ = run("table", "check", wrong)
    assert code == 1
    assert out.startswith("error: duplicate")


def test_diff_and_merge(run: Any, path: Path, tmp_path: Path) -> None:
    other = table_of(OPS, step=32).save(tmp_path / "other.parquet")
    code, out, _ = run("table", "diff", path, other, "--json", "--plot", tmp_path / "d.png")
    assert code == 0
    assert json.loads(out)["shapes"] == len(OPS)
    assert (tmp_path / "d.png").exists()
    assert "furthest apart" in run("table", "diff", path, other)[1]
    merged = tmp_path / "m.parquet"
    code, out, _ = run("table", "merge", path, other, "-o", merged, "--json")
    assert json.loads(out)["rows"] == len(LatencyTable.load(merged)) == 120


def test_fit_prints_what_each_method_is_worth(run: Any, path: Path, tmp_path: Path) -> None:
    code, out, _ = run("fit", path, "--json", "--plots", tmp_path / "plots")
    assert code == 0
    result = json.loads(out)
    assert set(result["methods"]) == {"auto", "tile", "gp", "blend", "linear", "cubic", "pchip"}
    assert set(result["methods"]["tile"]) == {"mape", "within_10pct", "n_train", "n_test"}
    assert "--method grid" in result["methods"]["pchip"]["error"]
    assert result["composition"]["models"] == 3
    assert all(Path(p).exists() for p in result["plots"])
    _, out, _ = run("fit", path)
    assert "held-out error" in out
    assert "whole models: 3" in out


def test_profile_follows_the_adaptive_plan_and_fit_calibrates(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    asked = ("--for", "support.tables:net", "-o", out, "--method", "adaptive")
    code, printed, err = run("profile", "fake", *asked, "--budget-shapes", 40, "--json")
    assert code == 0, err
    assert json.loads(printed)["shapes"] == 40
    facts = LatencyTable.load(out).provenance["plan"]
    assert (facts["method"], facts["stopped_by"]) == ("adaptive", "shapes")
    again = ("--budget-shapes", 60, "--target-error", 0.2)
    assert run("profile", "fake", *asked, *again)[0] == 0
    assert LatencyTable.load(out).provenance["plan"]["stopped_by"] == "error"
    calibrate = ("--calibrate", "support.tables:net", "--device", "fake", "--variants", 2)
    code, printed, err = run("fit", out, *calibrate, "--json")
    assert code == 0, err
    assert json.loads(printed)["composition"]["models"] == 3
    convs = [w for m in LatencyTable.load(out).usable_models for w in m.workloads]
    assert {w.c_out % 4 for w in convs if isinstance(w, Conv2d)} == {0}  # as pruning leaves them


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("table", "show", "none.parquet"), "no such file"),
        (("table", "export", "{path}", "-o", "t.xlsx"), "ends in .csv, .json, .npz"),
        (("table", "import", "t.foo", "-o", "x"), "say --format aiconfigurator, csv"),
        (("fit", "{broken}"), "truncated or corrupt"),
        (("fit", "{path}", "--method", "best"), "best"),
    ],
)
def test_errors_are_one_line_and_exit_two(
    run: Any, path: Path, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(path.read_bytes()[:2000])
    code, out, err = run(*(a.format(path=path, broken=broken) for a in arguments))
    assert code == 2
    assert out == ""
    assert why in err
    assert len(err.strip().splitlines()) == 1


def test_a_table_of_very_many_families_is_shown_by_kind_of_op(run: Any, tmp_path: Path) -> None:
    path = table_of([MatMul(m, 8, 8) for m in range(1, 100)]).save(tmp_path / "t.parquet")
    code, out, _ = run("table", "show", path)
    assert code == 0
    assert "matmul (99 families)" in out


def test_import_of_a_published_table_names_what_it_left_out(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "gemm_perf.txt"
    source.write_text(
        "framework,version,device,op_name,gemm_dtype,m,n,k,latency\n"
        "VLLM,1,NVIDIA L40S,gemm,bfloat16,128,4096,1024,0.05\n"
        "VLLM,1,NVIDIA L40S,gemm,fp8,128,4096,1024,0.03\n"
    )
    code, _, err = run("table", "import", source, "--format", "aiconfigurator")
    assert code == 0
    assert "warning: 1 row left out (from line 3): gemm_dtype is fp8" in err
    assert "1 rows of NVIDIA L40S [vllm 1" in err


def test_a_donor_of_another_target_is_moved_to_the_rows(run: Any, tmp_path: Path) -> None:
    largest = [Conv2d(14, 14, 128, 128)]
    donor = table_of(plan(largest, n_shapes=40)).save(tmp_path / "donor.parquet")
    few = replace(table_of(plan(largest, n_shapes=8, seed=1)), target=replace(TARGET, device="new"))
    path = few.save(tmp_path / "new.parquet")
    code, out, _ = run("fit", path, "--donor", donor, "--json")
    assert code == 0
    assert json.loads(out)["labels"]["conv2d.k1"]["donor"]["device"] == TARGET.device
    code, out, _ = run("fit", path, "--donor", donor)
    assert f"from {TARGET.device} " in out
    code, _, err = run("fit", path, "--donor", path)
    assert code == 2
    assert "latprof table merge" in err
