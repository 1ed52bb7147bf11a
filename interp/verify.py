"""Are the proofs in a written report right? Each is made again from the written files alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.maps.absence import Absence, certify_absence
from analyses.maps.certificates import Certificates, confirmed
from analyses.maps.contraction import Contraction, certify_contraction
from analyses.result import Result
from analyses.symbols.exact_cycles import ExactCycles, exact_cycles
from analyses.symbols.exact_fixed_points import ExactFixedPoints, exact_fixed_points
from hooks.dynamics import Dynamics
from hooks.families import PiecewiseLinear
from interp.maps import read_maps
from interp.page import read

MAP = re.compile(r"<[^<>]* ([0-9a-f]{16}(?:\.[0-9a-f]{8})?)>")  # how a recorded call names its first map


@dataclass(frozen=True)
class Verdict:
    """One finding with proofs: how many claims it makes, how many were proved again, and why not more."""

    title: str
    claims: int
    confirmed: int
    reason: str = ""

    def __str__(self) -> str:
        return (
            f"{self.title}: {self.confirmed} of {self.claims} proved again{f' ({self.reason})' if self.reason else ''}"
        )


def verified(folder: Path) -> tuple[Verdict, ...]:
    """Prove every certificate of a report again, from numbers.json, arrays.safetensors and maps.safetensors.

    Raises
    ------
    InputError
        When the folder holds no report, or no maps.
    """
    report, maps = read(folder), read_maps(folder)
    verdicts = []
    for finding in report.findings:
        claims = _claims(finding.result)
        if not claims:
            continue
        named = MAP.search(finding.call)
        dynamics = maps.get(named[1]) if named else None
        if dynamics is None:
            reason = "the weights of its map are not in the report, or not those it was made with"
            verdicts.append(Verdict(finding.title, claims, 0, reason))
            continue
        with torch.no_grad():
            verdicts.append(Verdict(finding.title, claims, _confirmed(dynamics, finding.result)))
    return tuple(verdicts)


def _claims(result: Result) -> int:
    """How many statements a result claims to be proved."""
    match result:
        case Certificates():
            return int(result.proved.sum())
        case Contraction() | Absence():
            return int(result.proved)
        case ExactFixedPoints() | ExactCycles():
            return int(result.complete)
    return 0


def _confirmed(dynamics: Dynamics, result: Any) -> int:
    match result:
        case Certificates():
            return int((confirmed(dynamics, result) & result.proved).sum())
        case Contraction():
            again = certify_contraction(dynamics, tuple(result.box), metric=result.metric, splits=2 * result.examined)
            return int(
                again.proved and again.rate <= result.rate * (1 + 1e-6)
            )  # the norm is rebuilt from M, to rounding
        case ExactFixedPoints():
            return int(_listed(dynamics, result))
        case ExactCycles():
            return int(_cycles_listed(dynamics, result))
    return int(_absent(dynamics, result))


def _listed(dynamics: Dynamics, claim: ExactFixedPoints) -> bool:
    """The regions are decided again, and give the claimed points within the sum of the radii, and the claimed continua."""
    weights: Any = {name: value for name, value in dynamics.weights.items() if name != "family"}
    again = exact_fixed_points(PiecewiseLinear(**weights))
    same = np.array_equal(again.regions, claim.regions) and np.array_equal(again.continua, claim.continua)
    near = same and (np.abs(again.points - claim.points).max(axis=1) <= again.radii + claim.radii).all()
    return bool(again.complete and near)


def _cycles_listed(dynamics: Dynamics, claim: ExactCycles) -> bool:
    """All words are decided again, and give the claimed cycles within the sum of the radii."""
    weights: Any = {name: value for name, value in dynamics.weights.items() if name != "family"}
    again = exact_cycles(PiecewiseLinear(**weights), periods=claim.searched)
    same = np.array_equal(again.words, claim.words) and np.array_equal(again.periods, claim.periods)
    same = same and np.array_equal(again.real, claim.real) and again.continua == claim.continua
    same = same and np.array_equal(np.isnan(again.points), np.isnan(claim.points))
    apart = np.nan_to_num(np.abs(again.points - claim.points)).max(axis=(1, 2), initial=0) if same else np.inf
    near = apart <= again.radii + claim.radii
    return bool(again.complete and np.all(near))


def _absent(dynamics: Dynamics, claim: Absence) -> bool:
    """The box is cleared again beside the excepted balls; that these hold a point is the claim of their certificates."""
    return certify_absence(
        dynamics, tuple(claim.box), except_for=(claim.points, claim.radii.min(axis=1, initial=float("inf"))),
        splits=2 * claim.examined,
    ).proved  # fmt: skip
