"""The plan of a transformer, and its report: how the residual stream moves through depth, and what of that no null explains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.maps.teleport import Teleport, teleport
from analyses.result import Result, counted
from analyses.trajectories._depth import TWIN
from analyses.trajectories.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from analyses.trajectories.residual_stream import residual_stream
from analyses.trajectories.rotation import rotations
from analyses.trajectories.stream_geometry import stream_geometry
from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families.residual import residual as depth_map
from hooks.stack import record_stream, stack_of
from hooks.trajectory import Trajectory
from hooks.twin import random_twin, scrambled_twin
from interp.findings import RATE, Discovery, discoveries
from interp.journal import Journal
from interp.network import load
from interp.over_networks import over_networks
from interp.page import Report, writable
from interp.revisions import checkpoints, repos_of
from interp.state_space_plan import is_state_space, state_space, state_space_account
from interp.texts import tokens_of

TWINS = 39  # p of their nulls is 1/40 at least: enough where half of a page's numbers beat theirs; one alone takes 219
MOST_TEXTS, LONGEST = 256, 512  # texts of a report, and tokens of each
TELEPORTED, GRID = 8, 3  # texts whose states are displaced, and points a side
WIDEST_SLOPE = 128  # units, of maps whose slopes are checked beforehand
HEADLINES = ("turns", "correlation of successive sites")  # published: told whether they beat their nulls or not
Recorded = tuple[Trajectory, Sequence[Dynamics]]


def residual(
    journal: Journal,
    stream: Trajectory,
    *,
    maps: Sequence[Dynamics] = (),
    twins: Iterable[Recorded] = (),
    scrambled: Iterable[Recorded] = (),
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
    twins, scrambled
        Networks of the same shape with random weights, and with the network's own in random places; the same texts, in the same
        form. They are used one after another, so that a generator holds one in memory. Below 19 nothing can be told from them.
    draws, grid, seed
        Surrogates of each kind; points a side of teleport's grid; of all draws.
    about
        Put before each title, when a page holds several networks.
    """
    if maps and maps[0].dim <= WIDEST_SLOPE:
        check_dynamics(maps[0], stream.states[: len(maps), 0][:8], drive=0)

    beside: list[dict[str, Any]] = [{"twins": [], "scrambled": []} for _ in range(4)]
    motions, turns, dimensions, returns = beside
    for name, others in (("twins", twins), ("scrambled", scrambled)):
        for twin, twin_maps in others:
            motions[name].append(residual_stream(twin, draws=0, groups=0))
            turns[name].append(rotations(twin, draws=0))
            dimensions[name].append(intrinsic_dimension(twin, draws=0, groups=0))
            if maps:
                returns[name].append(teleport(twin_maps, _first(twin, len(twin_maps)), grid=grid, seed=seed))

    generator = torch.Generator().manual_seed(seed)
    journal.note(f"{about}portrait", stream_geometry, stream)
    journal.note(f"{about}motion", residual_stream, stream, **motions, draws=draws, generator=generator)
    journal.note(f"{about}rotation", rotations, stream, **turns, generator=generator)
    journal.note(f"{about}local dimension", intrinsic_dimension, stream, **dimensions, generator=generator)
    if maps:
        leading = _first(stream, len(maps))
        journal.note(f"{about}teleport", teleport, maps, leading, grid=grid, **returns, seed=seed)


def recorded(model: Any, texts: Sequence[np.ndarray], *, mapped: int = TELEPORTED) -> Recorded:
    """The stream of each text's last token at every block, and the maps of the first texts there."""
    stack = stack_of(model)
    stream = record_stream(stack, texts, positions=-1)
    return stream, [depth_map(stack, text, positions=-1) for text in texts[:mapped]]


def recorded_twins(
    make: Callable[..., Any],
    model: Any,
    texts: Sequence[np.ndarray],
    count: int,
    *,
    seed: int,
    mapped: int = TELEPORTED,
) -> Iterator[Recorded]:
    """The same of so many twins (``random_twin`` or ``scrambled_twin``), one in memory at a time."""
    return (recorded(make(model, seed=seed + 1 + number), texts, mapped=mapped) for number in range(count))


def stack_report(
    source: Any,
    text: Path | str,
    *,
    twins: int = TWINS,
    trust: bool = False,
    out: Path | str | None = None,
    seed: int = 0,
    budget: float | None = None,
) -> Report:
    """From a transformer and some texts to a written account of its residual stream.

    Parameters
    ----------
    source
        A model, or a folder or hub id of the transformers library: see ``load``.
    text
        A file of texts or of token ids: see ``interp.texts.tokens_of``. At most 256 of them are read, evenly spaced, and 512
        tokens of each, or what the model takes; the stream of each last token is recorded.
    twins
        Networks of the same shape, as many with random weights and with the model's own in random places, drawn from ``seed``
        + 1 on; each costs what the model itself does. Without them nothing is said to be learned.
    trust, out, seed, budget
        As in ``report``.

    Raises
    ------
    LoadError, InputError
        When the source is no model, or the file has not two texts.
    """
    if twins < 0 or not 0 <= seed < 2**63 - twins:
        raise InputError(f"the number of twins is 0 or more and the seed from 0, but {twins=} and {seed=} came")
    folder = None if out is None else writable(Path(out))
    network = load(source, trust=trust)
    texts = _texts(text, source, network.module)
    name = Path(network.source).name or type(network.module).__name__
    folder = folder or writable(Path("interp-report") / name)

    stack = stack_of(network.module)
    journal = Journal(fingerprint=stack.fingerprint, budget=budget)
    stream, maps = recorded(network.module, texts)
    others = (recorded_twins(make, network.module, texts, twins, seed=seed) for make in (random_twin, scrambled_twin))
    residual(journal, stream, maps=maps, twins=next(others), scrambled=next(others), grid=GRID, seed=seed)
    sentences = stream_account(journal.results)
    if is_state_space(network.module):
        left_out = state_space(journal, network.module, texts, seed=seed)
        sentences += (*state_space_account(journal.results), *left_out)

    provenance = {
        "source": network.source,
        "text": f"{text}: {len(texts)} texts, {min(map(len, texts))} to {max(map(len, texts))} tokens",
        "seed": str(seed),
        "twins": str(twins),
        "fingerprint": stack.fingerprint,
        "notes": " ".join(network.notes),
    }
    return Report(f"{name}: {stack.name}", journal.findings, (), sentences, provenance).written(folder)


def revision_reports(
    repo: str,
    text: Path | str,
    *,
    revisions: str,
    seeds: str | Sequence[int] = (),
    out: Path | str | None = None,
    hub: Any = None,
    **options: Any,
) -> Iterator[Report]:
    """The account of each training checkpoint of a hub model, a page each, and last one over all of them (``over_networks``).

    Texts and draws are the same at all of them.

    Parameters
    ----------
    repo, revisions, seeds, hub
        As in ``interp.revisions.checkpoints``: two of them on disk at most, and after a kill the same call goes on.
    text
        As in ``stack_report``, whose ``options`` are taken too.
    out
        Pages are written to ``out``/model/revision; interp-report when left out.
    """
    folder = writable(Path("interp-report") if out is None else Path(out))
    for checkpoint in checkpoints(repo, revisions, folder / "checkpoints", seeds=seeds, hub=hub):
        page = folder / checkpoint.repo.rpartition("/")[2] / checkpoint.revision
        yield stack_report(checkpoint.folder, text, out=page, **options)
    yield over_networks(folder, [name.rpartition("/")[2] for name in repos_of(repo, seeds)])


def _texts(file: Path | str, source: Any, model: Any) -> list[np.ndarray]:
    """Evenly spaced texts of the file, each as long as the model takes."""
    longest = min(LONGEST, getattr(getattr(model, "config", None), "max_position_embeddings", None) or LONGEST)
    texts = tokens_of(file, source if isinstance(source, str | Path) else "", longest=longest)
    if len(texts) < 2:
        raise InputError(f"{file} holds one text; the unit of replication is the text, so a report takes two at least")
    return [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, min(len(texts), MOST_TEXTS)).astype(int))]


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
            f"walks, untrained and scrambled twins alike, with at most {RATE:.0%} false among them"
            + (f": {', '.join(one.statistic for one in found)}." if found else ".")
        )
        if (1 + fewest) * RATE < len(tried):
            sentences.append(
                f"Not shown: what more draws would tell apart; {fewest} of a null allow no p below {1 / (1 + fewest):.2g}, "
                f"and of {len(tried)} numbers one alone is found at {RATE / len(tried):.2g}."
            )
    sentences += [_sentence(one) for one in tried if one.found or one.statistic in HEADLINES]
    rest = [_sentence(one, head=False) for one in tried if not one.found and one.statistic not in HEADLINES]
    sentences += [f"Not told from a null: {'; '.join(rest)}."] if rest else []
    for kind, head in ((IntrinsicDimension, "Dimension"), (Teleport, "Teleport")):
        sentences += [f"{head}: {result.summary()}." for result in results.values() if isinstance(result, kind)]
    return tuple(sentences)


def _has_twins(one: Discovery) -> bool:
    return any(null.name == TWIN for null in one.nulls)


def _sentence(one: Discovery, *, head: bool = True) -> str:
    """The number beside its nulls; with a head that says first whether it beats them, else with those that it does not."""
    said = f"{one.title.rpartition(': ')[2]}, {one.statistic} is {one.nulls[0].observed:.3g}"
    lost = [null.name for null in one.nulls if not null.beaten]
    against = "its nulls" if _has_twins(one) else "walks, and no untrained twin was asked"
    over = f"{against}, each alone and not over the page (q = {one.q:.2g})"
    if not head:
        return f"{said} ({', '.join(lost) if lost else f'beats {over}'})"
    first = f"Beats {against}" if one.found else f"Not told from {', '.join(lost)}" if lost else f"Beats {over}"
    return f"{first}: {said} ({', '.join(f'{null.name} {np.median(null.draws):.3g}' for null in one.nulls)})."


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
