"""What benchmark_model does and prints, on the installed LiteRT interpreter.

Three versions of TFLite's text, by the name in the stand-in ELF: ``tf1.14``, ``tf2.17`` (since then
lines begin with INFO:) and ``litert1.0`` (adds percentiles); and ``litert2.2`` for LiteRT's own
tool, which knows other flags. Written from their sources; the golden files in
tests/golden/benchmark_model show each.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

#: Flags each version knows; the rest it warns of and ignores.
FLAGS_OLD = {
    "graph", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs",
    "run_delay", "use_nnapi", "use_gpu", "enable_op_profiling", "input_layer",
    "input_layer_shape", "input_layer_value_range",
}  # fmt: skip
_COLUMNS = ("[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]")
FLAGS_NEW = FLAGS_OLD | {
    "use_xnnpack", "xnnpack_force_fp16", "gpu_precision_loss_allowed", "nnapi_allow_fp16",
    "op_profiling_output_mode", "op_profiling_output_file", "input_layer_value_files",
    "output_filepath", "result_file_path",
}  # fmt: skip
FLAGS_LITERT = {
    "graph", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs",
    "run_delay", "use_cpu", "use_gpu", "use_npu", "allow_fp16", "require_full_delegation",
    "dispatch_library_path", "compiler_plugin_library_path", "mediatek_nerun_pilot_version",
    "result_file_path", "signature_to_run_for",
}  # fmt: skip


def _resident_kb() -> int:
    """The high-water mark of this process, as the tool reads it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: list[str], version: str, state: str) -> int:
    return _Tool(argv, version, Path(state)).run()


class _Tool:
    def __init__(self, argv: list[str], version: str, state: Path) -> None:
        self.prefix = "" if version == "tf1.14" else "INFO: "
        self.warn = "" if version == "tf1.14" else "WARN: "
        self.percentiles = version.startswith("litert")
        self.version, self.state = version, state
        self.litert = version == "litert2.2"
        self.start_kb = _resident_kb()
        known = FLAGS_OLD if version == "tf1.14" else FLAGS_LITERT if self.litert else FLAGS_NEW
        self.flags: dict[str, str] = {}
        self.unknown: list[str] = []
        for argument in argv:
            name, equals, value = argument.removeprefix("--").partition("=")
            if argument.startswith("--") and equals and name in known:
                self.flags[name] = value
            else:
                self.unknown.append(argument)

    def log(self, text: str) -> None:
        print(self.prefix + text, flush=True)

    def fault(self, name: str) -> bool:
        """A fault of the tool's own, switched on in the phone's state."""
        return (self.state / f"fault_{name}").exists()

    def run(self) -> int:
        flags = self.flags
        self.log("STARTING!")
        if self.unknown:
            print(f"{self.warn}Unconsumed cmdline flags: {' '.join(self.unknown)}")
        self.log("Log parameter values verbosely: [0]")
        graph = flags.get("graph", "")
        self.log(f"Graph: [{graph}]")
        self.log(f"#threads used for CPU inference: [{flags.get('num_threads', '-1')}]")
        try:
            runner = self._load(graph)
        except (ValueError, RuntimeError, OSError) as exc:
            print(f"ERROR: {str(exc).splitlines()[0]}")
            print(f"ERROR: Failed to load model {graph}\nERROR: Benchmarking failed.")
            return 1
        self.log(f"The input model file size (MB): {Path(graph).stat().st_size / 1e6:g}")
        self.log(f"Initialized session in {self.init_us / 1e3:g}ms.")
        limit_s = float(flags.get("max_secs", 150))
        warm = self._timed(
            runner, int(flags.get("warmup_runs", 1)), float(flags.get("warmup_min_secs", 0.5)),
            limit_s,
        )  # fmt: skip
        if self.fault("truncated"):
            sys.stdout.flush()
            return 0
        timed = self._timed(
            runner, int(flags.get("num_runs", 50)), float(flags.get("min_secs", 1)), limit_s
        )
        if "output_filepath" in flags:
            details = runner.get_output_details()
            arrays = [runner.get_tensor(detail["index"]) for detail in details]
            Path(flags["output_filepath"]).write_bytes(b"".join(a.tobytes() for a in arrays))
        mean, warm_mean = f"{np.mean(timed):g}", f"{np.mean(warm):g}"
        if self.litert:
            where = "[./litert/tools/benchmark_litert_model.h:"
            self.log(f"{where}81] \n========== BENCHMARK RESULTS ==========")
            self.log(f"{where}82] Model initialization: {self.init_us / 1e3:.2f} ms")
            average = f"{np.mean(timed) / 1e3:.2f} ms ({len(timed)} runs)"
            self.log(f"{where}88] Inference (avg):      {average}")
        elif self.version == "tf1.14":
            print(
                f"Average inference timings in us: Warmup: {warm_mean}, "
                f"Init: {self.init_us}, no stats: {mean}"
            )
        else:
            self.log(
                f"Inference timings in us: Init: {self.init_us}, First inference: {warm[0]}, "
                f"Warmup (avg): {warm_mean}, Inference (avg): {mean}"
            )
            delta = "Memory footprint delta from the start of the tool (MB):"
            init_mb, overall_mb = self.init_kb / 1024, (_resident_kb() - self.start_kb) / 1024
            self.log(f"{delta} init={init_mb:g} overall={overall_mb:g}")
        if flags.get("enable_op_profiling") == "true":
            self._print_ops(graph)
        sys.stdout.flush()
        return 0

    def _print_ops(self, graph: str) -> None:
        """As stats_calculator.cc writes what LiteRT's profiler measures; old versions have one
        column more."""
        from latprof.devices.agent.runtimes._tflite_profile import profile_file

        plain = self.flags.get("use_xnnpack") == "false" and "use_gpu" not in self.flags
        ops = profile_file(graph, threads=1, xnnpack=not plain, runs=10)
        total = sum(seconds for _, _, _, seconds in ops)
        columns = ("[start]",) * (self.version == "tf1.14") + _COLUMNS
        self.log("Operator-wise Profiling Info for Regular Benchmark Runs:")
        print("=" * 30 + " Run Order " + "=" * 30)
        print("\t" + "\t".join(f"{c:>9}" for c in ("[node type]", *columns, "[Name]")))
        so_far = 0.0
        for name, kind, provider, seconds in ops:
            so_far += seconds
            ms, share = 1e3 * seconds, 100 * seconds / total
            values = [f"{ms:9.3f}"] * (2 + (self.version == "tf1.14"))
            values += [f"{share:7.3f}%", f"{100 * so_far / total:7.3f}%", f"{0:10.3f}", f"{1:9d}"]
            number = name.rpartition(":")[2]
            shown = (
                f"[{kind.lower()}]:{number}"
                if provider == "builtin"
                else (f"Delegate/{kind}:{number}")
            )
            print("\t" + "\t".join((f"{kind:>40}", *values, shown)))
        print("\n" + "=" * 30 + " Top by Computation Time " + "=" * 30)
        print(f"Timings (microseconds): count=10 curr={round(1e6 * total)}")

    def _load(self, graph: str) -> Interpreter:
        start = time.perf_counter_ns()
        with Path(graph).open("rb") as file:
            if file.read(8)[4:] != b"TFL3":
                raise ValueError("The model is not a valid Flatbuffer buffer")
        self.log(f"Loaded model {graph}")
        plain = self.flags.get("use_xnnpack") == "false" and "use_gpu" not in self.flags
        resolver = (
            OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
        )
        runner = Interpreter(
            model_path=graph,
            num_threads=max(1, int(self.flags.get("num_threads", 1))),
            experimental_op_resolver_type=resolver,
        )
        runner.allocate_tensors()
        for name in ("GPU", "NPU") if self.litert else ():
            if self.flags.get(f"use_{name.lower()}") != "true":
                continue
            partial = self.flags.get("require_full_delegation") != "true"
            if (self.state / f"refuses_{name}").exists() and not partial:
                print(
                    "ERROR: Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the set."
                )
                raise ValueError("Failed to compile model.")
        for name in () if self.litert else ("GPU", "NNAPI", "XNNPACK"):
            if self.flags.get(f"use_{name.lower()}") == "true":
                if (self.state / f"refuses_{name}").exists():
                    self.log(
                        f"Though {name} delegate is explicitly applied, the model graph will not "
                        "be executed by the delegate."
                    )
                else:
                    self.log(
                        f"Explicitly applied {name} delegate, and the model graph will be "
                        "completely executed by the delegate."
                    )
        files = [f for f in self.flags.get("input_layer_value_files", "").split(",") if f]
        given = (file.split(":", 1)[1] for file in files)  # the tool goes by order, not by name
        rng = np.random.default_rng(0)
        for detail in runner.get_input_details():
            shape, dtype = detail["shape"], detail["dtype"]
            if files:
                value = np.fromfile(next(given), dtype).reshape(shape)
            elif np.issubdtype(dtype, np.integer):
                value = rng.integers(-127, 127, shape).astype(dtype)
            else:
                value = (rng.random(shape) - 0.5).astype(dtype)
            runner.set_tensor(detail["index"], value)
        self.init_us = (time.perf_counter_ns() - start) // 1000
        self.init_kb = _resident_kb() - self.start_kb
        return runner

    def _timed(self, runner: Interpreter, runs: int, seconds: float, limit_s: float) -> list[int]:
        self.log(
            f"Running benchmark for at least {runs} iterations and at least {seconds:g} seconds "
            f"but terminate if exceeding {limit_s:g} seconds."
        )
        invoke, clock_ns = runner._interpreter.Invoke, time.perf_counter_ns
        slow = 3 if (self.state / "throttled").exists() else 1
        zero = self.fault("zero")
        taken: list[int] = []
        now = clock_ns()
        least, most = now + int(seconds * 1e9), now + int(limit_s * 1e9)
        while (len(taken) < runs or now < least) and now <= most:
            start = clock_ns()  # nothing but the clock beside the call, as in the tool
            invoke()
            now = clock_ns()
            taken.append(0 if zero else (now // 1000 - start // 1000) * slow)
        self.log(self._stats(taken) + "\n")
        return taken

    def _stats(self, taken: list[int]) -> str:
        ordered = sorted(taken)
        if ordered[0] == ordered[-1]:
            text = f"count={len(taken)} curr={taken[-1]}" + "(all same)" * (len(taken) > 1)
        else:
            text = (
                f"count={len(taken)} first={taken[0]} curr={taken[-1]} min={ordered[0]} "
                f"max={ordered[-1]} avg={np.mean(taken):g} std={int(np.std(taken))}"
            )
        if not self.percentiles:
            return text
        p5, median, p95 = (ordered[len(ordered) * p // 100] for p in (5, 50, 95))
        return f"{text} p5={p5} median={median} p95={p95}"
