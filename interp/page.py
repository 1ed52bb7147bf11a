"""Report: findings written as one self-contained page, one JSON file, and the large arrays beside it."""

from __future__ import annotations

import datetime
import importlib
import json
import math
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from safetensors.numpy import load_file, save

from analyses.maps.certificates import Certificates
from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.loop_attractors import LoopAttractors
from analyses.maps.network_comparison import HEADER, NetworkComparison
from analyses.maps.stability import Stability
from analyses.maps.transitions import DEPENDS, NOWHERE, Transitions
from analyses.result import SCHEMA, Check, Result
from analyses.symbols.region_table import RegionTable
from hooks.errors import InputError
from interp.claims import DIFFERS, Row
from interp.figures import pictures
from interp.findings import discoveries
from interp.journal import Finding, out_of_time
from interp.maps import write_maps

LARGE = 10_000  # numbers above which an array leaves the JSON file
MOST_ROWS = 64


@dataclass(frozen=True, eq=False)
class Report:
    """An account of one network or study.

    Attributes
    ----------
    subject
        The page's title.
    findings, rows
        Results with their calls; claims beside measurements.
    sentences
        The account in plain words.
    provenance
        What is needed to run it again.
    path
        The page, once written.
    maps
        Fingerprint -> weights of the maps that were analysed, written beside the page for ``interp verify``.
    """

    subject: str
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...] = ()
    sentences: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    maps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[str, ...]:
        """Checks that failed and claims that differ, a line each."""
        lines = [
            f"{title}: {check.name} is {check.got:g}, not {check.expected:g}"
            for title, check in self.checks()
            if not check.passed
        ]
        lines += [
            f"{row.quantity}: {row.measured:g}, the claim is {row.paper:g}"
            for row in self.rows
            if row.verdict == DIFFERS
        ]
        return tuple(lines)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Titles of findings whose analysis ran out of time."""
        return tuple(finding.title for finding in self.findings if out_of_time(finding.result))

    def checks(self) -> list[tuple[str, Check]]:
        """(title, check) of every finding."""
        return [(finding.title, check) for finding in self.findings for check in finding.result.checks]

    def written(self, folder: Path) -> Report:
        """Write numbers.json, arrays.safetensors and report.html into the folder; the page is drawn from the first two."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {}
        provenance = {**self.provenance, **_versions()}
        findings = [
            {
                "title": finding.title,
                "call": finding.call,
                "seconds": finding.seconds,
                "module": type(finding.result).__module__,
                **_spilled(finding.result.to_dict(), f"{number}", arrays),
            }
            for number, finding in enumerate(self.findings)
        ]
        numbers = {
            "schema": SCHEMA,
            "subject": self.subject,
            "sentences": list(self.sentences),
            "rows": [row.to_dict() for row in self.rows],
            "findings": findings,
            "provenance": provenance,
        }
        (folder / "numbers.json").write_text(_json(numbers), encoding="utf-8")
        (folder / "arrays.safetensors").write_bytes(save(arrays))
        write_maps(folder, self.maps)
        page = folder / "report.html"
        page.write_text(_html(read(folder)), encoding="utf-8")
        return replace(self, provenance=provenance, path=page)


def read(folder: Path) -> Report:
    """The report that was written into a folder, with its results.

    Raises
    ------
    InputError
        When the folder holds no report of this schema.
    """
    path = folder / "numbers.json"
    if not path.exists():
        raise InputError(f"{folder} holds no numbers.json, so no report")
    numbers = json.loads(path.read_text(encoding="utf-8"))
    if numbers.get("schema") != SCHEMA:
        raise InputError(f"{path} has schema {numbers.get('schema')}; this version reads {SCHEMA}")
    arrays = load_file(folder / "arrays.safetensors")
    findings = []
    for written in numbers["findings"]:
        if not written["module"].startswith("analyses."):
            raise InputError(f"{path} names a result of {written['module']}, which is no analysis of this package")
        kind = getattr(importlib.import_module(written["module"]), written["result"])
        result = kind.from_dict(_gathered(written, arrays))
        findings.append(Finding(written["title"], result, written["call"], written["seconds"]))
    rows = tuple(
        Row(**{name: math.nan if value is None else value for name, value in row.items() if name != "verdict"})  # type: ignore[arg-type]
        for row in numbers["rows"]
    )
    return Report(
        numbers["subject"],
        tuple(findings),
        rows,
        tuple(numbers["sentences"]),
        numbers["provenance"],
        folder / "report.html",
    )


def _json(numbers: Mapping[str, Any]) -> str:
    """One entry a line, one finding a line: short enough to keep, and a difference shows where it is."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    lines = {key: line(value) for key, value in numbers.items()}
    lines["findings"] = "[\n" + ",\n".join(line(finding) for finding in numbers["findings"]) + "\n]"
    return "{\n" + ",\n".join(f"{line(key)}:{text}" for key, text in lines.items()) + "\n}\n"


def _html(report: Report) -> str:
    environment = Environment(
        loader=PackageLoader("interp"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    results: dict[str, dict[str, Result]] = {}
    for finding in report.findings:
        results.setdefault(_group(finding.title), {})[finding.title] = finding.result
    account: dict[str, list[str]] = {"": [], **{name: [] for name in results}}
    for sentence in report.sentences:
        name = next((name for name in results if name and sentence.startswith(f"{name}. ")), "")
        account[name].append(sentence.removeprefix(f"{name}. "))
    q = {id(null): one.q for one in discoveries({f.title: f.result for f in report.findings}) for null in one.nulls}
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in account}
    for number, finding in enumerate(report.findings, start=1):
        beside = results[_group(finding.title)]
        section = {
            "number": number,
            "title": finding.title.rpartition(": ")[2],
            "finding": finding,
            "passed": sum(check.passed for check in finding.result.checks),
            "pictures": pictures(finding.result, beside),
            "table": _table(finding.result, beside),
            "nulls": [
                (null, float(np.median(null.draws)), q[id(null)]) for null in getattr(finding.result, "nulls", ())
            ],
        }
        sections[_group(finding.title)].append(section)
    groups = [{"name": name, "sentences": sentences, "sections": sections[name]} for name, sentences in account.items()]
    rows = sorted(report.rows, key=lambda row: row.verdict != DIFFERS)
    return environment.get_template("report.html").render(
        report=report, groups=groups, rows=rows, capital=lambda text: text[:1].upper() + text[1:]
    )


def _group(title: str) -> str:
    return title.rpartition(": ")[0]


def _table(result: Result, beside: Mapping[str, Result]) -> dict[str, Any] | None:
    """What a result lists, a row each; None when it lists nothing."""
    if isinstance(result, FixedPoints | Cycles) and len(result.hits):
        return _points_table(result, beside)
    if isinstance(result, LoopAttractors) and len(result.hits):
        return _attractors_table(result)
    if isinstance(result, RegionTable) and len(result.regions):
        return _regions_table(result)
    if isinstance(result, NetworkComparison) and result.names:
        caption = "Stability portraits, a row a network"
        return {"caption": caption, "header": HEADER, "lines": result.lines, "faint": False}
    return _transitions_table(result) if isinstance(result, Transitions) and result.targets.size else None


def _regions_table(result: RegionTable) -> dict[str, Any]:
    """Linear regions with their share of time and what they do."""
    lines = [list(line) for line in result.lines[:MOST_ROWS]]
    return {
        "caption": f"{len(lines)} linear regions: those of the {result.visited} visited that hold most of the time first",
        "header": ["region", "share of time", "fixed point", "leading eigenvalues", "what it does"],
        "lines": lines,
        "faint": False,
    }


def _attractors_table(result: LoopAttractors) -> dict[str, Any]:
    """Rests of a loop with the starts that end there."""
    totals = [(result.from_noise == kind).sum() for kind in (0, 1)]
    intervals = result.basin_intervals()
    lines = []
    for row, (data, noise) in enumerate(result.hits[:MOST_ROWS]):
        low, high = intervals[row] if totals[0] else (math.nan, math.nan)
        kind, radius = "attracts" if result.stable[row] else "does not attract", result.spectral_radii[row]
        share = f"{data} ({low:.3f} to {high:.3f})"
        lines.append([str(row + 1), kind, f"{radius:.4g}", f"{result.residuals[row]:.1e}", share, str(noise)])
    header = [
        "",
        "kind",
        "spectral radius",
        "residual",
        f"of {totals[0]} starts from data",
        f"of {totals[1]} from noise",
    ]
    caption = f"{len(lines)} of {len(result.hits)} rests, most often reached first; shares of data with 95 % intervals"
    return {"caption": caption, "header": header, "lines": lines, "faint": False}


def _points_table(result: FixedPoints | Cycles, beside: Mapping[str, Result]) -> dict[str, Any]:
    """Points or cycles with what stability and proofs say of them."""
    periods = result.periods if isinstance(result, Cycles) else np.ones(len(result.hits), dtype=np.int64)
    kinds = next(
        (
            other.kinds
            for other in beside.values()
            if isinstance(other, Stability)
            and np.array_equal(other.periods, periods)
            and np.array_equal(other.unstable, (np.abs(result.eigenvalues) > 1).sum(axis=1))
        ),
        tuple("stable" if stable else "unstable" for stable in result.stable),
    )
    radii = np.full(len(periods), np.nan)
    for proofs in (other for other in beside.values() if isinstance(other, Certificates)):
        if (periods == proofs.times).sum() == len(proofs.radii):
            radii[periods == proofs.times] = proofs.radii
    lines = []
    for row in range(min(len(periods), MOST_ROWS)):
        moduli = np.abs(result.eigenvalues[row])
        cells = {"": str(row + 1)}
        if isinstance(result, Cycles):
            cells["period"] = str(periods[row])
        cells["kind"] = kinds[row]
        cells["unstable directions"] = str(int((moduli > 1).sum()))
        cells["leading |eigenvalue|"] = f"{moduli[0]:.4g}"
        cells["residual"] = f"{result.residuals[row]:.1e}"
        cells["proved within"] = f"{radii[row]:.1e}" if np.isfinite(radii[row]) else "not proved"
        cells["starts"] = str(result.hits[row])
        lines.append(cells)
    noun, order = ("cycles", "by period, then ") if isinstance(result, Cycles) else ("fixed points", "")
    return {
        "caption": f"{len(lines)} of {len(periods)} {noun}, {order}most often reached first",
        "header": list(lines[0]),
        "lines": [list(cells.values()) for cells in lines],
        "faint": False,
    }


def _transitions_table(result: Transitions) -> dict[str, Any]:
    """The memory that each pulse (column) takes each memory (row) to."""
    shown = result.targets[:MOST_ROWS]
    lines = []
    for row, targets in enumerate(shown):
        cells = [{NOWHERE: "none", DEPENDS: "by phase"}.get(int(to), result.memory_names[max(to, 0)]) for to in targets]
        marks = ["" if robust else " *" for robust in result.robust[row]]
        lines.append([result.memory_names[row], *(cell + mark for cell, mark in zip(cells, marks, strict=True))])
    caption = f"The memory reached from {len(shown)} of {len(result.targets)} memories, a column a pulse"
    if not result.robust[:MOST_ROWS].all():
        caption += "; * not reached, or not by pulses 0.8 and 1.25 times as strong"
    return {"caption": caption, "header": ["memory", *result.pulse_names], "lines": lines, "faint": True}


def _spilled(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    """The same, with large arrays moved out."""
    if isinstance(value, dict):
        if "dtype" in value and np.prod(value["shape"], dtype=np.int64) > LARGE:
            kind = "float64" if value["dtype"].startswith("complex") else value["dtype"]
            arrays[key] = np.array(value["values"], dtype=kind)  # null becomes NaN
            return {"dtype": value["dtype"], "shape": value["shape"], "array": key}
        return {name: _spilled(entry, f"{key}.{name}", arrays) for name, entry in value.items()}
    return (
        [_spilled(entry, f"{key}.{i}", arrays) for i, entry in enumerate(value)] if isinstance(value, list) else value
    )


def _gathered(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if "array" in value and "dtype" in value:
            return {"dtype": value["dtype"], "shape": value["shape"], "values": arrays[value["array"]].tolist()}
        return {name: _gathered(entry, arrays) for name, entry in value.items()}
    return [_gathered(entry, arrays) for entry in value] if isinstance(value, list) else value


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in ("interp-dynamics", "torch", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    found["written"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return found


def writable(folder: Path) -> Path:
    """The folder, or a refusal before anything is computed when no report can be written there."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{folder} cannot be the folder of the report: {there} is a file (out)")
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise InputError(
            f"{folder} cannot be the folder of the report: {there} cannot be written, {said} (out)"
        ) from None
    return folder
