"""A network of a run, in a folder of its own, and on the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latprof.errors import UsageError
from latprof.vocabulary._extras import require
from latprof.vocabulary._files import replace_file
from latprof.vocabulary._units import format_count, format_s

if TYPE_CHECKING:
    from latprof.vocabulary._run_result import RunResult

__all__ = ["SHRUNK", "push_to_hub", "save_pretrained"]

#: Stem of the files of one network: its recipe and its weights.
SHRUNK = "shrunk"


def save_pretrained(result: RunResult, folder: Path, name: str) -> Path:
    """See RunResult.save_pretrained."""
    stem = _stem(result, name)
    for suffix in (".json", ".safetensors"):
        source = stem.with_suffix(suffix)
        if not source.is_file():
            raise UsageError(
                f"{source} is not there; expected the run folder as latprof compress left it"
            )
        replace_file(folder / f"{SHRUNK}{suffix}", source.read_bytes())
    replace_file(folder / "README.md", _card(result, name).encode())
    return folder


def push_to_hub(result: RunResult, repository: str, name: str, **settings: Any) -> str:
    """See RunResult.push_to_hub."""
    hub = require("huggingface_hub", extra="hub", why=f"the repository {repository}")
    _stem(result, name)
    api = hub.HfApi()
    try:
        made = api.create_repo(repository, exist_ok=True, **settings)
        with tempfile.TemporaryDirectory() as scratch:
            save_pretrained(result, Path(scratch), name)
            api.upload_folder(repo_id=made.repo_id, folder_path=scratch)
    except UsageError:
        raise
    except Exception as exc:  # of the network, of rights, of names
        first = str(exc).strip().partition("\n")[0]
        raise UsageError(
            f"{repository} was not written: {type(exc).__name__}: {first}; log in with: hf auth "
            "login, or save_pretrained to a folder"
        ) from exc
    return str(made)


def _stem(result: RunResult, name: str) -> Path:
    try:
        return Path(result.network(name).file).with_suffix("")
    except KeyError:
        names = ", ".join(n.name for n in result.networks if n.name != "original")
        raise UsageError(f"the run has no network {name!r}; it has {names}") from None


def _card(result: RunResult, name: str) -> str:
    """README.md of the folder: what the network is, and how it is loaded."""
    rows = "\n".join(
        f"| {n.name} | {n.accuracy:.4g} | {format_s(n.latency_s)} | {format_count(n.macs)} "
        f"| {format_count(n.params)} |"
        for n in (result.original, result.network(name))
    )
    return f"""---
library_name: latprof
tags: [pruning, latency]
---
# Network compressed with latprof

Measured on {result.target}:

| network | {result.metric} | latency | MACs | parameters |
|---|---|---|---|---|
{rows}

```python
import latprof

small = latprof.load_shrunk("PLACE OF THIS FOLDER")
```

Where code of its own builds the original: `latprof.load_shrunk(model, "PLACE OF THIS FOLDER")`.
"""
