"""The plan of a transformer, and its report: how the residual stream moves through depth, and what of that no null explains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from hooks.twin import random_twin
from interp.findings import RATE, Discovery, discoveries
from interp.journal import Journal
from interp.network import load
from interp.page import Report, writable

TWINS = 39  # p of their nulls is 1/40 at least: enough where half of a page's numbers beat theirs; one alone takes 219
MOST_TEXTS, LONGEST = 256, 512  # texts of a report, and tokens of each
TELEPORTED, GRID = 8, 3  # texts whose states are displaced, and points a side
WIDEST_SLOPE = 128  # units, of maps whose slopes are checked beforehand
Recorded = tuple[Trajectory, Sequence[Dynamics]]


def residual(
    journal: Journal,
    stream: Trajectory,
    *,
    maps: Sequence[Dynamics] = (),
    twins: Iterable[Recorded] = (),
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
    if maps and maps[0].dim <= WIDEST_SLOPE:
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


def recorded(model: Any, texts: Sequence[np.ndarray], *, mapped: int = TELEPORTED) -> Recorded:
    """The stream of each text's last token at every block, and the maps of the first texts there."""
    stack = stack_of(model)
    stream = record_stream(stack, texts, positions=-1)
    return stream, [depth_map(stack, text, positions=-1) for text in texts[:mapped]]


def recorded_twins(
    model: Any, texts: Sequence[np.ndarray], count: int, *, seed: int, mapped: int = TELEPORTED
) -> Iterator[Recorded]:
    """The same of so many networks of the same shape with random weights, one in memory at a time."""
    return (recorded(random_twin(model, seed=seed + 1 + number), texts, mapped=mapped) for number in range(count))


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
        A file, one text a line; at most 256 of them are read, evenly spaced, 512 tokens of each. The stream of each last token
        is recorded.
    twins
        Networks of the same shape with random weights, drawn from ``seed`` + 1 on; each costs what the network itself does.
        Without them nothing is said to be learned.
    trust, out, seed, budget
        As in ``report``.

    Raises
    ------
    LoadError, InputError
        When the source is no model, or the file has not two texts of two tokens.
    """
    if twins < 0 or not 0 <= seed < 2**63 - twins:
        raise InputError(f"the number of twins is 0 or more and the seed from 0, but {twins=} and {seed=} came")
    folder = None if out is None else writable(Path(out))
    network = load(source, trust=trust)
    texts, note = tokens_of(source, network.module, Path(text))
    name = Path(network.source).name or type(network.module).__name__
    folder = folder or writable(Path("interp-report") / name)

    stack = stack_of(network.module)
    journal = Journal(fingerprint=stack.fingerprint, budget=budget)
    stream, maps = recorded(network.module, texts)
    others = recorded_twins(network.module, texts, twins, seed=seed)
    residual(journal, stream, maps=maps, twins=others, grid=GRID, seed=seed)

    provenance = {
        "source": network.source,
        "text": f"{text}: {len(texts)} texts, {min(map(len, texts))} to {max(map(len, texts))} tokens",
        "seed": str(seed),
        "twins": str(twins),
        "fingerprint": stack.fingerprint,
        "notes": " ".join((*network.notes, note)),
    }
    return Report(f"{name}: {stack.name}", journal.findings, (), stream_account(journal.results), provenance).written(
        folder
    )


def tokens_of(source: Any, model: Any, file: Path) -> tuple[list[np.ndarray], str]:
    """The texts of a file as the model's tokens, and a note on how: by the tokenizer beside the model, else bytes.

    Raises
    ------
    InputError
        When there is no file, it has not two lines of two tokens, or bytes are no tokens of the model.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    lines = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, min(len(lines), MOST_TEXTS)).astype(int))]
    config: Any = getattr(model, "config", None)
    longest = min(LONGEST, getattr(config, "max_position_embeddings", LONGEST) or LONGEST)
    tokenizer = _tokenizer(source)
    if tokenizer is not None:
        rows = [np.array(tokenizer(line)["input_ids"][:longest], dtype=np.int64) for line in lines]
        note = "Texts are tokens of the tokenizer beside the model."
    else:
        if getattr(config, "vocab_size", 256) < 256:
            raise InputError(
                f"no tokenizer lies beside the model, and of its {config.vocab_size} tokens bytes are none"
            )
        rows = [np.frombuffer(line.encode()[:longest], dtype=np.uint8).astype(np.int64) for line in lines]
        note = "No tokenizer lies beside the model: the bytes of the texts are its tokens."
    rows = [row for row in rows if len(row) > 1]
    if len(rows) < 2:
        raise InputError(
            f"{file} has {counted(len(rows), 'line')} of two tokens or more; a report takes two texts at least"
        )
    return rows, note


def _tokenizer(source: Any) -> Any:
    """The tokenizer of a folder or hub id; None where there is none."""
    if not isinstance(source, str | Path):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, KeyError):
        return None


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
    for kind, head in ((IntrinsicDimension, "Dimension"), (Teleport, "Teleport")):
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
        head = f"Not told from {', '.join(lost)}"
    else:
        head = f"Beats each null alone and not over the page (q = {one.q:.2g})"
    beside = ", ".join(f"{null.name} {np.median(null.draws):.3g}" for null in one.nulls)
    return f"{head}: {one.title.rpartition(': ')[2]}, {one.statistic} is {one.nulls[0].observed:.3g} ({beside})."


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
