"""What was found, in plain sentences: each with its numbers and its doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from analyses.maps.basins import Basins
from analyses.maps.certificates import Certificates
from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.geometry import LinearGeometry
from analyses.maps.kicks import MinimalKicks
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.maps.slow_points import SlowPoints
from analyses.maps.transitions import Transitions
from analyses.maps.unit_effects import UnitEffects
from analyses.result import Null, Outcome, Result, counted
from analyses.symbols.active_learning import LearnedAutomaton
from analyses.symbols.exact_cycles import ExactCycles
from analyses.symbols.exact_fixed_points import ExactFixedPoints
from analyses.symbols.machine_proof import MachineProof
from analyses.symbols.machine_verdict import MachineVerdict
from analyses.symbols.region_table import RegionTable
from analyses.symbols.state_merging import StateMerging
from analyses.symbols.swap_test import SwapTest
from analyses.trajectories.stream_geometry import StreamGeometry

R = TypeVar("R", bound=Result)
RATE = 0.05  # of false ones among the discoveries of a page
Heads = tuple[tuple[type[Result], str], ...]  # results whose summary is their sentence, in the order of the account
MACHINE: Heads = (
    (LearnedAutomaton, "Automaton"),
    (MachineVerdict, "Verdict"),
    (MachineProof, "For all words"),
    (StateMerging, "States after words"),
)
SAID: Heads = (
    (ExactFixedPoints, "By its linear regions"),
    (ExactCycles, "By words of regions"),
    (RegionTable, "Regions"),
    (Basins, "Basins"),
    (MinimalKicks, "Smallest kicks"),
    (SlowPoints, "Slow points"),
)


@dataclass(frozen=True, eq=False)
class Discovery:
    """One number of a page against all of its nulls.

    Attributes
    ----------
    title, statistic
        Of the result, and of the number in it.
    nulls
        Drawn for it.
    q
        Of Benjamini and Hochberg over all numbers of the page that have nulls.
    """

    title: str
    statistic: str
    nulls: tuple[Null, ...]
    q: float

    @property
    def p(self) -> float:
        """The largest over its nulls: small only where every null is beaten."""
        return max(null.p for null in self.nulls)

    @property
    def found(self) -> bool:
        """Whether it is one of the discoveries, of which at most one in twenty is expected to be false."""
        return self.q <= RATE


def discoveries(results: Mapping[str, Result]) -> tuple[Discovery, ...]:
    """Every number with nulls, in the order of the page (title -> result), with the false discovery rate controlled over all.

    Nulls that name one statistic must all be beaten, so its p is their largest (an intersection-union test: valid however they
    depend); a null that names none is asked alone. q by Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289 (1995), for numbers
    that are independent or positively dependent. With n draws p is 1 / (1 + n) at least: too few draws find nothing.
    """
    from scipy.stats import false_discovery_control

    asked: dict[tuple[str, str, int], list[Null]] = {}
    for title, result in results.items():
        for number, null in enumerate(getattr(result, "nulls", ())):
            key = (title, null.statistic, -1) if null.statistic else (title, null.name, number)
            asked.setdefault(key, []).append(null)
    tried = [Discovery(title, name, tuple(nulls), 1.0) for (title, name, _), nulls in asked.items()]
    qs = false_discovery_control(np.array([one.p for one in tried])) if tried else ()
    return tuple(replace(one, q=float(q)) for one, q in zip(tried, qs, strict=True))


def account(results: Mapping[str, Result]) -> tuple[str, ...]:
    """The account of one network from the results of its plan, title -> result."""
    points, cycles = _first(results, FixedPoints), _first(results, Cycles)
    table, spectrum = _first(results, Transitions), _first(results, LyapunovSpectrum)
    portrait, geometry = _first(results, StreamGeometry), _first(results, LinearGeometry)
    proofs = [result for result in results.values() if isinstance(result, Certificates)]
    sentences = _summaries(results, MACHINE)  # of a network that reads symbols the first thing to know
    if points is not None:
        sentences.append(memory_sentence(points, cycles, geometry))
        if len(points.points):
            sentences.append(rest_sentence(points, proofs, geometry))
    if cycles is not None:
        sentences.append(cycle_sentence(cycles, proofs))
    if table is not None and len(table.targets) > 1:
        sentences.append(mechanism_sentence(table))
    sentences += _summaries(results, SAID)
    swaps = _first(results, SwapTest)
    if swaps is not None:
        sentences.append(exchange_sentence(swaps))
    sentences += _summaries(results, ((UnitEffects, "Units silenced, measured by what is said"),))
    if spectrum is not None:
        sentences.append(exponent_sentence(spectrum))
    if portrait is not None:
        sentences.append(f"Portrait: {portrait.summary()}.")
    if geometry is not None:
        sentences.append(f"Inputs and readout: {geometry.summary()}.")
    if points is not None:
        sentences.extend(open_questions(points, cycles, proofs, spectrum))
    return tuple(sentences)


def memory_sentence(points: FixedPoints, cycles: Cycles | None, geometry: LinearGeometry | None = None) -> str:
    """Where the memories are: on fixed points, on cycles, on both, or on neither; so far, when the search was cut short."""
    text = _memories(points, cycles, geometry)
    if Outcome.OUT_OF_TIME in points.outcomes:
        return f"The search for fixed points ran out of time; as far as it went: {text[:1].lower()}{text[1:]}"
    return text


def _memories(points: FixedPoints, cycles: Cycles | None, geometry: LinearGeometry | None) -> str:
    all_points = counted(len(points.points), "fixed point")
    still, turning = int(points.stable.sum()), 0 if cycles is None else int(cycles.stable.sum())
    if still and not turning:
        others = "" if cycles is None else ", and no stable cycle was found"
        if still == 1:
            it = "Under the held drive it" if _driven(geometry) else "It"
            return f"{it} keeps no memory: one stable fixed point of {len(points.points)}{others}."
        return f"Its memories are fixed points: {still} of {len(points.points)} are stable{others}."
    if turning and not still:
        assert cycles is not None
        periods = sorted(set(cycles.periods[cycles.stable].tolist()))
        kind = f"stable {periods[0]}-cycle" if len(periods) == 1 else "stable cycle"
        of = "" if len(periods) == 1 else f" of period {', '.join(map(str, periods))}"
        subject = "The memories are" if turning > 1 else "The memory is"
        return (
            f"Its memory is not a fixed point: of {all_points} none is stable. {subject} {counted(turning, kind)}{of}: the "
            f"state keeps moving, by {_stride(cycles):.2g} a step{_said(cycles, geometry)}."
        )
    if turning and still:
        return f"It has {counted(still, 'stable fixed point')} and {counted(turning, 'stable cycle')}; both can hold a memory."
    where = f"of {all_points} none is stable" if len(points.points) else "no fixed point was reached"
    neither = "" if cycles is None else f", and no stable cycle of period {', '.join(map(str, cycles.searched))}"
    return f"No memory of this kind was found: {where}{neither}."


def rest_sentence(points: FixedPoints, proofs: list[Certificates], geometry: LinearGeometry | None = None) -> str:
    """How many fixed points, how many proved, and whether the list can be complete."""
    proof = next((certificate for certificate in proofs if certificate.times == 1), None)
    text = counted(len(points.points), "fixed point") + (" under the held drive" if _driven(geometry) else "")
    if proof is not None:
        text += f", {int(proof.proved.sum())} of them proved to exist"
        if proof.proved.any():
            text += f" within {np.nanmax(proof.radii):.0e}; {int((proof.unstable == 0).sum())} proved stable"
    index = next((check for check in points.checks if check.name.startswith("index sum")), None)
    if index is None:
        return f"{text}. No index sum could be taken, so nothing is said about completeness."
    if index.passed:
        return f"{text}. Their index sum is 1, as a complete list must have; a missed pair of opposite index would not show."
    other = "" if proof is not None and proof.proved.all() else ", or one of these is none"
    return f"{text}. Their index sum is {index.got:g}, not 1: at least one fixed point is missing{other}."


def cycle_sentence(cycles: Cycles, proofs: list[Certificates]) -> str:
    """How many cycles of which periods, how many proved."""
    searched = ", ".join(map(str, cycles.searched))
    if not len(cycles.periods):
        return f"No cycle of period {searched} was found."
    proved = sum(int(certificate.proved.sum()) for certificate in proofs if certificate.times > 1)
    return f"{cycles.summary()}; {proved} proved to exist."


def mechanism_sentence(table: Transitions) -> str:
    """What the pulses do to the memories."""
    changed = (table.targets >= 0) & (table.targets != np.arange(len(table.targets))[:, None])
    text = f"Mechanism: {table.summary()}."
    if table.deterministic and table.setting.all() and changed.any(axis=0).all():
        text += " Every pulse sets a value: given twice, it does what it does once, whatever the memory was."
    elif table.deterministic and changed.any():
        text += " Each pulse takes each memory to one memory: the table is a finite automaton."
    return text


def exchange_sentence(swaps: SwapTest) -> str:
    """Whether a state of another memory makes the network go on from that memory."""
    if not swaps.nulls:
        return f"Not shown: that the network goes by its memories; {swaps.summary()}."
    text = (
        f"a state put in the place of one that leads to the same memory changes what is said over {swaps.horizon} steps by "
        f"{swaps.within:.2g}, of one that leads to another by {swaps.across:.2g}"
    )
    if swaps.confirmed:
        return f"Causal test: the network goes by its memories; {text} (p = {swaps.nulls[0].p:.2g})."
    return f"Causal test, not shown that its memories are all the network goes by: {text}."


def exponent_sentence(spectrum: LyapunovSpectrum) -> str:
    """The largest exponents, and over how few steps when the run ended early."""
    text = f"Exponents: {spectrum.summary()}."
    if spectrum.outcome is Outcome.OUT_OF_TIME:
        steps = counted(int(spectrum.running_steps.max(initial=0)), "step")
        text += (
            f" The run {spectrum.outcome.value}: these are means over its first {steps} after the burn-in, and their "
        )
        text += "standard errors do not show what more steps would change."
    return text


def open_questions(
    points: FixedPoints,
    cycles: Cycles | None,
    proofs: list[Certificates],
    spectrum: LyapunovSpectrum | None = None,
) -> list[str]:
    """What these numbers do not show."""
    starts, late = len(points.outcomes), points.outcomes.count(Outcome.OUT_OF_TIME)
    stray = starts - points.outcomes.count(Outcome.CONVERGED) - late
    doubts = []
    if late:
        doubts.append(
            f"Not shown: where {late} of {starts} starts lead; the search ran out of time on them, so points may be missing."
        )
    if stray:
        doubts.append(f"Not shown: what {stray} of {starts} starts were drawn to; they did not converge.")
    known = int(points.stable.sum()) + (0 if cycles is None else int(cycles.stable.sum()))
    ends = 0 if spectrum is None else sum(not verdict.startswith("an unstable rest") for verdict in spectrum.verdicts)
    if ends > known:
        doubts.append(
            f"Not shown: what all attractors are; the runs of the exponents end on {ends}, and "
            f"of stable fixed points and cycles {known} {'is' if known == 1 else 'are'} known."
        )
    for certificate in proofs:
        unproved = sorted({reason for reason in certificate.reasons if reason})
        if unproved:
            left = int((~certificate.proved).sum())
            doubts.append(f"Not shown: a proof of {left} of {len(certificate.radii)} points ({'; '.join(unproved)}).")
    indices = [] if cycles is None else [check for check in cycles.checks if check.name.startswith("index sum")]
    failed = [check for check in indices if not check.passed]
    if failed:
        doubts.append(f"Not shown: completeness of the cycles ({'; '.join(f'{c.name} is {c.got:g}' for c in failed)}).")
    return doubts


def _summaries(results: Mapping[str, Result], heads: Heads) -> list[str]:
    """The first result of each kind."""
    return [f"{head}: {found.summary()}." for kind, head in heads if (found := _first(results, kind)) is not None]


def _first(results: Mapping[str, Result], kind: type[R]) -> R | None:
    return next((result for result in results.values() if isinstance(result, kind)), None)


def _driven(geometry: LinearGeometry | None) -> bool:
    """Whether the map is known to be driven, so that its drive was held."""
    return geometry is not None and geometry.inputs.shape[2] > 0


def _strides(cycles: Cycles) -> list[np.ndarray]:
    """Steps of each stable cycle, (period, dim)."""
    orbits = [cycles.orbit(int(i)) for i in np.flatnonzero(cycles.stable)]
    return [np.roll(orbit, -1, axis=0) - orbit for orbit in orbits]


def _stride(cycles: Cycles) -> float:
    """Median distance a stable cycle moves in a step."""
    return float(np.median([np.linalg.norm(steps, axis=1).mean() for steps in _strides(cycles)]))


def _said(cycles: Cycles, geometry: LinearGeometry | None) -> str:
    """How far a linear readout moves along the stable cycles, against a random readout of its length."""
    if geometry is None or not geometry.readout.size or np.ptp(geometry.readout, axis=0).any():
        return ""
    C = geometry.readout[0]
    moved = np.median([np.linalg.norm(steps @ C.T, axis=1).mean() for steps in _strides(cycles)])
    chance = _stride(cycles) * np.linalg.norm(C) / np.sqrt(C.shape[1])
    return f", while the readout moves by {moved:.2g} (one of random direction would move by about {chance:.2g})"
