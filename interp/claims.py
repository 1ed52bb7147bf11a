"""The paper's number beside ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analyses.result import Result

AGREES, DIFFERS, UNMEASURED = "agrees", "differs", "not measured at this scale"


@dataclass(frozen=True)
class Row:
    """One claim with what was measured."""

    quantity: str
    paper: float
    where: str
    measured: float
    within: float
    reason: str

    @property
    def verdict(self) -> str:
        """agrees, differs, or not measured at this scale."""
        if math.isnan(self.measured):
            return UNMEASURED
        return AGREES if abs(self.measured - self.paper) <= self.within else DIFFERS

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, NaN as null."""
        measured = None if math.isnan(self.measured) else self.measured
        return {**vars(self), "measured": measured, "verdict": self.verdict}


@dataclass(frozen=True)
class Claim:
    """A published or derived number, and how it is measured here.

    Attributes
    ----------
    quantity, paper, where
        What, how much, and in which table, figure or derivation.
    within, reason
        The tolerance, fixed before the run, and why that much.
    measure
        Title -> result mapping to the number; a KeyError means that this scale does not measure it.
    """

    quantity: str
    paper: float
    where: str
    within: float
    reason: str
    measure: Callable[[Mapping[str, Result]], float]

    def row(self, results: Mapping[str, Result]) -> Row:
        """The claim beside the measurement."""
        try:
            measured = float(self.measure(results))
        except KeyError:
            measured = math.nan
        return Row(self.quantity, self.paper, self.where, measured, self.within, self.reason)
