"""How does each block of a stack stretch, turn and mix what passes, and do the blocks act along common directions?

Of the slope J of every block at the state that enters it, and of its update R = J - I, which is the block without the skip
connection: singular values and eigenvalues of J; Henrici's departure of R from normality, sqrt(|R|_F^2 - sum |eigenvalue|^2) /
|R|_F (0.71 for a Gaussian matrix); the symmetric share |R + R'|_F^2 / 4 |R|_F^2 (1/2 for a Gaussian matrix, less where rotation
dominates); and the coupling of blocks, 1 - |U2' R1 V2 - S1|_F / |S1|_F with the leading K singular vectors of one block around
the update of another (Aubry, Meng, Sugolov, Papyan, ICLR 2025, arXiv 2407.07810: 1 for a block with itself, near 0 for random
ones). That early blocks are non-normal and late ones near symmetric, and that training makes them so, is the claim of Fernando
and Guitchounts, arXiv 2605.14258.

Slopes are formed up to 512 units; beyond, pushes and pulls alone give the leading singular values, each with a bound, and the
symmetric share from random directions. Takes one driven map of clock "layer" a text, and its recorded states; costs a Jacobian
and its decompositions a block and text, O(dim^3), and as much a block for each Gaussian draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from analyses.maps._blocks import (
    DRAWS,
    GAUSSIAN,
    LEADING,
    SETTLED,
    UNSTRUCTURED,
    WIDEST,
    block_link,
    fitting,
    gaussian_blocks,
    leading,
    nulls_of,
    replay_miss,
    replayed,
    slopes_of,
    told,
    update_traces,
)  # fmt: skip
from analyses.maps._eigenvalues import eigenvalues_at, sorted_eigenvalues
from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.trajectories._depth import TWIN, UNLEARNED
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FALL, RISE, COUPLING = "fall of non-normality", "rise of the symmetric share", "coupling"


@dataclass(frozen=True, eq=False)
class BlockSpectra(Result):
    """Spectra of every block in every text.

    Attributes
    ----------
    singular_values, bounds : (texts, blocks, kept)
        Of J, largest first; a singular value lies within the bound of each, 0 where slopes were formed.
    eigenvalues : (texts, blocks, found) complex
        Of J, largest modulus first.
    nonnormality : (texts, blocks)
        Henrici's departure of R; NaN where slopes are too wide to be formed.
    symmetric_shares : (texts, blocks)
    update_sizes : (texts, blocks)
        |R|_F / sqrt(dim): how far a random deviation is moved by a block, relative to its length.
    couplings : (texts, blocks, blocks)
        [t, k, l]: the update of block l in the singular frames of block k.
    coupled
        K, the singular vectors that were compared.
    dim
        Units of the stream.
    nulls
        Of three numbers, each a mean over texts: the mean of the first third of blocks less that of the last (non-normality),
        last less first (symmetric share), the mean coupling of different blocks.
    checks
        The maps replay the recorded states; ln |det J| by both spectra, or the largest bound as a share of the largest value.
    """

    singular_values: Float[np.ndarray, "texts blocks kept"]
    bounds: Float[np.ndarray, "texts blocks kept"]
    eigenvalues: Complex[np.ndarray, "texts blocks found"]
    nonnormality: Float[np.ndarray, "texts blocks"]
    symmetric_shares: Float[np.ndarray, "texts blocks"]
    update_sizes: Float[np.ndarray, "texts blocks"]
    couplings: Float[np.ndarray, "texts blocks blocks"]
    coupled: int
    dim: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def statistics(self) -> dict[str, float]:
        """The numbers that are held against nulls."""
        return _statistics(self.nonnormality, self.symmetric_shares, self.couplings)

    def summary(self) -> str:
        """Non-normality and symmetry of the first and last blocks, and the coupling, each beside its nulls."""
        texts, blocks, _ = self.singular_values.shape
        third, numbers = max(1, blocks // 3), self.statistics
        text = f"{counted(blocks, 'block')} in {counted(texts, 'text')}; symmetric share of the updates "
        text += f"{self.symmetric_shares[:, :third].mean():.3g} in the first third, "
        text += f"{self.symmetric_shares[:, -third:].mean():.3g} in the last{told(self.nulls, RISE)}"
        if np.isfinite(self.nonnormality).all():
            text += f"; non-normality {self.nonnormality[:, :third].mean():.3g} and "
            text += f"{self.nonnormality[:, -third:].mean():.3g}, a fall of {numbers[FALL]:.2g}{told(self.nulls, FALL)}"
        else:
            text += f"; non-normality is not shown above {WIDEST} units"
        if blocks > 1:
            text += f"; coupling of {self.coupled} directions {numbers[COUPLING]:.3g}{told(self.nulls, COUPLING)}"
        if not any(null.name == TWIN for null in self.nulls):
            text += "; no twins were given, so nothing says that training did it"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Symmetric share and non-normality by block: each text, and the mean."""
        ax = axes_or_new(ax)
        blocks = np.arange(self.symmetric_shares.shape[1])
        for rows, color, label in (
            (self.symmetric_shares, "#0072b2", "symmetric share"),
            (self.nonnormality, "#d55e00", "non-normality"),
        ):
            if np.isfinite(rows).all():
                ax.plot(blocks, rows.T, color=color, alpha=0.2, linewidth=0.6)
                ax.plot(blocks, rows.mean(axis=0), "o-", color=color, markersize=3, label=label)
        ax.set(xlabel="block", ylabel="of the update", ylim=(0, 1))
        ax.legend(frameon=False, fontsize="small")
        return ax


@dataclass(frozen=True)
class _Spectra:
    """What is known of one text's blocks."""

    singular_values: np.ndarray
    bounds: np.ndarray
    eigenvalues: np.ndarray
    nonnormality: np.ndarray
    symmetric_shares: np.ndarray
    sizes: np.ndarray
    couplings: np.ndarray
    gap: float  # what its check holds against zero
    missed: float


def block_spectra(
    dynamics: Sequence[Dynamics],
    trajectory: Trajectory,
    *,
    kept: int | None = None,
    coupled: int = 8,
    twins: Sequence[BlockSpectra] = (),
    draws: int = DRAWS,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> BlockSpectra:
    """Spectra of every block's slope along recorded states.

    Parameters
    ----------
    dynamics
        One map a run, driven by the layer's number: it takes site l of the run to site l + 1.
    trajectory
        Clock "layer"; one run a text, and none padded.
    kept
        Leading singular values wanted, by pushes and pulls alone, at any width. Left out: all up to 512 units, 16 above.
    coupled
        Singular vectors that are compared between blocks, at most ``dim``.
    twins
        The same analysis of random-weight twins on the same texts: one draw of the null each; 19 or more decide at 5 %.
    draws
        Of Gaussian blocks; 0 for none.
    generator
        Of the draws and random directions; a fixed seed when left out.
    watch
        Wraps the texts.

    Raises
    ------
    InputError
        When maps and runs do not fit each other, or a number of directions is below 1.
    """
    paths = fitting(dynamics, trajectory, "block_spectra")
    dim = trajectory.states.shape[2]
    if coupled < 1 or draws < 0 or (kept is not None and not 1 <= kept <= dim):
        raise InputError(
            f"kept={kept}, coupled={coupled}, draws={draws}: need 1 to {dim} directions, and no negative draws"
        )
    generator = generator or torch.Generator().manual_seed(0)
    formed, coupled = kept is None and dim <= WIDEST, min(coupled, dim)

    wanted = min(dim, LEADING) if kept is None else kept
    found = list(watch(_texts(dynamics, paths, wanted, coupled, formed, generator), len(paths)))
    if not found:
        raise InputError("the watch stopped block_spectra before its first text: give it more time")

    rows = {name: np.array([getattr(one, name) for one in found]) for name in _Spectra.__dataclass_fields__}
    sizes = np.sqrt((rows["sizes"] ** 2).mean(axis=0))
    drawn = [_of_slopes(gaussian_blocks(sizes, dim, generator), coupled) for _ in range(draws)]
    observed = _statistics(rows["nonnormality"], rows["symmetric_shares"], rows["couplings"])
    by_draw = [_statistics(one.nonnormality[None], one.symmetric_shares[None], one.couplings[None]) for one in drawn]
    what = (
        "ln |det J| from eigenvalues against singular values" if formed else "largest bound, share of the largest value"
    )
    return BlockSpectra(
        singular_values=rows["singular_values"],
        bounds=rows["bounds"],
        eigenvalues=rows["eigenvalues"],
        nonnormality=rows["nonnormality"],
        symmetric_shares=rows["symmetric_shares"],
        update_sizes=rows["sizes"] / np.sqrt(dim),
        couplings=rows["couplings"],
        coupled=coupled,
        dim=dim,
        nulls=(
            *nulls_of(observed, [twin.statistics for twin in twins], TWIN, UNLEARNED[TWIN]),
            *nulls_of(observed, by_draw, GAUSSIAN, UNSTRUCTURED),
        ),
        checks=(
            replayed(rows["missed"], dynamics),
            Check(what, 0.0, float(rows["gap"].max()), 1e-6 if formed else 1e2 * SETTLED),
        ),
    )


def _texts(
    dynamics: Sequence[Dynamics],
    paths: Sequence[Tensor],
    kept: int,
    coupled: int,
    formed: bool,
    generator: torch.Generator,
) -> Iterator[_Spectra]:
    for one, path in zip(dynamics, paths, strict=True):
        missed = replay_miss(one, path)
        if formed:
            yield _of_slopes(slopes_of(one, path), coupled, missed)
        else:
            yield _by_pushes(one, path, kept, coupled, missed, generator)


def _of_slopes(slopes: np.ndarray, coupled: int, missed: float = 0.0) -> _Spectra:
    """From J (blocks, dim, dim)."""
    updates = slopes - np.eye(slopes.shape[1])
    eigenvalues, singular_values = sorted_eigenvalues(torch.as_tensor(slopes)), np.linalg.svd(slopes, compute_uv=False)
    size = (updates**2).sum(axis=(1, 2))
    lost = np.clip(size - (np.abs(eigenvalues - 1) ** 2).sum(axis=1), 0, None)
    symmetric = ((updates + updates.swapaxes(1, 2)) ** 2).sum(axis=(1, 2)) / 4
    U, S, Vt = np.linalg.svd(updates)
    U, V = U[:, :, :coupled], Vt[:, :coupled].swapaxes(1, 2)
    # |det| survives rounding in both products when the smallest singular value is well above eps times the largest
    sound = singular_values[:, -1] > 1e-6 * singular_values[:, 0]
    gaps = np.log(np.abs(eigenvalues[sound])).sum(axis=1) - np.log(singular_values[sound]).sum(axis=1)
    return _Spectra(
        singular_values=singular_values,
        bounds=np.zeros_like(singular_values),
        eigenvalues=eigenvalues,
        nonnormality=np.sqrt(_share(lost, size)),
        symmetric_shares=_share(symmetric, size),
        sizes=np.sqrt(size),
        couplings=_couplings(U.swapaxes(1, 2)[:, None] @ (updates @ V[:, None]), S[:, :coupled]),
        gap=float(np.abs(gaps).max(initial=0)),
        missed=missed,
    )


def _by_pushes(
    dynamics: Dynamics, path: Tensor, kept: int, coupled: int, missed: float, generator: torch.Generator
) -> _Spectra:
    """From products with J and J' alone."""
    blocks = range(len(path) - 1)
    whole = [leading([block_link(dynamics, path, block)], path[0], kept, generator) for block in blocks]
    links = [block_link(dynamics, path, block, update=True) for block in blocks]
    parts = [leading([link], path[0], coupled, generator) for link in links]
    V = torch.cat([part.right for part in parts], dim=1)
    inner = np.empty((len(links), len(links), coupled, coupled))
    for number, (forward, _) in enumerate(links):
        carried = forward(V).unflatten(1, (len(links), coupled))
        for other, part in enumerate(parts):
            inner[other, number] = (part.left.mT @ carried[:, other]).double().cpu().numpy()
    sizes, traces = update_traces(dynamics, path, generator)
    values = np.array([one.values for one in whole])
    bounds = np.array([one.bounds for one in whole])
    S = np.array([part.values for part in parts])
    return _Spectra(
        singular_values=values,
        bounds=bounds,
        eigenvalues=np.concatenate([eigenvalues_at(dynamics.hold(block), path[block : block + 1]) for block in blocks]),
        nonnormality=np.full(len(links), np.nan),
        symmetric_shares=np.clip(0.5 + 0.5 * _share(traces, sizes**2), 0, 1),
        sizes=sizes,
        couplings=_couplings(inner, S),
        gap=max(
            float((bounds / values[:, :1]).max()), float(_share([part.bounds.max() for part in parts], S[:, 0]).max())
        ),
        missed=missed,
    )


def _couplings(inner: np.ndarray, S: np.ndarray) -> np.ndarray:
    """(blocks, blocks) from U_k' R_l V_k (blocks, blocks, K, K) and S_l (blocks, K); 0 for a block without an update."""
    off = np.linalg.norm(inner - S[:, :, None] * np.eye(S.shape[1]), axis=(2, 3))
    size = np.broadcast_to(np.linalg.norm(S, axis=1), off.shape)
    return _share(size - off, size)


def _share(part: Any, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _statistics(nonnormality: np.ndarray, symmetric: np.ndarray, couplings: np.ndarray) -> dict[str, float]:
    blocks = symmetric.shape[1]
    third, apart = max(1, blocks // 3), ~np.eye(blocks, dtype=bool)
    return {
        FALL: float(nonnormality[:, :third].mean() - nonnormality[:, -third:].mean()),
        RISE: float(symmetric[:, -third:].mean() - symmetric[:, :third].mean()),
        COUPLING: float(couplings[:, apart].mean()) if blocks > 1 else float("nan"),
    }
