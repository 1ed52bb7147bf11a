"""Almost-linear RNNs of Lorenz63: do two rectified units give three regions, a wing, a centre and a wing?

Brenner, Hemmer, Monfared and Durstewitz (NeurIPS 2024) train z' = A z + W phi(z) + h with 20 units, the last two rectified,
and read the visited linear regions as symbols. Ten runs of their recipe (100 000 updates each) with one, two and three
rectified units were trained on an own integration, standardised. The best checkpoints by Dstsp of the ten with two, and of the
best run with one and with three, are shipped and analysed at the smaller scales; "full" trains thirty anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.result import Result, counted
from analyses.symbols.almost_linear_fit import fit_almost_linear
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.region_table import region_table
from analyses.symbols.regions import Regions, regions
from analyses.symbols.symbolic_graph import symbolic_graph
from analyses.trajectories.power_spectrum_distance import power_spectrum_distance
from analyses.trajectories.state_space_divergence import state_space_divergence
from case_studies._study import CaseStudy, number_of
from case_studies._systems import SYSTEMS
from case_studies._train import shipped_weights
from hooks.dynamics import rollout
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

LATENT, RELU, OUTPUTS, DT = 20, 2, 3, 0.01
ORBITS = 4  # of each network, and pieces of the recording
STEPS = 100_000  # of the recording, as theirs


@dataclass(frozen=True, eq=False)
class Specimen:
    networks: tuple[PiecewiseLinear, ...]  # best first
    others: Mapping[int, PiecewiseLinear]  # rectified units, fewer and more -> the best run
    truth: Trajectory  # in the networks' units
    steps: int
    judged: bool  # whether the run is long enough for claims


def prepare(*, runs: int, steps: int, trained: bool, judged: bool) -> Specimen:
    """The networks, best by Dstsp in training first, and a recording of the true system; ``trained`` anew or as shipped."""
    lorenz = SYSTEMS["Lorenz63"]
    recorded = rollout(
        lorenz.make(dt=DT), [list(lorenz.start(3))], steps=(STEPS if trained else steps) - 1, burn_in=1000
    )
    if trained:
        fit = fit_almost_linear(
            recorded, LATENT, (1, RELU, 3), runs=runs, standardise=True, watch=meter("training almost-linear RNNs")
        )
        ranked = [int(run) for run in np.argsort(fit.smallest)]
        networks = [fit.model(run) for run in ranked if fit.relu[run] == RELU]
        others = {P: fit.model(next(run for run in ranked if fit.relu[run] == P)) for P in (1, 3)}
        shift, scale = fit.shift, fit.scale
    else:
        kept = shipped_weights("lorenz_almost_linear")
        A, W, h = (kept[name].double() for name in "AWh")
        ranked = np.argsort(kept["dstsp"].numpy())[:runs].tolist()
        networks = [PiecewiseLinear(A[run], W[run], h[run], RELU, OUTPUTS) for run in ranked]
        best = {P: [kept[f"{name}_{P}"].double() for name in "AWh"] for P in (1, 3)}
        others = {P: PiecewiseLinear(A, W, h, P, OUTPUTS) for P, (A, W, h) in best.items()}
        shift, scale = kept["shift"].numpy(), kept["scale"].numpy()
    truth = Trajectory(((recorded.states[:, :steps] - shift) / scale).reshape(ORBITS, -1, OUTPUTS))
    return Specimen(tuple(networks), others, truth, steps, judged)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Each run's regions; of the best run the graph, fixed points, distances from the truth and exponents."""
    judged = "" if specimen.judged else ", too short to judge"
    generator = torch.Generator().manual_seed(0)
    starts = 0.1 * torch.randn(ORBITS, LATENT, generator=generator, dtype=torch.float64)
    orbits = [
        rollout(net.dynamics(), starts, steps=specimen.steps // ORBITS - 1, burn_in=2000) for net in specimen.networks
    ]
    codes = [
        journal.note(f"regions, run {rank}{judged}", regions, orbit, network=net)
        for rank, (net, orbit) in enumerate(zip(specimen.networks, orbits, strict=True), 1)
    ]
    best, orbit = specimen.networks[0], orbits[0]
    graph = journal.note(f"graph of the best run{judged}", symbolic_graph, codes[0])
    points = journal.note("every fixed point of the best run", exact_fixed_points, best)
    table = journal.note("what the regions do", region_table, best, orbit, fixed_points=points)
    said = Trajectory(orbit.states[..., :OUTPUTS])
    divergence = journal.note(f"Dstsp of the best run{judged}", state_space_divergence, specimen.truth, said)
    for P, net in specimen.others.items():
        free = rollout(net.dynamics(), starts, steps=specimen.steps // ORBITS - 1, burn_in=2000)
        journal.note(
            f"Dstsp of the best run, {counted(P, 'rectified unit')}{judged}",
            state_space_divergence, specimen.truth, Trajectory(free.states[..., :OUTPUTS]),
        )  # fmt: skip
    journal.note(f"DH of the best run{judged}", power_spectrum_distance, specimen.truth, said)
    spectrum = journal.note(
        f"exponents of the best run, per step{judged}",
        lyapunov_spectrum, best.dynamics(), orbit.states[:, 0], steps=specimen.steps // ORBITS, directions=2,
    )  # fmt: skip
    clean = sum(_direct(code) == 0 and len(code.labels) == 3 for code in codes)
    held = [float(code.coverage[min(2, len(code.labels) - 1)]) for code in codes]
    rate, error = spectrum.exponents[0, 0] / DT, spectrum.standard_errors[0, 0] / DT
    return (
        f"In {sum(share >= 0.99 for share in held)} of {len(held)} runs three regions hold 99 % of the steps or more; {clean} "
        f"visit no fourth, with a pure chain wing - centre - wing.",
        f"The best run by Dstsp: {graph.summary()}; {table.summary()}.",
        f"Its Dstsp here is {divergence.divergence:.3g} nats; its largest exponent is {rate:.3g} ± {error:.2g} per unit of "
        f"time (Lorenz63: 0.906).",
    )


def _direct(code: Regions) -> int:
    """Jumps between the two regions other than the centre, the region that leads to both."""
    jumps = code.jumps[:3, :3]
    centre = int((jumps > 0).sum(axis=1).argmax())
    others = [i for i in range(len(jumps)) if i != centre]
    return int(jumps[np.ix_(others, others)].sum())


def _worse(results: Mapping[str, Result]) -> float:
    titles = ("Dstsp of the best run, 1 rectified unit", "Dstsp of the best run")
    fewer, two = (number_of(title, lambda found: found.divergence)(results) for title in titles)
    return fewer / two


PAPER = "Brenner et al. 2024, section 4, our reading"

study = CaseStudy(
    title="Almost-linear RNNs of Lorenz63: two rectified units, three regions?",
    citation="Brenner, Hemmer, Monfared, Durstewitz, Almost-Linear RNNs Yield Highly Interpretable Symbolic Codes in "
    "Dynamical Systems Reconstruction, NeurIPS 2024",
    question="Does the best of ten runs visit three regions, a wing, a centre and a wing, each with one real fixed point?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("best run: share of the steps in its three first regions", 1, PAPER, 0.01, "99 % or more",
              number_of("regions, run 1", lambda code: code.coverage[min(2, len(code.labels) - 1)])),
        Claim("best run: jumps between the wings without the centre", 0, PAPER, 0, "a chain has none",
              number_of("regions, run 1", _direct)),
        Claim("best run: real fixed points in its three first regions", 3, PAPER, 0, "one in each, by exact arithmetic",
              number_of("what the regions do", lambda table: table.real[:3].sum())),
        Claim("best run: Dstsp, nats", 0, "a perfect model; the authors' published weights have 3.44 with other bins", 4,
              "below 4: no farther than theirs by much", number_of("Dstsp of the best run", lambda found: found.divergence)),
        Claim("Dstsp of the best run with one rectified unit over the best with two", 5, "below two the error curve rises; our "
              "reading", 4, "beyond the scatter of runs of one number, a factor of 1.5", _worse),
        Claim("best run: DH", 0, "a perfect model; the authors' published weights have 0.123", 0.15,
              "below 0.15: no farther than theirs by much", number_of("DH of the best run", lambda found: found.distance)),
        Claim("best run: largest exponent per unit of time", 0.9056, "Sprott's table, Lorenz63", 0.1,
              "a forecaster of this size is not expected closer",
              number_of("exponents of the best run, per step", lambda found: found.exponents[0, 0] / DT)),
    ),
    scales={
        "tiny": {"runs": 2, "steps": 4000, "trained": False, "judged": False},
        "quick": {"runs": 10, "steps": 40_000, "trained": False, "judged": True},
        "full": {"runs": 10, "steps": 100_000, "trained": True, "judged": True},
    },
)  # fmt: skip
