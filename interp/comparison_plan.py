"""The plan of many networks, and its report: which are the same up to coordinates, and whether one is unlike the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.network_comparison import NetworkComparison, compare_networks
from analyses.result import Outcome, Result, counted
from analyses.series.odd_one_out import OddOneOut, odd_one_out
from analyses.symbols.machine_comparison import MachineComparison, compare_machines
from analyses.trajectories.similarity import DynamicalSimilarity, dynamical_similarity
from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics
from hooks.errors import ContractError, InputError, InterpError
from hooks.symbol_reader import SymbolReader
from hooks.trajectory import Trajectory
from interp.driving import driving_inputs, visited
from interp.findings import discoveries
from interp.journal import Journal
from interp.network import load
from interp.page import Report, writable
from interp.plans import UNWRITTEN
from interp.symbol_plan import machine_of, reader_for

PERIODS = (2, 3)
DIRECTIONS = 4  # exponents of each network
MOST_RUNS = 32  # of the exponents
ODD = "odd one out, by "


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks to compare: its map, the states it visits, and what was assumed in reading it; where inputs are
    symbols, also the network as their reader and the words that it was given."""

    dynamics: Dynamics
    trajectory: Trajectory
    notes: tuple[str, ...] = ()
    symbols: tuple[SymbolReader, np.ndarray] | None = None


def many_networks(
    journal: Journal,
    members: Mapping[str, Member],
    *,
    rest: Any = None,
    starts: int = 512,
    periods: tuple[int, ...] = PERIODS,
    steps: int = 500,
    draws: int = 19,
    seed: int = 0,
) -> None:
    """Fixed points, cycles and leading exponents of each network, and the distances between networks.

    Parameters
    ----------
    members
        Name -> network. All take the same drives.
    rest : (inputs,)
        The drive that is held while fixed points are sought; zero when left out.
    starts, periods, steps
        Of each search; cycles sought; steps of the exponents.
    draws
        Dealings of each network's runs into halves, the null of the dynamical similarity.
    seed
        Of all draws; each search begins with it again, so that its result does not depend on what was done before.
    """
    points, cycles, spectra = [], [], []
    for name, member in members.items():
        dynamics, trajectory = member.dynamics, member.trajectory
        held = dynamics.hold(np.zeros(dynamics.inputs) if rest is None else rest) if dynamics.driven else dynamics
        seen = trajectory.points()
        try:
            check_dynamics(held, seen[:: max(1, len(seen) // 8)][:8])
        except ContractError as error:
            raise ContractError(f"{name}: {error}") from None
        drawn = [torch.Generator().manual_seed(seed) for _ in range(2)]  # one each: a kept result draws nothing
        points.append(
            journal.note(
                f"{name}: fixed points", find_fixed_points, held, starts, around=trajectory, generator=drawn[0]
            )
        )
        cycles.append(
            journal.note(
                f"{name}: cycles", find_cycles, held, starts, periods=periods, around=trajectory, generator=drawn[1]
            )
        )
        assert trajectory.lengths is not None
        ends = trajectory.states[np.arange(len(trajectory.states)), trajectory.lengths - 1][:MOST_RUNS]
        spectra.append(
            journal.note(
                f"{name}: exponents", lyapunov_spectrum, held, ends,
                steps=steps, burn_in=max(200, steps // 4), directions=min(DIRECTIONS, held.dim),
            )
        )  # fmt: skip

    names = tuple(members)
    orbits = journal.note(
        "fixed points and cycles of all", compare_networks, points, cycles=cycles, spectra=spectra, names=names
    )
    states = journal.note(
        "dynamical similarity of all", dynamical_similarity, [member.trajectory for member in members.values()],
        names=names, draws=draws, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    asked = {
        "numbers of fixed points and cycles": orbits.count_distances,
        "eigenvalues of fixed points and cycles": orbits.distances,
        "eigenvalues of the stable ones": orbits.attractor_distances,
        "dynamical similarity": states.distances,
    }
    machines = {
        name: machine
        for name, member in members.items()
        if member.symbols is not None
        and (machine := machine_of(journal, *member.symbols, seed=seed, about=f"{name}: ")) is not None
    }
    if len(machines) > 1:
        met = journal.note("automata of all", compare_machines, machines)
        asked["automata"] = np.full(
            (len(names), len(names)), np.nan
        )  # of a network that is no machine nothing is known
        at = [names.index(name) for name in machines]
        asked["automata"][np.ix_(at, at)] = met.distances
    for by, distances in asked.items():
        known = np.isfinite(distances.diagonal())  # of a network without data nothing is known
        if np.isfinite(distances[np.ix_(known, known)]).all():  # else the comparison ran out of time
            journal.note(f"{ODD}{by}", odd_one_out, distances, names=names, generator=np.random.default_rng(seed))


def comparison_account(results: Mapping[str, Result]) -> tuple[str, ...]:
    """Which network is unlike the others and by what, what the distances are, and what is not known."""
    verdicts = {title: one for title, one in results.items() if isinstance(one, OddOneOut)}
    found = {one.title for one in discoveries(results) if one.found}
    singled: dict[str, list[str]] = {}
    for title, one in verdicts.items():
        if one.stands_out and title in found:
            singled.setdefault(one.names[one.furthest], []).append(title.removeprefix(ODD))
    asked = [title.removeprefix(ODD) for title, one in verdicts.items() if one.outcome is Outcome.CONVERGED]
    if not asked:
        sentences = ["Not shown: whether one is unlike the others; that takes four networks with distances."]
    elif not singled:
        sentences = [f"None of the networks stands out by {_listed(asked, 'or')}."]
    else:
        sentences = [f"{name} is the odd one out, by {_listed(by, 'and')}." for name, by in singled.items()]
        if left := [by for by in asked if not any(by in given for given in singled.values())]:
            sentences.append(f"None stands out by {_listed(left, 'or')}.")
    heads = {NetworkComparison: "Orbits", DynamicalSimilarity: "Dynamical similarity", MachineComparison: "Automata"}
    sentences += [f"{heads[type(one)]}: {one.summary()}." for one in results.values() if type(one) in heads]
    sentences += [f"By {title.removeprefix(ODD)}: {one.summary()}." for title, one in verdicts.items()]
    for orbits in results.values():
        if not isinstance(orbits, NetworkComparison):
            continue
        missing = [name for name, whole in zip(orbits.names, orbits.complete, strict=True) if whole != "yes"]
        if missing:
            sentences.append(
                f"Not shown: that every fixed point and cycle was found of {counted(len(missing), 'network')} "
                f"({', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}), whose index sums fail or could not be taken."
            )
    return tuple(sentences)


def compare(
    sources: Sequence[Any],
    *,
    inputs: Any = None,
    names: Sequence[str] = (),
    model: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    relu: int | None = None,
    nonlinearity: str | None = None,
    leak: float | None = None,
    trust: bool = False,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "cpu",
    budget: float | None = None,
) -> Report:
    """From several trained networks to one page: how far apart they are, and which is unlike the others.

    Parameters
    ----------
    sources
        Files, modules, state dicts or Networks, two at least; all are read by the same options, see ``load``.
    inputs : (runs, steps, inputs) or (steps, inputs) float
        Data that drive every network. Without them zero is held, and the page says so.
    names
        Of the networks; the files' names when left out.
    out
        Folder of the page, ``interp-report/comparison`` when left out. The results of each network are kept in its folder
        ``journal``: the same call, killed, goes on, and with more networks only these are searched.
    seed, budget
        As in ``report``.

    Raises
    ------
    LoadError, InputError, ContractError
        When a source is no network or does not fit the inputs; the message names it.
    """
    if len(sources) < 2:
        raise InputError(f"a comparison takes two networks at least, but {counted(len(sources), 'source')} came")
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed lies in 0 to 2^63 - 1, but {seed} came")
    folder = writable(Path("interp-report") / "comparison" if out is None else Path(out))
    called = tuple(names) or _names(sources)
    if len(set(called)) < len(sources) or len(called) != len(sources):
        raise InputError(f"{len(sources)} networks need as many different names, but {', '.join(called)} came")
    choices = {
        "model": model,
        "kwargs": kwargs,
        "relu": relu,
        "nonlinearity": nonlinearity,
        "leak": leak,
        "trust": trust,
    }
    members = {}
    for name, source in zip(called, sources, strict=True):
        try:
            members[name] = _member(source, inputs, seed, device, choices)
        except InterpError as error:
            said = str(error) if str(source) in str(error) else f"{name}: {error}"
            raise type(error)(said) from None
    widths = {name: member.dynamics.inputs for name, member in members.items()}
    if other := [name for name, width in widths.items() if width != widths[called[0]]]:
        raise InputError(
            f"{other[0]} takes {counted(widths[other[0]], 'input')} and {called[0]} takes {widths[called[0]]}: networks are "
            f"compared under one drive"
        )

    journal = Journal(folder / "journal" / f"seed {seed}", budget=budget)
    many_networks(journal, members, seed=seed)
    notes = dict.fromkeys(note for member in members.values() for note in member.notes)
    unwritten = () if all(member.dynamics.weights for member in members.values()) else (UNWRITTEN,)
    provenance = {
        "sources": ", ".join(map(str, sources))
        if all(isinstance(s, str | Path) for s in sources)
        else ", ".join(called),
        "seed": str(seed),
        "device": device,
        "fingerprints": ", ".join(f"{name} {member.dynamics.fingerprint}" for name, member in members.items()),
        "notes": " ".join((*notes, *unwritten)),
    }
    findings = tuple(finding for finding in journal.findings if ": " not in finding.title)  # of all, not of each
    subject = f"{len(members)} networks: {', '.join(called[:3])}{', ...' if len(called) > 3 else ''}"
    sentences = comparison_account(journal.results)
    return Report(subject, findings, (), sentences, provenance, maps=journal.maps).written(folder)


def _member(source: Any, inputs: Any, seed: int, device: str, choices: Mapping[str, Any]) -> Member:
    network = load(source, **choices)
    dynamics = network.dynamics(device=device)
    driving = None if inputs is None else driving_inputs(dynamics, inputs)
    trajectory, notes = visited(dynamics, network.initial_state, driving, seed)
    read = reader_for(dynamics, driving, network.initial_state)
    return Member(dynamics, trajectory, (*network.notes, *notes), read)


def _names(sources: Sequence[Any]) -> tuple[str, ...]:
    """Of each file its name without extension, with as many of its folders as tell all apart; numbers for what is no file."""
    paths = [
        Path(one).with_suffix("").parts if isinstance(one, str | Path) else (f"N{i}",)
        for i, one in enumerate(sources, 1)
    ]
    for kept in range(1, max(map(len, paths)) + 1):
        names = tuple("/".join(parts[-kept:]) for parts in paths)
        if len(set(names)) == len(names):
            break
    return names


def _listed(parts: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
