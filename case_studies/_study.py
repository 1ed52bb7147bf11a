"""CaseStudy: one paper, or one question, with a specimen, an examination and claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from analyses.result import Result
from hooks.errors import InputError
from interp.claims import Claim
from interp.journal import Journal
from interp.page import Report, writable

S = TypeVar("S")


def number_of(title: str, read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """What a claim measures: a number read from the result of this title."""
    return lambda results: float(read(results[title]))


@dataclass(frozen=True)
class CaseStudy(Generic[S]):
    """A study that can be run again.

    Attributes
    ----------
    title, citation, question
        Of the page.
    prepare
        Settings of a scale -> specimen: builds, trains or loads.
    examine
        (journal, specimen) -> sentences for the head of the page.
    claims
        Each gives one row, at every scale.
    scales
        "tiny" (CI: under ten seconds), "quick" (a minute or so), "full" (the paper's size) -> settings of ``prepare``.
    """

    title: str
    citation: str
    question: str
    prepare: Callable[..., S]
    examine: Callable[[Journal, S], tuple[str, ...]]
    claims: tuple[Claim, ...]
    scales: Mapping[str, Mapping[str, Any]]

    def run(self, scale: str, folder: Path, *, hub: str | None = None, data: Path | None = None) -> Report:
        """Prepare, examine, hold the claims against the results, and write the report.

        Raises
        ------
        InputError
            For a scale that the study does not have, a folder that cannot be written, or a model of a hub or a recording where
            the study takes none.
        """
        if scale not in self.scales:
            raise InputError(f"no scale {scale!r}; there are {', '.join(self.scales)}")
        settings = dict(self.scales[scale])
        if hub is not None:
            if "hub" not in settings:
                raise InputError(f"this study takes no model of a hub, so {hub!r} has no use: leave --hub out")
            settings["hub"] = hub
        if data is not None:
            if "data" not in settings:
                raise InputError(f"this study takes no recording, so {str(data)!r} has no use: leave --data out")
            settings["data"] = str(data)
        writable(folder)
        journal = Journal()
        specimen = self.prepare(**settings)
        sentences = self.examine(journal, specimen)
        rows = tuple(claim.row(journal.results) for claim in self.claims)
        provenance = {
            "citation": self.citation,
            "question": self.question,
            "scale": scale,
            "settings": str(settings),
        }
        return Report(self.title, journal.findings, rows, sentences, provenance, maps=journal.maps).written(folder)
