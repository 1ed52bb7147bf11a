"""What was found, in plain sentences: each with its numbers and its doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from analyses.maps.certificates import Certificates
from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.geometry import LinearGeometry
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.maps.transitions import Transitions
from analyses.result import Outcome, Result
from analyses.trajectories.stream_geometry import StreamGeometry

R = TypeVar("R", bound=Result)


def account(results: Mapping[str, Result]) -> tuple[str, ...]:
    """The account of one network from the results of its plan, title -> result."""
    points, cycles = _first(results, FixedPoints), _first(results, Cycles)
    proofs = [result for result in results.values() if isinstance(result, Certificates)]
    sentences = []
    if points is not None:
        sentences.append(memory_sentence(points, cycles))
        sentences.append(rest_sentence(points, proofs))
    if cycles is not None:
        sentences.append(cycle_sentence(cycles, proofs))
    table, spectrum = _first(results, Transitions), _first(results, LyapunovSpectrum)
    portrait, geometry = _first(results, StreamGeometry), _first(results, LinearGeometry)
    if table is not None:
        sentences.append(mechanism_sentence(table))
    if spectrum is not None:
        sentences.append(f"Exponents: {spectrum.summary()}.")
    if portrait is not None:
        sentences.append(f"Portrait: {portrait.summary()}.")
    if geometry is not None:
        sentences.append(f"Inputs and readout: {geometry.summary()}.")
    if points is not None:
        sentences.extend(open_questions(points, cycles))
    return tuple(sentences)


def memory_sentence(points: FixedPoints, cycles: Cycles | None) -> str:
    """Where the memories are: on fixed points, on cycles, on both, or on neither."""
    still, turning = int(points.stable.sum()), 0 if cycles is None else int(cycles.stable.sum())
    if still and not turning:
        return f"Its memories are fixed points: {still} of {len(points.points)} are stable" + (
            ", and no stable cycle was found." if cycles is not None else "."
        )
    if turning and not still:
        assert cycles is not None
        periods = sorted(set(cycles.periods[cycles.stable].tolist()))
        return (
            f"Its memory is not a fixed point: none of the {len(points.points)} fixed points is stable. The memories are "
            f"{turning} stable {_periods(periods)}, so the state keeps moving, by {_stride(cycles):.2g} a step, and says the "
            f"same thing all the while only if the readout does not see it."
        )
    if turning and still:
        return f"It has {still} stable fixed points and {turning} stable cycles; both can hold a memory."
    return (
        f"No memory of this kind was found: none of {len(points.points)} fixed points is stable, and no stable cycle of the "
        f"searched periods was reached. The exponents say what the state does instead."
    )


def rest_sentence(points: FixedPoints, proofs: list[Certificates]) -> str:
    """How many fixed points, how many proved, and whether the list can be complete."""
    if not len(points.points):
        return "It has no fixed point that the search reached."
    proof = next((certificate for certificate in proofs if certificate.times == 1), None)
    text = f"{len(points.points)} fixed points under the held drive"
    if proof is not None:
        text += f", {int(proof.proved.sum())} of them proved to exist"
        if proof.proved.any():
            text += f" within {np.nanmax(proof.radii):.0e}; {int((proof.unstable == 0).sum())} proved stable"
    index = next((check for check in points.checks if check.name.startswith("index sum")), None)
    if index is None:
        return f"{text}. No trapping box is known, so nothing is said about completeness."
    if index.passed:
        return f"{text}. Their index sum is 1, as a complete list must have; a missed pair of opposite index would not show."
    return f"{text}. Their index sum is {index.got:g}, not 1: at least one fixed point is missing."


def cycle_sentence(cycles: Cycles, proofs: list[Certificates]) -> str:
    """How many cycles of which periods, how many proved."""
    searched = ", ".join(map(str, cycles.searched))
    if not len(cycles.periods):
        return f"No cycle of period {searched} was found."
    proved = sum(int(certificate.proved.sum()) for certificate in proofs if certificate.times > 1)
    return f"Cycles: {cycles.summary()}; {proved} proved to exist. Periods searched: {searched}."


def mechanism_sentence(table: Transitions) -> str:
    """What the pulses do to the memories."""
    changed = (table.targets >= 0) & (table.targets != np.arange(len(table.targets))[:, None])
    text = f"Mechanism: {table.summary()}."
    if table.deterministic and table.setting.all() and changed.any():
        text += " Every pulse sets a value: given twice, it does what it does once, whatever the memory was."
    elif table.deterministic:
        text += " Each pulse takes each memory to one memory: the table is a finite automaton."
    return text


def open_questions(points: FixedPoints, cycles: Cycles | None) -> list[str]:
    """What these numbers do not show."""
    stray = [outcome for outcome in points.outcomes if outcome is not Outcome.CONVERGED]
    doubts = []
    if stray:
        doubts.append(
            f"Not shown: what {len(stray)} of {len(points.outcomes)} starts were drawn to; they did not converge."
        )
    failed = [] if cycles is None else [check for check in cycles.checks if not check.passed]
    if failed:
        doubts.append(f"Not shown: completeness of the cycles ({'; '.join(f'{c.name} is {c.got:g}' for c in failed)}).")
    return doubts


def _first(results: Mapping[str, Result], kind: type[R]) -> R | None:
    return next((result for result in results.values() if isinstance(result, kind)), None)


def _periods(periods: list[int]) -> str:
    return f"{periods[0]}-cycles" if len(periods) == 1 else f"cycles of period {', '.join(map(str, periods))}"


def _stride(cycles: Cycles) -> float:
    """Median distance a stable cycle moves in a step."""
    orbits = [cycles.orbit(int(i)) for i in np.flatnonzero(cycles.stable)]
    return float(np.median([np.linalg.norm(orbit - np.roll(orbit, -1, axis=0), axis=1).mean() for orbit in orbits]))
