"""Journal: calls analyses, times them, keeps what they found and exactly how they were called."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from analyses.result import Outcome, Result
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.symbol_reader import SymbolReader
from hooks.trajectory import Trajectory
from interp.progress import meter, within_budget

P = ParamSpec("P")
R = TypeVar("R", bound=Result)
UNRECORDED = ("watch", "resume", "generator")  # they change when and how a run ends, not what is asked


@dataclass(frozen=True, eq=False)
class Finding:
    """One analysis of a report: its title, its result, the call that made it, and the seconds it took."""

    title: str
    result: Result
    call: str
    seconds: float


class Journal:
    """The list of findings of one network; with a folder, it is written as it grows and read back on a second run.

    Parameters
    ----------
    folder
        Where findings are kept; none are when left out. A folder belongs to one fingerprint and refuses another.
    fingerprint
        Digest of the network and settings.
    budget
        Seconds that each long loop may take.
    """

    def __init__(self, folder: Path | None = None, *, fingerprint: str = "", budget: float | None = None) -> None:
        self.folder = folder
        self.budget = budget
        self._fingerprint = fingerprint
        self._findings: list[Finding] = []
        self._maps: dict[str, Mapping[str, Any]] = {}
        if folder is not None:
            _claim(folder, fingerprint)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, in order."""
        return tuple(self._findings)

    @property
    def results(self) -> dict[str, Result]:
        """Title -> result."""
        return {finding.title: finding.result for finding in self._findings}

    def watch(self, title: str) -> Any:
        """What long loops are wrapped in: progress on stderr, and the budget."""
        shown = meter(title)
        if self.budget is None:
            return shown
        limited = within_budget(self.budget)
        return lambda states, total: limited(shown(states, total), total)

    @property
    def maps(self) -> dict[str, Mapping[str, Any]]:
        """Fingerprint -> weights of every map that an analysis took, where it has weights."""
        return dict(self._maps)

    def note(self, title: str, function: Callable[P, R], /, *args: P.args, **options: P.kwargs) -> R:
        """Call an analysis and keep its result under this title.

        A result kept in the folder is reused when its recorded call is equal; one that ran out of time is not kept. Where
        neither the journal nor the map has a fingerprint, as of a field that is code, it is made again, since another such map
        has the same call.
        """
        if any(finding.title == title for finding in self._findings):
            raise InputError(f"there is a finding {title!r} already; titles are different")
        call = recorded(function, args, options)
        given = [
            value.dynamics()
            if isinstance(value, PiecewiseLinear)
            else value.dynamics
            if isinstance(value, SymbolReader) and value.dynamics is not None
            else value
            for value in (*args, *options.values())
        ]
        self._maps |= {
            value.fingerprint: value.weights for value in given if isinstance(value, Dynamics) and value.weights
        }
        path = None if self.folder is None else self.folder / f"{hashlib.sha256(title.encode()).hexdigest()[:16]}.json"
        nameless = not self._fingerprint and any(
            isinstance(v, Dynamics | SymbolReader) and not v.fingerprint for v in given
        )
        kept = None if path is None or nameless else _kept(path, call)
        if kept is not None:
            result, seconds = kept
        else:
            wanted: dict[str, Any] = dict(options)
            if "watch" in function.__annotations__ and "watch" not in wanted:
                wanted["watch"] = self.watch(title)
            begin = time.perf_counter()
            result = function(*args, **wanted)
            seconds = time.perf_counter() - begin
            if path is not None and not out_of_time(result):
                written = {"call": call, "seconds": seconds, "module": type(result).__module__, **result.to_dict()}
                _write(path, json.dumps(written))
        self._findings.append(Finding(title, result, call, seconds))
        return result


def out_of_time(result: Result) -> bool:
    """Whether the analysis, or a part of it, was stopped early."""
    values = vars(result).values()
    return any(v is Outcome.OUT_OF_TIME or (isinstance(v, tuple) and Outcome.OUT_OF_TIME in v) for v in values)


def recorded(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    """The call in one line: the function's path, arrays by shape and digest, maps by name and fingerprint."""
    parts = [_spelled(arg) for arg in args]
    parts += [f"{name}={_spelled(value)}" for name, value in options.items() if name not in UNRECORDED]
    return f"{function.__module__}.{function.__qualname__}({', '.join(parts)})"


def _spelled(value: Any) -> str:
    match value:
        case Dynamics():
            return f"<{value.name} {value.fingerprint}>".replace(" >", ">")
        case PiecewiseLinear():
            return _spelled(value.dynamics())
        case SymbolReader():
            driven = "" if value.drives is None else f" by {_spelled(value.drives)}"
            start = value.first(1)  # where it is and what is read out there tell readers of one network apart
            begun = f"{_spelled(value.vectors(start))} {_spelled(value.probabilities(start))}"
            return f"<reader of {value.name} {value.fingerprint}{driven} from {begun}>"
        case Trajectory():
            return f"<trajectory {_spelled(value.states)}>"
        case torch.Tensor():
            return _spelled(value.detach().cpu().numpy())
        case np.ndarray() if value.size > 4:
            return f"<{'x'.join(map(str, value.shape))} {hashlib.sha256(value.tobytes()).hexdigest()[:8]}>"
        case np.ndarray():
            return str(value.tolist())
        case Result():
            return f"<{type(value).__name__} {hashlib.sha256(json.dumps(value.to_dict()).encode()).hexdigest()[:8]}>"
        case list() | tuple():
            return f"[{', '.join(map(_spelled, value))}]" if len(value) <= 8 else _many(value)
        case Mapping():
            return f"{{{', '.join(f'{key}: {_spelled(entry)}' for key, entry in value.items())}}}"
    return repr(value)


def _many(values: Any) -> str:
    if all(isinstance(value, np.ndarray) for value in values):
        return _spelled(np.concatenate([value.ravel() for value in values]))
    if all(isinstance(value, Dynamics | Result | Trajectory) for value in values):
        spelled = ", ".join(map(_spelled, values))
        return f"<{len(values)} {type(values[0]).__name__} {hashlib.sha256(spelled.encode()).hexdigest()[:8]}>"
    return repr(str(values))


def _claim(folder: Path, fingerprint: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / "fingerprint"
    if name.exists() and name.read_text() != fingerprint:
        raise InputError(
            f"{folder} holds findings of {name.read_text()}, not of {fingerprint}: give another folder, or remove it"
        )
    _write(name, fingerprint)


def _kept(path: Path, call: str) -> tuple[Any, float] | None:
    """A finding written earlier by an equal call; only results of this package's analyses are read, and none of a version whose
    results had other fields."""
    if not path.exists():
        return None
    written = json.loads(path.read_text())
    if written["call"] != call or not written["module"].startswith("analyses."):
        return None
    kind = getattr(importlib.import_module(written["module"]), written["result"])
    fields = {"call", "seconds", "module", "schema", "result"} | {field.name for field in dataclasses.fields(kind)}
    return (kind.from_dict(written), written["seconds"]) if written.keys() == fields else None


def _write(path: Path, text: str) -> None:
    """Whole or not at all, also when the run is killed."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
