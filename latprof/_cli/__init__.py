"""The command line. Only ``main`` prints errors and exits."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from latprof.errors import LatprofError, MissingExtraError

__all__ = ["main"]

# name: (module, line for --help). Modules load when their command runs, so help stays instant.
_COMMANDS = {
    "devices": ("_devices", "What is attached, and what is missing to use it."),
    "inspect": (
        "_inspect",
        "A model's workloads and channel groups; what is prunable, and why not.",
    ),
    "profile": ("_profile", "Measure a model's workloads on a device into a latency table."),
    "table": ("tables._table", "Show, export, import, check, compare and merge tables."),
    "zoo": ("tables._zoo", "Tables by name: list, get and add them."),
    "fit": ("_fit", "Fit a surrogate to a table; held-out error, steps found, plots."),
    "predict": ("_predict", "A model's latency, from a table."),
    "bench": ("_bench", "Just the latency of a file; no table needed."),
    "gate": ("_gate", "Is a file fast enough? For continuous integration."),
    "init": ("_init", "Write a RUN.toml with comments, to start from."),
    "compress": ("_compress", "Train a model to a budget as a RUN.toml says."),
    "sweep": ("_sweep", "Run a RUN.toml with several values of some keys."),
    "export": ("_export", "Write a model's file to deploy, in float32 or int8."),
    "verify": ("_verify", "Measure an exported file on a device, beside its prediction."),
    "why": ("_why", "Why is a file slow? Each op's time, and what to do about it."),
    "report": ("_report", "One self-contained HTML page of a run folder."),
    "demo": ("_demo", "Profile, fit, compress and verify on this machine."),
}


#: Packages outside the core, and the extra that brings each.
_EXTRAS = {
    "optuna": "search",
    "torch": "train",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "matplotlib": "report",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"latprof._cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="latprof")
def cli() -> None:
    """Profile a device, keep latency tables, train a network to a latency budget on it.

    Exit codes: 0 done; 1 it failed; 2 it cannot be done as asked.
    """


def main() -> None:
    """Entry point of the ``latprof`` command."""
    try:
        code = cli.main(prog_name="latprof", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message())
        code = 2
    except click.ClickException as exc:
        code = _complain(exc.format_message(), exc.exit_code)
    except LatprofError as exc:
        code = _complain(str(exc), exc.exit_code)
    except ModuleNotFoundError as exc:
        package = (exc.name or "").split(".")[0]
        if package not in _EXTRAS:
            raise
        error = MissingExtraError(package, _EXTRAS[package], "this command")
        code = _complain(str(error), error.exit_code)
    except BrokenPipeError:  # the reader has what it wanted, as with | head
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  nothing is left to flush
        code = 0
    except OSError as exc:
        code = _complain(_of_system(exc), 1)
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted; what was finished is kept, the same command goes on", 130)
    sys.exit(code)


def _of_system(exc: OSError) -> str:
    """What the system refused, on which file, and what to try."""
    advice = {
        errno.ENOSPC: "free some space, then run the same command again: it goes on",
        errno.EROFS: "write to another folder with -o or --out",
        errno.EACCES: "write to another folder with -o or --out, or change its permissions",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.ENOENT: "check the path",
    }.get(exc.errno or 0, "")
    where = f"{exc.filename}: " if exc.filename else ""
    return f"{where}{exc.strerror or exc}{'; ' + advice if advice else ''}"


def _complain(message: str, code: int) -> int:
    click.echo(f"latprof: error: {' '.join(message.split())}", err=True)
    return code
