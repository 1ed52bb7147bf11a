"""Do stable modules stay stable when they are wired together, and is a network contracting because it was built to be?

Kozachkov, Ennis and Slotine (RNNs of RNNs, NeurIPS 2022): modules that contract, coupled by feedback L_ij = B, L_ji =
-M_j^-1 B' M_i in their joint metric M, contract as a whole, whatever B. Assemblies are built so, certified, and then built with
one condition broken: feedback of the other sign, feedback without a rule, modules that do not contract.

Neural contractive systems (Beik-Mohammadi et al., ICLR 2024) are built to have the slope -(A(x)' A(x) + e I), A a network:
the velocity is that matrix integrated along the straight path from the origin. Then x'f(x) <= -e |x|^2, so there is one
attractor, and every exponent is -e or less. But a matrix field is the slope of its integral along paths only where it is the
slope of something. In more than one dimension it is not in general: off the origin the velocity's own slope is another, and
there are states, proved, where neighbours part. The control, of the same form with A' A = W' diag(1 - tanh^2(W x)) W, is the
slope of a gradient, and contracts.

Each is asked, with weights drawn at random and not trained, whether it contracts a box, where it rests and how neighbours part.
A proof that fails is no loss of stability: feedback without a rule and loose modules of these sizes still come to one rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from analyses.maps.contraction import Contraction, certify_contraction
from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from case_studies._study import CaseStudy
from hooks.dynamics import Dynamics
from hooks.families import flow
from interp.claims import Claim
from interp.journal import Journal

BUILT, WRONG_SIGN, FREE, LOOSE = "built", "feedback of the other sign", "feedback without a rule", "loose modules"
PATH, GRADIENT = "path integral", "gradient"
KINDS = (BUILT, WRONG_SIGN, FREE, LOOSE, PATH, GRADIENT)
SIGMA, LOOP, FEEDBACK = 0.7, 2.0, 2.0  # norms of |W|, of W in loose modules, and of L, in the joint metric
SIDE = 10.0  # of the box of an assembly
EPSILON, HIDDEN, NODES, DT, REACH = 0.5, 16, 8, 0.1, 3.0  # of the contractive systems; the last is their box
STARTS = 64


@dataclass(frozen=True, eq=False)
class Built:
    """A map, the metric it was built in, and the side of the box that is asked about."""

    dynamics: Dynamics
    metric: np.ndarray
    side: float


def assembly(kind: str, seed: int, *, modules: int, units: int) -> Built:
    """r' = (1 - a) r + a (W tanh(r) + L r + u), with a at 0.95 of the largest step that the theorem allows.

    |T |W| T^-1|_2 = SIGMA and |T L T^-1|_2 = FEEDBACK in the diagonal metric M = T^2; a < 2 (1 - SIGMA) / (1 - SIGMA^2 +
    FEEDBACK^2), see ``certify_contraction``. Feedback without a rule is Gaussian, between modules only.
    """
    generator = torch.Generator().manual_seed(seed)
    n = modules * units
    module = torch.arange(modules).repeat_interleave(units)
    own, above = module[:, None] == module, module[:, None] < module
    M = 0.25 + 4 * torch.rand(n, generator=generator, dtype=torch.float64)
    T = M.sqrt()

    def of_norm(matrix: Tensor, norm: float, sized: Tensor) -> Tensor:
        return matrix * norm / torch.linalg.matrix_norm(T[:, None] * sized / T, 2)

    W, B, R = torch.randn(3, n, n, generator=generator, dtype=torch.float64)
    W, B = W * own, B * above
    W = of_norm(W, LOOP, W) if kind == LOOSE else of_norm(W, SIGMA, W.abs())
    L = R * ~own if kind == FREE else B - (1 if kind != WRONG_SIGN else -1) * (B.mT * M) / M[:, None]
    L = of_norm(L, FEEDBACK, L)
    a = 0.95 * 2 * (1 - SIGMA) / (1 - SIGMA**2 + FEEDBACK**2)
    rest = (1 - a) * torch.eye(n, dtype=torch.float64) + a * L
    u = a * (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)
    step = Dynamics(lambda r, _: linear(r, rest, u) + linear(torch.tanh(r), a * W), dim=n, name=f"assembly, {kind}")
    return Built(step, M.numpy(), SIDE)


def contractive(kind: str, seed: int, *, dim: int) -> Built:
    """x' = x + dt f(x): f by the path integral of -(A' A + e I), A a network of one tanh layer, by Gauss's rule; or -grad."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    V, b, out = drawn(HIDDEN, dim) / math.sqrt(dim), drawn(HIDDEN), drawn(dim * dim, HIDDEN) / math.sqrt(HIDDEN)
    places, weights = np.polynomial.legendre.leggauss(NODES)
    nodes, shares = torch.from_numpy((places + 1) / 2)[:, None, None], torch.from_numpy(weights / 2)
    # All nodes side by side: the matrices A are blocks, and the entry (i, j) of each is met by which i and which j.
    eye = torch.eye(dim, dtype=torch.float64)
    hidden, matrices = (nodes * V).flatten(0, 1), torch.block_diag(*[out] * NODES)
    column = eye.repeat(NODES * dim, 1)
    row = torch.block_diag(*[eye.repeat_interleave(dim, 0)] * NODES)
    summed = (shares[:, None, None] * eye.repeat(dim, 1)).flatten(0, 1).T.contiguous()
    to_row, offsets = row.T.contiguous(), b.repeat(NODES)

    def integral(x: Tensor, _: object) -> Tensor:
        A = linear(torch.tanh(linear(x, hidden, offsets)), matrices)
        forward = linear(A * linear(x, column), to_row)
        return -EPSILON * x - linear(A * linear(forward, row), summed)

    def gradient(x: Tensor, _: object) -> Tensor:
        return -EPSILON * x - linear(torch.tanh(linear(x, V)), V.T.contiguous()) / HIDDEN

    field = integral if kind == PATH else gradient
    return Built(flow(field, dim, dt=DT, method="euler", name=kind), np.ones(dim), REACH)


@dataclass(frozen=True, eq=False)
class Specimen:
    """Maps by kind, one a seed."""

    maps: Mapping[str, list[Built]]
    steps: int


def prepare(*, kinds: tuple[str, ...], modules: int, units: int, dim: int, seeds: int, steps: int) -> Specimen:
    """``seeds`` draws of each kind, to be followed ``steps``: assemblies of ``modules`` of ``units``, or systems of ``dim``."""

    def drawn(kind: str, seed: int) -> Built:
        if kind in (PATH, GRADIENT):
            return contractive(kind, seed, dim=dim)
        return assembly(kind, seed, modules=modules, units=units)

    return Specimen({kind: [drawn(kind, seed) for seed in range(seeds)] for kind in kinds}, steps)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Contraction in the metric it was built in, fixed points and the largest exponent of each map."""
    sentences = []
    for kind, maps in specimen.maps.items():
        found = [_account(journal, f"{kind}, draw {seed}", built, specimen.steps) for seed, built in enumerate(maps)]
        proofs, points, exponents = zip(*found, strict=True)
        largest = max((float(one.exponents[:, 0].max()) for one in exponents if len(one.exponents)), default=math.nan)
        counts = [len(one.points) for one in points]
        hopeless = sum(one.disproved and one.spectral_radius > 1 for one in proofs)
        sentences.append(
            f"{kind}: {sum(one.proved for one in proofs)} of {len(proofs)} proved to contract the box, "
            f"{sum(one.disproved for one in proofs)} proved not to, {hopeless} of them in no constant metric; {min(counts)} to "
            f"{max(counts)} fixed points; largest exponent {largest:.3g}, and "
            f"{sum(not len(one.exponents) for one in exponents)} leave every bound."
        )
    return tuple(sentences)


def _account(
    journal: Journal, title: str, built: Built, steps: int
) -> tuple[Contraction, FixedPoints, LyapunovSpectrum]:
    generator = torch.Generator().manual_seed(0)
    starts = built.side * (2 * torch.rand(STARTS, built.dynamics.dim, generator=generator, dtype=torch.float64) - 1)
    box = (-built.side, built.side)
    proof = journal.note(f"{title}: contraction", certify_contraction, built.dynamics, box, metric=built.metric)
    points = journal.note(f"{title}: fixed points", find_fixed_points, built.dynamics, starts)
    spectrum = journal.note(
        f"{title}: largest exponent", lyapunov_spectrum, built.dynamics, starts[:4], steps=steps, directions=1,
        burn_in=steps,
    )  # fmt: skip
    return proof, points, spectrum


def _share(
    kind: str, what: str, holds: Callable[[Mapping[str, Result], str], bool]
) -> Callable[[Mapping[str, Result]], float]:
    """Of the draws of this kind for which it holds."""

    def measure(results: Mapping[str, Result]) -> float:
        titles = [t.removesuffix(f": {what}") for t in results if t.startswith(f"{kind}, ") and t.endswith(f": {what}")]
        return float(np.mean([holds(results, title) for title in titles])) if titles else math.nan

    return measure


def _contraction(kind: str, proved: bool) -> Callable[[Mapping[str, Result]], float]:
    def holds(results: Mapping[str, Result], title: str) -> bool:
        found = results[f"{title}: contraction"]
        assert isinstance(found, Contraction)
        return found.proved if proved else found.disproved

    return _share(kind, "contraction", holds)


def _one_rest(kind: str) -> Callable[[Mapping[str, Result]], float]:
    def holds(results: Mapping[str, Result], title: str) -> bool:
        found = results[f"{title}: fixed points"]
        assert isinstance(found, FixedPoints)
        return len(found.points) == 1 and bool(found.stable.all())

    return _share(kind, "fixed points", holds)


def _below(kind: str, bound: Callable[[Mapping[str, Result], str], float]) -> Callable[[Mapping[str, Result]], float]:
    """Whether the largest exponent is no larger than the bound, to rounding of the sum of logarithms."""

    def holds(results: Mapping[str, Result], title: str) -> bool:
        found = results[f"{title}: largest exponent"]
        assert isinstance(found, LyapunovSpectrum)
        return len(found.exponents) > 0 and float(found.exponents[:, 0].max()) <= bound(results, title) + 1e-6

    return _share(kind, "largest exponent", holds)


def _log_rate(results: Mapping[str, Result], title: str) -> float:
    found = results[f"{title}: contraction"]
    assert isinstance(found, Contraction)
    return math.log(found.rate) if found.rate > 0 else -math.inf


THEOREM = "the theorem of assemblies"
SLOPE = "the construction: the slope is -(A' A + e I) everywhere"
INWARD = "x'f(x) <= -e |x|^2, and the slope at the origin is the matrix there"
ALL = "every draw"

study = CaseStudy(
    title="Do stable modules stay stable when they are wired together, and do contractive networks contract?",
    citation="Kozachkov, Ennis, Slotine, RNNs of RNNs, NeurIPS 2022; Beik-Mohammadi et al., Neural contractive dynamical "
    "systems, ICLR 2024",
    question="Does a network contract because its construction says so, and does a proof notice when one condition is broken?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("assemblies built by the rule: share proved to contract", 1, THEOREM, 0, ALL, _contraction(BUILT, True)),
        Claim("assemblies built by the rule: share with one fixed point, stable", 1, "Banach", 0, ALL, _one_rest(BUILT)),
        Claim("assemblies built by the rule: share whose largest exponent is below ln of the proved rate", 1,
              "norms bound exponents", 0, ALL, _below(BUILT, _log_rate)),
        Claim("feedback of the other sign: share proved not to contract in the metric", 1,
              "a symmetric L of norm 2 is the slope's own where tanh is flat", 0, ALL, _contraction(WRONG_SIGN, False)),
        Claim("feedback without a rule: share proved not to contract in the metric", 1,
              "the symmetric part of a Gaussian matrix of norm 2 reaches 1.4", 0, ALL, _contraction(FREE, False)),
        Claim("loose modules: share proved not to contract in the metric", 1,
              "the symmetric part of a Gaussian matrix of norm 2 reaches 1.4", 0, ALL, _contraction(LOOSE, False)),
        Claim("path integral: share proved not to contract", 0, SLOPE, 0, ALL, _contraction(PATH, False)),
        Claim("path integral: share with one fixed point, stable", 1, INWARD, 0, ALL, _one_rest(PATH)),
        Claim("path integral: share whose largest exponent is below -e", 1, INWARD, 0, ALL,
              _below(PATH, lambda results, title: -EPSILON)),
        Claim("gradient: share proved to contract", 1, "its matrix is a slope", 0, ALL, _contraction(GRADIENT, True)),
        Claim("gradient: share whose largest exponent is below -e", 1, "its matrix is a slope", 0, ALL,
              _below(GRADIENT, lambda results, title: -EPSILON)),
    ),
    scales={
        "tiny": {"kinds": (BUILT, WRONG_SIGN), "modules": 2, "units": 4, "dim": 2, "seeds": 1, "steps": 50},
        "quick": {"kinds": KINDS, "modules": 4, "units": 8, "dim": 2, "seeds": 5, "steps": 300},
        "full": {"kinds": KINDS, "modules": 8, "units": 16, "dim": 3, "seeds": 10, "steps": 1000},
    },
)  # fmt: skip
