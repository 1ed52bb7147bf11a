"""One page over the pages of several networks or checkpoints: which numbers hold in more networks than chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyses.series.replication import replication
from hooks.errors import InputError
from interp.findings import RATE, discoveries
from interp.journal import Journal
from interp.page import Report, read
from interp.revisions import in_order

ALIKE = ("text", "seed", "twins")  # of the provenance: pages that differ in one are not put side by side


def over_networks(folder: Path, networks: Sequence[str]) -> Report:
    """The page over all that ``folder``/network/checkpoint hold, written beside them.

    Pages made of other texts, draws or numbers of twins than the newest are left out, and said to be.

    Parameters
    ----------
    folder
        Where the pages are.
    networks
        Names of the folders in it, one a network.

    Raises
    ------
    InputError
        When they hold no page.
    """
    written = {
        (path.parts[-3], path.parts[-2]): path for name in networks for path in (folder / name).glob("*/numbers.json")
    }
    if not written:
        raise InputError(f"{folder} holds no page of {', '.join(networks)}; what is finished there is not made again")
    newest = max(written.values(), key=lambda path: path.stat().st_mtime)
    pages = {place: read(path.parent) for place, path in written.items()}
    like = [read(newest.parent).provenance.get(name) for name in ALIKE]
    alike = {place: page for place, page in pages.items() if [page.provenance.get(name) for name in ALIKE] == like}

    asked = {place: discoveries({f.title: f.result for f in page.findings}) for place, page in alike.items()}
    names = list(dict.fromkeys(f"{one.title}, {one.statistic}" for tried in asked.values() for one in tried))
    steps = in_order({revision for _, revision in alike})
    values = np.full((len(networks), len(steps), len(names)), np.nan)
    found = np.zeros(values.shape, dtype=bool)
    for (network, revision), tried in asked.items():
        for one in tried:
            at = networks.index(network), steps.index(revision), names.index(f"{one.title}, {one.statistic}")
            values[at], found[at] = one.nulls[0].observed, one.found

    journal = Journal()
    over = journal.note(
        "over networks", replication, values, found, networks=networks, checkpoints=steps, statistics=names, rate=RATE
    )
    left_out = len(pages) - len(alike)
    provenance = {
        **dict(zip(ALIKE, map(str, like), strict=True)),
        "notes": f"{left_out} pages of other texts, draws or twins were left out." if left_out else "",
    }
    sentence = f"Over networks: {over.summary()}."
    subject = f"{', '.join(networks[:3])}{', ...' if len(networks) > 3 else ''}: {len(steps)} checkpoints"
    return Report(subject, journal.findings, (), (sentence,), provenance).written(folder / "over networks")
