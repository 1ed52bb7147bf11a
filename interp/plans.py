"""Plans: which analyses a standard report holds, in the order they are run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.maps.basins import basins, plane_basins
from analyses.maps.certificates import certify
from analyses.maps.cycles import Cycles, find_cycles
from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.geometry import linear_geometry
from analyses.maps.index import index_sum
from analyses.maps.jacobian_spectra import jacobian_spectra
from analyses.maps.kicks import minimal_kicks
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.slow_points import find_slow_points
from analyses.maps.stability import classify
from analyses.maps.transitions import transitions
from analyses.result import Outcome
from analyses.symbols.exact_cycles import exact_cycles
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.region_table import region_table
from analyses.trajectories.stream_geometry import StreamGeometry, stream_geometry
from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.pretrained import is_transformers
from hooks.trajectory import Trajectory
from interp.causal_step import causal_tests
from interp.driving import driving_inputs, pulses_of, visited
from interp.findings import account
from interp.journal import Journal
from interp.loop_plan import loop_report
from interp.network import load
from interp.page import Report, writable
from interp.residual_plan import TWINS, stack_report
from interp.symbol_plan import reader_for, reader_note, symbols

WIDEST_PROOF = 512  # units; of wider maps nothing is proved, nor are Jacobians formed
MOST_RECTIFIED = 20  # units, of networks whose 2^P linear regions are all decided: a second or so
LONGEST_WORD, WORD_BITS, WIDEST_WORD = 6, 12, 256  # symbols, bits and coordinates of words that are all tried
LONG_RUN = 1000  # steps, the first fifth a transient, over which the shares of linear regions are counted
MOST_MEMORIES = 64  # of which the smallest kicks are sought
WIDEST_SPECTRUM = 64  # directions of a full Lyapunov spectrum; wider maps get the leading 16
UNWRITTEN = "Its map is code: no weights are written beside the page, and interp verify can prove nothing of it again."


def recurrent(
    journal: Journal,
    dynamics: Dynamics,
    trajectory: Trajectory,
    *,
    rest: Any = None,
    pulses: Mapping[str, np.ndarray] | None = None,
    starts: int = 1024,
    periods: tuple[int, ...] = (2, 3, 4),
    steps: int = 1000,
    seed: int = 0,
    about: str = "",
) -> None:
    """Where a recurrent network rests, what it repeats, how neighbours part, which input moves which memory, and what they do.

    Parameters
    ----------
    dynamics
        The network's map, driven or not.
    trajectory
        States it visits, with their drives if it is driven.
    rest : (inputs,)
        The drive that is held while fixed points are sought; zero when left out.
    pulses
        Name -> drive (inputs,): the kicks of the transition table.
    starts, periods, steps, seed
        Of the searches; which cycles to seek; length of the exponents' run; of all draws.
    about
        Put before each title, when a page holds several networks.
    """
    rest = np.zeros(dynamics.inputs) if rest is None else np.asarray(rest)
    held = dynamics.hold(rest) if dynamics.driven else dynamics
    generator = torch.Generator().manual_seed(seed)
    points_seen = trajectory.points()
    check_dynamics(held, points_seen[:: max(1, len(points_seen) // 8)][:8])
    check_replay(dynamics if trajectory.drives is not None else held, trajectory)

    portrait = journal.note(f"{about}portrait", stream_geometry, trajectory)
    points, cycles = _rests(journal, held, trajectory, starts, periods, generator, about)
    _motion(journal, dynamics, held, trajectory, steps, about)
    memories = [points.points[i : i + 1] for i in np.flatnonzero(points.stable)]
    memories += [cycles.orbit(int(i)) for i in np.flatnonzero(cycles.stable)]
    if memories:
        at = np.stack([orbit[0] for orbit in memories])[:64]
        drive = rest if dynamics.driven else None
        journal.note(f"{about}inputs and readout at the memories", linear_geometry, dynamics, at, drive=drive)
    if memories and pulses:
        journal.note(
            f"{about}transitions",
            transitions,
            dynamics,
            memories,
            np.stack(list(pulses.values())),
            rest=rest,
            memory_names=memory_names(dynamics, memories),
            pulse_names=tuple(pulses),
        )
    _boundaries(journal, held, portrait, memories, starts, about)
    causal_tests(journal, dynamics, held, trajectory, memories, about)


def _rests(
    journal: Journal,
    held: Dynamics,
    trajectory: Trajectory,
    starts: int,
    periods: tuple[int, ...],
    generator: torch.Generator,
    about: str,
) -> tuple[FixedPoints, Cycles]:
    """Fixed points and cycles, what they are, and what is proved of them; slow points where starts came to rest on none."""
    provable = held.dim <= WIDEST_PROOF
    points = journal.note(
        f"{about}fixed points", find_fixed_points, held, starts, around=trajectory, generator=generator
    )
    journal.note(f"{about}stability of the fixed points", classify, points, dt=held.dt)
    if provable:
        journal.note(f"{about}proofs of the fixed points", certify, held, points.points)
        journal.note(f"{about}index sum", index_sum, held, points.points)

    seen = trajectory.points()
    near = seen[torch.randint(len(seen), (starts,), generator=generator).numpy()]
    noise = torch.randn(near.shape, generator=generator, dtype=torch.float64).numpy() * seen.std(axis=0) / 2
    begin = np.concatenate([points.points, near + noise])
    cycles = journal.note(f"{about}cycles", find_cycles, held, begin, periods=periods, generator=generator)
    if len(cycles.periods):
        journal.note(f"{about}stability of the cycles", classify, cycles, dt=held.dt)
    for k in sorted(set(cycles.periods.tolist())) if provable else ():
        journal.note(f"{about}proofs of the {k}-cycles", certify, held, cycles.points[cycles.periods == k, :k])
    if Outcome.STUCK in points.outcomes and provable:
        stuck = min(starts, 4 * points.outcomes.count(Outcome.STUCK) + 64)
        journal.note(f"{about}slow points", find_slow_points, held, stuck, around=trajectory, generator=generator)
    return points, cycles


def _motion(
    journal: Journal, dynamics: Dynamics, held: Dynamics, trajectory: Trajectory, steps: int, about: str
) -> None:
    """How fast neighbours part, at rest and along the recorded states."""
    assert trajectory.lengths is not None
    ends = trajectory.states[np.arange(len(trajectory.states)), trajectory.lengths - 1][:32]
    directions = None if dynamics.dim <= WIDEST_SPECTRUM else 16
    burn_in = max(200, steps // 4)
    journal.note(
        f"{about}exponents", lyapunov_spectrum, held, ends, steps=steps, burn_in=burn_in, directions=directions
    )
    now = trajectory.pairs()[0]
    rows = np.linspace(0, len(now) - 1, min(256, len(now))).astype(int) if len(now) else np.zeros(0, dtype=int)
    drives = None if trajectory.drives is None else trajectory.drives[trajectory.valid[:, 1:]][rows]
    if dynamics.dim <= WIDEST_PROOF:
        journal.note(
            f"{about}slopes along the trajectory",
            jacobian_spectra,
            held if drives is None else dynamics,
            now[rows],
            drives=drives,
        )


def _boundaries(
    journal: Journal, held: Dynamics, portrait: StreamGeometry, memories: list[np.ndarray], starts: int, about: str
) -> None:
    """How large each basin is, the smallest kick out of it, and where the boundaries cut the portrait's plane."""
    if held.box is not None and held.box(None) is not None:
        journal.note(f"{about}basins", basins, held, starts)
    if not 2 <= len(memories) <= MOST_MEMORIES or held.dim > WIDEST_PROOF:
        return
    journal.note(f"{about}smallest kicks", minimal_kicks, held, memories)
    if portrait.basis.shape[1] >= 2:
        plane = portrait.basis[:, :2]
        at = (np.concatenate([*memories, portrait.origin[None]]) - portrait.origin) @ plane
        low, high = at.min(axis=0), at.max(axis=0)
        extent = [
            (float(a - 0.3 * (b - a) - 1e-3), float(b + 0.3 * (b - a) + 1e-3)) for a, b in zip(low, high, strict=True)
        ]
        journal.note(
            f"{about}basins in the portrait's plane",
            plane_basins,
            held,
            memories,
            basis=plane.T,
            origin=portrait.origin,
            extent=(extent[0], extent[1]),
        )


def _regions(journal: Journal, network: PiecewiseLinear, dynamics: Dynamics, trajectory: Trajectory) -> str:
    """Every fixed point and short cycle by its linear regions, and what the regions do in which the map spends its time; a note
    on how that was counted."""
    points = journal.note("every fixed point", exact_fixed_points, network)
    longest = min(LONGEST_WORD, WORD_BITS // max(1, network.relu), WIDEST_WORD // dynamics.dim)
    if longest > 1:
        journal.note("every short cycle", exact_cycles, network, periods=tuple(range(1, longest + 1)))
    assert trajectory.lengths is not None
    ends = trajectory.states[np.arange(len(trajectory.states)), trajectory.lengths - 1]
    after = rollout(dynamics, ends, steps=LONG_RUN)
    fifth = LONG_RUN // 5
    before, last = (
        np.abs(after.states[:, a : a + fifth]).max(axis=(1, 2)) for a in (LONG_RUN - 2 * fifth, LONG_RUN - fifth)
    )
    bounded = last <= 2 * before  # false for the NaN that follows an overflow
    settled = Trajectory(after.states[bounded, fifth:], after.clock, source=after.source)
    journal.note("linear regions", region_table, network, settled, fixed_points=points)
    held = f"{int(bounded.sum())} of {len(ends)} runs of {LONG_RUN} steps"
    return f"Shares of linear regions are over {held}, those that grow no more, less the first fifth."


def memory_names(dynamics: Dynamics, memories: list[np.ndarray]) -> tuple[str, ...]:
    """What the network says in each memory, rounded, when that tells them apart; else M1, M2, ..."""
    numbered = tuple(f"M{i + 1}" for i in range(len(memories)))
    if dynamics.readout is None:
        return numbered
    with torch.no_grad():
        said = [
            dynamics.readout(torch.as_tensor(orbit, dtype=dynamics.dtype, device=dynamics.device))
            .double()
            .mean(0)
            .cpu()
            .numpy()
            for orbit in memories
        ]
    if said[0].size > 6:
        return numbered
    rounded = [np.rint(values) for values in said]
    binary = all((np.abs(values) == 1).all() for values in rounded)
    spelled = tuple(
        "".join("+" if v > 0 else "−" for v in row) if binary else " ".join(f"{v:+g}" for v in row) for row in rounded
    )
    return spelled if len(set(spelled)) == len(spelled) else numbered


def report(
    source: Any,
    *,
    inputs: Any = None,
    symbolic: bool | None = None,
    text: Path | str | None = None,
    twins: int = TWINS,
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
    """From a trained network to a written account of its mechanism: a recurrent one, an autoencoder and data, or a transformer
    and some texts.

    Parameters
    ----------
    source
        A module, a state dict, a Network, or a file: see ``load``, which also takes model, kwargs, relu, nonlinearity,
        leak and trust.
    inputs : (runs, steps, inputs) or (steps, inputs) float
        Data that drive the network. Without them zero is held, and the page says so. Of an autoencoder its data,
        (inputs, ...): see ``interp.loop_plan.loop_report``.
    symbolic
        Whether inputs are symbols, one-hot, and the automaton that the network is belongs to the account. Left out, they are
        where every row is one-hot and the network has a readout.
    text, twins
        Of a transformer: a file with one text a line, and how many networks of random weights stand beside it; see
        ``interp.residual_plan.stack_report``.
    out
        Folder for report.html, numbers.json, arrays.safetensors and maps.safetensors; ``interp-report/<name>`` when left out.
    seed
        Of every draw.
    budget
        Seconds that each long search may take.

    Returns
    -------
    Report
        Written; ``report.path`` is the page.

    Raises
    ------
    LoadError, InputError, ContractError
        When the source is not a network, the inputs do not fit it, or its step is not a map.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed lies in 0 to 2^63 - 1, but {seed} came")
    if text is not None:
        refused = {
            "inputs": inputs,
            "symbolic": symbolic,
            "model": model,
            "relu": relu,
            "nonlinearity": nonlinearity,
            "leak": leak,
        }
        refused["device"] = None if device == "cpu" else device  # a transformer runs where its weights are
        if given := [name for name, value in refused.items() if value is not None]:
            raise InputError(
                f"texts drive a transformer, which takes no {', '.join(given)}: leave out one or the other"
            )
        return stack_report(source, text, twins=twins, trust=trust, out=out, seed=seed, budget=budget)
    folder = None if out is None else writable(Path(out))
    network = load(source, model=model, kwargs=kwargs, relu=relu, nonlinearity=nonlinearity, leak=leak, trust=trust)
    if is_transformers(network.module):
        raise InputError(
            f"{type(network.module).__name__} is a transformer: give it texts, a file with one a line (text)"
        )
    if network.encodes:
        return loop_report(network, inputs, out=out, seed=seed, device=device, budget=budget)
    dynamics = network.dynamics(device=device)
    driving = None if inputs is None else driving_inputs(dynamics, inputs)
    read = reader_for(dynamics, driving, network.initial_state, wanted=symbolic)
    trajectory, notes = visited(dynamics, network.initial_state, driving, seed)
    name = Path(network.source).stem if network.source else dynamics.name
    folder = folder or writable(Path("interp-report") / (name or "network"))

    journal = Journal(fingerprint=dynamics.fingerprint, budget=budget)
    rest = np.zeros(dynamics.inputs)
    recurrent(
        journal,
        dynamics,
        trajectory,
        rest=rest,
        pulses=pulses_of(driving, rest) if dynamics.inputs else None,
        seed=seed,
    )
    exact = network.piecewise_linear
    if exact is not None and exact.relu <= MOST_RECTIFIED:
        notes = (*notes, _regions(journal, exact, dynamics, trajectory))
    if read is not None:
        symbols(journal, *read, seed=seed)
        notes = (*notes, reader_note(read[0]))

    provenance = {
        "source": network.source,
        "seed": str(seed),
        "device": device,
        "fingerprint": dynamics.fingerprint,
        "notes": " ".join((*network.notes, *notes, *(() if dynamics.weights else (UNWRITTEN,)))),
    }
    subject = f"{name}: {dynamics.name}" if name else dynamics.name
    sentences = account(journal.results)
    return Report(subject, journal.findings, (), sentences, provenance, maps=journal.maps).written(folder)
