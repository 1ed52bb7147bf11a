"""Watches: iterator wrappers that show progress, stop a long loop early or save it, so that it can go on later.

A saved state is one safetensors file: the tensors of a frozen dataclass, and its plain values in the file's metadata as JSON.
Reading one executes nothing; the state itself says which run it belongs to, and the analysis that resumes compares.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from hooks.errors import InputError
from hooks.watch import Watch

PATIENCE = 2.0  # seconds before a loop is worth a line


def meter(title: str, *, stream: IO[str] | None = None) -> Watch:
    """Show the title, how far the loop is and the time left, on stderr; silent when that is not a terminal."""

    def watch(states: Iterable[Any], total: int) -> Iterator[Any]:
        out = stream or sys.stderr
        if not out.isatty():
            yield from states
            return
        begin = shown = time.monotonic()
        drawn = False
        for number, state in enumerate(states, 1):
            yield state
            now = time.monotonic()
            if now - begin > PATIENCE and now - shown > 0.2:
                left = (now - begin) * (total - number) / number
                out.write(f"\r\x1b[2K{title}: {number} of {total}, {left:.0f} s left at most")
                out.flush()
                shown, drawn = now, True
        if drawn:
            out.write("\r\x1b[2K")
            out.flush()

    return watch


def within_budget(seconds: float) -> Watch:
    """Stop the loops it watches once they have taken this long together; what they have by then is what they return.

    Each loop takes one step at least.
    """
    begin: list[float] = []

    def watch(states: Iterable[Any], total: int) -> Iterator[Any]:
        begin.append(time.monotonic())
        for state in states:
            yield state
            if time.monotonic() - begin[0] > seconds:
                return

    return watch


def saved_every(seconds: float, path: Path | str) -> Watch:
    """Write the latest state of the loop it watches: every so many seconds, and when the loop ends, is stopped or fails.

    For loops whose states are frozen dataclasses of tensors, numbers and strings, and that have a ``resume``. The file is
    replaced whole, so that it holds one state at any time; its folder must be there.

    Raises
    ------
    InputError
        From the loop, when it has other states.
    """

    def watch(states: Iterable[Any], total: int) -> Iterator[Any]:
        saved, unsaved = time.monotonic(), None
        try:
            for state in states:
                unsaved = state
                if time.monotonic() - saved > seconds:
                    _save(state, Path(path))
                    saved, unsaved = time.monotonic(), None
                yield state
        finally:
            if unsaved is not None:
                _save(unsaved, Path(path))

    return watch


def last_saved(path: Path | str) -> Any:
    """The state that ``saved_every`` wrote last, for ``resume=``, on the CPU; None when there is no file yet.

    Raises
    ------
    InputError
        When the file is no saved state, or one of another version of its loop.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            values: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is no saved state: {error}") from error
    module, _, name = metadata.get("state", "").rpartition(".")
    if not module.startswith("analyses."):
        raise InputError(f"{path} is no saved state of an analysis: its metadata names {metadata.get('state')!r}")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise InputError(f"{path} is a state of {module}, which this version has not") from error
    values |= json.loads(metadata.get("values", "{}"))
    if not dataclasses.is_dataclass(kind) or {field.name for field in dataclasses.fields(kind)} != values.keys():
        raise InputError(
            f"{path} holds {', '.join(sorted(values))}, which is not what {module}.{name} consists of here"
        )
    return kind(**values)  # type: ignore[operator]


def _save(state: Any, path: Path) -> None:
    """Whole or not at all, also when the run is killed."""
    from safetensors.torch import save_file
    from torch import Tensor

    if not dataclasses.is_dataclass(state):
        raise InputError(
            f"saved_every keeps dataclasses of tensors and plain values, but the loop gives {type(state).__name__}"
        )
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    tensors = {name: value.detach().cpu().clone() for name, value in values.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in values.items() if name not in tensors}
    for name, value in plain.items():
        if not isinstance(value, bool | int | float | str):
            raise InputError(
                f"saved_every keeps tensors and plain values, but {name} is of type {type(value).__name__}"
            )
    part = path.with_name(path.name + ".part")
    kind = f"{type(state).__module__}.{type(state).__qualname__}"
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        part,
        {"state": kind, "values": json.dumps(plain)},
    )
    part.replace(path)
