"""What did a network hold at these sites, over more texts than fit in memory? Activations on disk, read back site by site.

A store is one Zarr v3 folder: an array (state, unit) a site, and ``text``, ``position``, ``token`` (state,) beside them, so
that any Zarr reader opens it. States follow each other without padding, in the order that ``hooks/_layout.py`` states, and are
cut into chunks of equal rows at every site. A chunk counts once its row of ``checksums`` (chunk, site) is there, CRC-32 of what
was written: one small file, renamed into place after the chunks it vouches for have reached the disk. So a store is good after
any kill, and several processes fill one without locks, since no two write the same file. bfloat16 is kept as its 16 bits in a
uint16 and read back as float32, exactly (the attribute ``kept_as`` of the array says so).

Costs: a site is read without opening any other; memory is one chunk, except for ``read(...).values``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from hooks._layout import Layout, as_positions
from hooks._zarr import KEPT_AS, LABELS, SCHEMA, checksum, committed, widened, zarr
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from xarray import DataArray

Sums = tuple[int, np.ndarray, np.ndarray]  # number of states, their mean, sum of squares about it (or of products)


@dataclass(frozen=True, eq=False)
class Moments:
    """Of all states at one site: their number, the mean and variance of each unit, and of the 2-norm of a state.

    Variances are those of the recorded states themselves (divided by their number).
    """

    states: int
    mean: Float[np.ndarray, " unit"]
    variance: Float[np.ndarray, " unit"]
    norm_mean: float
    norm_variance: float
    norm_min: float
    norm_max: float


@dataclass(frozen=True, eq=False)
class ActivationStore:
    """A store on disk, opened for reading; ``open_store`` opens one, ``capture_texts`` fills one.

    Attributes
    ----------
    path
        Its folder.
    settings
        What decides every number in it: fingerprint of the model, digest of the texts, widths of the sites, positions, dtype,
        tokens a batch, rows a chunk.
    layout
        Order of texts and states.
    source
        Where the model came from.
    """

    path: Path
    settings: Mapping[str, Any]
    layout: Layout
    source: str = ""

    @property
    def sites(self) -> tuple[str, ...]:
        """In the order they were asked for."""
        return tuple(self.settings["sites"])

    @property
    def dtype(self) -> str:
        """float32, float16 or bfloat16."""
        return self.settings["dtype"]

    @property
    def committed(self) -> np.ndarray:
        """Which chunks are there, (chunks,) bool, as of now."""
        return committed(self.path, self.layout.chunks)

    @property
    def nbytes(self) -> int:
        """Bytes that the sites take when all chunks are there."""
        return self.layout.chunks * self.bytes_a_chunk

    @property
    def bytes_a_chunk(self) -> int:
        """Of all sites together."""
        return self.layout.rows * sum(self.settings["sites"].values()) * np.dtype(KEPT_AS[self.dtype]).itemsize

    @cached_property
    def labels(self) -> Mapping[str, np.ndarray]:
        """ "text", "position" and "token" of every state, each (states,) int64."""
        text, position = self.layout.labels()
        return {"text": text, "position": position, "token": self._array("token")[:].astype(np.int64)}

    def read(self, site: str) -> DataArray:
        """One site as (state, unit), read from disk where it is indexed, with the coordinates text, position and token.

        Raises
        ------
        InputError
            For a site that is not there, or while chunks are missing.
        """
        from hooks._lazy import lazy

        there = self.committed
        if not there.all():
            raise InputError(
                f"{self.path} has {there.sum()} of {len(there)} chunks: run the same capture again to finish it, or take what "
                f"is there with .parts()"
            )
        coords = {name: ("state", values) for name, values in self.labels.items()}
        return lazy(self._array(site), self.dtype, name=site, coords=coords)

    def parts(self, *sites: str) -> Iterator[Trajectory]:
        """The states chunk after chunk, clock "layer": a run is a state, its steps are these sites in this order, all if none.

        Chunks that are not there yet are left out. Sites of one width only. Labels "text", "position", "token" a run.
        """
        wanted = sites or self.sites
        widths = {site: self.settings["sites"][self._known(site)] for site in wanted}
        if len(set(widths.values())) > 1:
            raise InputError(f"sites of one width make a trajectory, but these have {widths}")
        for chunk in np.flatnonzero(self.committed):
            first, last = self.layout.chunk(int(chunk))
            states = np.stack([self._values(site, first, last) for site in wanted], axis=1)
            labels = {name: values[first:last] for name, values in self.labels.items()}
            yield Trajectory(states, "layer", labels=labels, source=self.source)

    def texts(self, site: str) -> Iterator[Trajectory]:
        """One site batch after batch, clock "token": a run is a text, its steps are its kept positions.

        Batches with a chunk that is not there yet are left out. Labels "text" a run, "position" and "token" a step.
        """
        self._known(site)
        there = self.committed
        for batch in self.layout.batches:
            if not there[batch.first // self.layout.rows : (batch.last - 1) // self.layout.rows + 1].all():
                continue
            shape = len(batch.texts), len(batch.positions)
            labels = {
                name: self.labels[name][batch.first : batch.last].reshape(shape) for name in ("position", "token")
            }
            states = self._values(site, batch.first, batch.last).reshape(*shape, -1)
            yield Trajectory(
                states, "token", labels={"text": batch.texts, **labels}, source=f"{self.source} {site}".strip()
            )

    def moments(self, site: str) -> Moments:
        """In one pass over the chunks that are there, each merged in float64 (Chan, Golub & LeVeque 1983).

        Raises
        ------
        InputError
            When there is no chunk yet.
        """
        total, shortest, longest = None, np.inf, 0.0
        for values in self._chunks(site):
            norms = np.linalg.norm(values, axis=1)
            both = np.concatenate([values, norms[:, None]], axis=1)
            mean = both.mean(axis=0)
            total = _merged(total, (len(both), mean, ((both - mean) ** 2).sum(axis=0)))
            shortest, longest = min(shortest, norms.min()), max(longest, norms.max())
        states, mean, squares = self._found(total, site)
        variance = squares / states
        return Moments(
            states, mean[:-1], variance[:-1], float(mean[-1]), float(variance[-1]), float(shortest), float(longest)
        )

    def covariance(self, site: str) -> Float[np.ndarray, "unit unit"]:
        """Of the units over all states, in one pass as ``moments``; takes (unit, unit) float64 beside a chunk."""
        total = None
        for values in self._chunks(site):
            mean = values.mean(axis=0)
            total = _merged(total, (len(values), mean, (values - mean).T @ (values - mean)))
        states, _, products = self._found(total, site)
        return products / states

    def damaged(self) -> tuple[tuple[int, str], ...]:
        """(chunk, site) wherever what is on disk is not what was written, by its checksum; reads the whole store."""
        sums = self._array("checksums")
        return tuple(
            (int(chunk), site)
            for chunk in np.flatnonzero(self.committed)
            for site, expected in zip(self.sites, np.atleast_1d(sums[int(chunk)]), strict=True)
            if checksum(self._array(site)[slice(*self.layout.chunk(int(chunk)))]) != expected
        )

    def _found(self, total: Sums | None, site: str) -> Sums:
        if total is None:
            raise InputError(f"{self.path} has no chunk of {site!r} yet")
        return total

    def _chunks(self, site: str) -> Iterator[np.ndarray]:
        self._known(site)
        for chunk in np.flatnonzero(self.committed):
            yield self._values(site, *self.layout.chunk(int(chunk)))

    def _values(self, site: str, first: int, last: int) -> np.ndarray:
        return widened(self._array(site)[first:last], self.dtype).astype(np.float64)

    def _array(self, name: str) -> Any:
        return zarr().open_array(self.path / (name if name in (*LABELS, "checksums") else self._known(name)), mode="r")

    def _known(self, site: str) -> str:
        if site not in self.sites:
            raise InputError(f"no site {site!r} in {self.path}; there are {', '.join(self.sites)}")
        return site


def open_store(path: Path | str) -> ActivationStore:
    """A store that was captured before, whole or not, with neither the model nor the texts.

    Raises
    ------
    InputError
        When there is none at the path, or it is of another version; when zarr or xarray are not installed.
    """
    path = Path(path)
    try:
        attributes = dict(zarr().open_group(path, mode="r").attrs)
    except (FileNotFoundError, NotADirectoryError):
        attributes = {}
    settings = attributes.get("settings", {})
    if settings.get("schema") != SCHEMA:
        raise InputError(f"{path} holds no activations that this version wrote: interp capture makes such a folder")
    lengths = zarr().open_array(path / "lengths", mode="r")[:].astype(np.int64)
    layout = Layout(lengths, as_positions(settings["positions"]), settings["batch_tokens"], settings["rows"])
    return ActivationStore(path, settings, layout, attributes["source"])


def _merged(a: Sums | None, b: Sums) -> Sums:
    """Sums of two sets of states from the sums of each."""
    if a is None:
        return b
    (n, mean, squares), (m, more, other) = a, b
    gap = more - mean
    product = gap**2 if squares.ndim == 1 else np.outer(gap, gap)
    return n + m, mean + gap * m / (n + m), squares + other + product * n * m / (n + m)
