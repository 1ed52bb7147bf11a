"""The plan of a transformer: how its residual stream moves through depth, and what of that no null explains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from analyses.maps.teleport import Teleport, teleport
from analyses.result import Result, counted
from analyses.trajectories._depth import TWIN
from analyses.trajectories.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from analyses.trajectories.residual_stream import ResidualStream, residual_stream
from analyses.trajectories.rotation import Rotations, rotations
from analyses.trajectories.stream_geometry import stream_geometry
from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics
from hooks.trajectory import Trajectory
from interp.findings import RATE, Discovery, discoveries
from interp.journal import Journal

TWINS = 39  # p of their nulls is 1/40 at least: enough where half of a page's numbers beat theirs; one alone takes 219


def residual(
    journal: Journal,
    stream: Trajectory,
    *,
    maps: Sequence[Dynamics] = (),
    twins: Iterable[tuple[Trajectory, Sequence[Dynamics]]] = (),
    draws: int = 99,
    grid: int = 5,
    seed: int = 0,
    about: str = "",
) -> None:
    """How a residual stream moves, turns, widens and returns to its path through depth, each beside its nulls.

    Parameters
    ----------
    stream
        Clock "layer", one run a text and position, labelled by text.
    maps
        Of the first runs, one each and of a text of its own: what ``teleport`` displaces. Without them it is left out.
    twins
        Networks of the same shape with random weights, the same texts, in the same form; used one after another, so that a
        generator holds one in memory. Below 19 nothing can be told from an untrained network.
    draws, grid, seed
        Surrogates of each kind; points a side of teleport's grid; of all draws.
    about
        Put before each title, when a page holds several networks.
    """
    if maps:
        check_dynamics(maps[0], stream.states[: len(maps), 0][:8], drive=0)

    motions, turns, dimensions, returns = [], [], [], []
    for twin, twin_maps in twins:
        motions.append(residual_stream(twin, draws=0, groups=0))
        turns.append(rotations(twin, draws=0))
        dimensions.append(intrinsic_dimension(twin, draws=0, groups=0))
        if maps:
            returns.append(teleport(twin_maps, _first(twin, len(twin_maps)), grid=grid, seed=seed))

    generator = torch.Generator().manual_seed(seed)
    journal.note(f"{about}portrait", stream_geometry, stream)
    journal.note(f"{about}motion", residual_stream, stream, twins=motions, draws=draws, generator=generator)
    journal.note(f"{about}rotation", rotations, stream, twins=turns, generator=generator)
    journal.note(f"{about}local dimension", intrinsic_dimension, stream, twins=dimensions, generator=generator)
    if maps:
        leading = _first(stream, len(maps))
        journal.note(f"{about}teleport", teleport, maps, leading, grid=grid, twins=returns, seed=seed)


def stream_account(results: Mapping[str, Result]) -> tuple[str, ...]:
    """What was found of a stream, what was not, and what cannot be told."""
    tried = discoveries(results)
    trained = [one for one in tried if _has_twins(one)]
    sentences = []
    if not trained:
        sentences.append(
            "Not shown: that training made any of this; no random-weight twins were given, and walks alone tell nothing of it."
        )
    else:
        found = [one for one in trained if one.found]
        fewest = min(len(null.draws) for one in trained for null in one.nulls)
        sentences.append(
            f"{len(found)} of {counted(len(trained), 'number')} of the stream beat every null, "
            f"walks and untrained twins alike, with at most {RATE:.0%} false among them"
            + (f": {', '.join(one.statistic for one in found)}." if found else ".")
        )
        if (1 + fewest) * RATE < len(tried):
            sentences.append(
                f"Not shown: what more draws would tell apart; {fewest} of a null allow no p below {1 / (1 + fewest):.2g}, "
                f"and of {len(tried)} numbers one alone is found at {RATE / len(tried):.2g}."
            )
    sentences += [_sentence(one) for one in tried]
    for kind, head in (
        (ResidualStream, "Motion"),
        (Rotations, "Turns"),
        (IntrinsicDimension, "Dimension"),
        (Teleport, "Teleport"),
    ):
        sentences += [f"{head}: {result.summary()}." for result in results.values() if isinstance(result, kind)]
    return tuple(sentences)


def _has_twins(one: Discovery) -> bool:
    return any(null.name == TWIN for null in one.nulls)


def _sentence(one: Discovery) -> str:
    """The number beside its nulls, and first whether it beats them."""
    lost = [null.name for null in one.nulls if not null.beaten]
    if one.found and _has_twins(one):
        head = "Beats its nulls"
    elif one.found:
        head = "Beats walks, and no untrained twin was asked"
    elif lost:
        head = f"Not told from {' and '.join(lost)}"
    else:
        head = f"Beats each null alone and not over the page (q = {one.q:.2g})"
    beside = ", ".join(f"{null.name} {np.median(null.draws):.3g}" for null in one.nulls)
    return f"{head}: {one.statistic} is {one.nulls[0].observed:.3g} ({beside})."


def _first(stream: Trajectory, runs: int) -> Trajectory:
    """The first runs."""
    assert stream.lengths is not None
    return replace(
        stream,
        states=stream.states[:runs],
        lengths=stream.lengths[:runs],
        drives=None if stream.drives is None else stream.drives[:runs],
        labels={name: values[:runs] for name, values in stream.labels.items()},
    )
