"""Lyapunov spectra to equal standard error: this toolkit beside pynamicalsys and two tools for recurrent networks.

    python -m benchmarks.lyapunov --peer-python PYTHON_WITH_PYNAMICALSYS
        [--peer-hyperopt CHECKOUT] [--peer-parallel CHECKOUT ...]

Work is CPU time, burn-in included, times the variance of the answer: the sum over its exponents of squared standard errors,
each from the spread over that side's own starts. Halving the error takes four times the run, so this product is what a side
spends on a given error, whatever ensemble suits it. The ratio is the peer's work over ours. Starts, steps and inputs of the
recurrent network are the same on both sides.

pynamicalsys (GPL, numba) runs in a Python of its own beside this one. shlizee/lyapunov-hyperopt and
dynamic-intelligence-lab/parallel_lyapunov_exponents (which needs its authors' generalized_orders_of_magnitude and
torch_parallel_scan: give these checkouts too) run on the weights of this toolkit's GRU. Of the first only the GRU without bias
runs: its other branches read names that are not set, or gradients that are not kept. The second takes Jacobians, whose making
is not counted, and gives whole spectra alone. Without the peers RESULTS.md stays as it is.

``--memory push`` or ``--memory spectrum`` prints the peak of 32 directions on a lattice of 100 000 units, in states.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.maps import _sweeps
from analyses.maps.lyapunov import lyapunov_spectrum
from benchmarks._table import machine, resident, table, write_section
from case_studies._systems import SYSTEMS
from hooks.dynamics import Dynamics
from hooks.families import recurrent
from hooks.tangent import push, pushed

RUNS = 3  # medians of
UNITS, INPUTS, LEADING, GAIN = 256, 3, 8, 3.0
STARTS, STEPS, BURN_IN = 8, 200, 50  # of the GRU
JACOBIANS = 64  # a start, for the parallel peer
WIDE, DIRECTIONS = 100_000, 32
PARAMETERS = {"Lorenz63": [10.0, 28.0, 8 / 3], "Lorenz96": [8.0]}
# system: our (starts, steps, burn-in), the peer's (starts, time, transient)
ENSEMBLES = {
    "Lorenz63": ((512, 20_000, 2000), (16, 1000.0, 50.0)),
    "Lorenz96": ((64, 5000, 500), (8, 200.0, 10.0)),
}

PYNAMICALSYS = """
import json, sys, time
import numpy as np
from numba import njit
from pynamicalsys import ContinuousDynamicalSystem

@njit
def lorenz96(t, u, p):
    n = len(u)
    out = np.empty(n)
    for i in range(n):
        out[i] = (u[(i + 1) % n] - u[i - 2]) * u[i - 1] - u[i] + p[0]
    return out

@njit
def slope96(t, u, p):
    n = len(u)
    out = np.zeros((n, n))
    for i in range(n):
        out[i, (i + 1) % n] += u[i - 1]
        out[i, i - 2] -= u[i - 1]
        out[i, i - 1] += u[(i + 1) % n] - u[i - 2]
        out[i, i] -= 1
    return out

asked = json.load(sys.stdin)
if asked["system"] == "Lorenz63":
    system = ContinuousDynamicalSystem(model="lorenz system")
else:
    system = ContinuousDynamicalSystem(
        equations_of_motion=lorenz96, jacobian=slope96, system_dimension=40, number_of_parameters=1
    )
system.integrator("rk4", time_step=asked["dt"])

def spectrum(start, time):
    return system.lyapunov(start, time, parameters=asked["parameters"], transient_time=asked["transient"])

began = time.process_time()
spectrum(asked["starts"][0], 2 * asked["transient"])
compiling = time.process_time() - began
seconds, found = [], []
for _ in range(asked["runs"]):
    began = time.process_time()
    found = [spectrum(start, asked["time"] + asked["transient"]).tolist() for start in asked["starts"]]
    seconds.append(time.process_time() - began)
json.dump({"compiling": compiling, "seconds": seconds, "found": found}, sys.stdout)
"""


@dataclass(frozen=True, eq=False)
class Side:
    """What one tool took and said: CPU seconds of each run and of compilation, (starts, exponents)."""

    tool: str
    ensemble: str
    seconds: list[float]
    compiling: float
    found: np.ndarray

    @property
    def variance(self) -> float:
        """Of the answer: squared standard errors, summed over exponents."""
        return float(self.found.var(axis=0, ddof=1).sum() / len(self.found))

    def work(self, *, compiling: bool) -> float:
        """CPU seconds times the variance, with compilation or without."""
        return (median(self.seconds) + compiling * self.compiling) * self.variance

    def row(self, system: str, ours: Side) -> list[str]:
        """Of the table; ratios are this side's work over ours."""
        ratio, with_compiling = (self.work(compiling=how) / ours.work(compiling=how) for how in (False, True))
        mean, error = self.found.mean(axis=0), self.found[:, 0].std(ddof=1) / math.sqrt(len(self.found))
        return [system, self.tool, self.ensemble, f"{median(self.seconds):.2f}", f"{self.compiling:.1f}",
                f"{mean[0]:+.4f} ± {error:.4f}", f"{mean.sum():+.4f}", f"{self.work(compiling=False):.2g}", f"{ratio:.1f}",
                f"{with_compiling:.1f}"]  # fmt: skip


def cpu(work: Callable[[], Any], runs: int = RUNS) -> tuple[list[float], Any]:
    """CPU seconds of each run and the last answer."""
    seconds, answer = [], None
    for _ in range(runs):
        began = time.process_time()
        answer = work()
        seconds.append(time.process_time() - began)
    return seconds, answer


@contextlib.contextmanager
def compiled_before(chosen: Any) -> Iterator[None]:
    """The engine takes this push instead of choosing again, so that its compilation is not timed with the run."""
    before, _sweeps.pushed = _sweeps.pushed, lambda *_, **__: chosen
    try:
        yield
    finally:
        _sweeps.pushed = before


def ours(dynamics: Dynamics, starts: Tensor, steps: int, burn_in: int, **options: Any) -> tuple[Side, str]:
    """Our side, and what was chosen for its pushes."""
    k = options.get("directions", dynamics.dim)
    drive = options["drives"][:, 0] if "drives" in options else None
    frame = _sweeps.beginning(dynamics, starts, k, "").frame
    began = sum(os.times()[:4])
    chosen = pushed(dynamics, starts, frame, drive, steps=burn_in + steps)
    choosing = sum(os.times()[:4]) - began
    with compiled_before(chosen):
        seconds, found = cpu(lambda: lyapunov_spectrum(dynamics, starts, steps=steps, burn_in=burn_in, **options))
    assert all(check.passed for check in found.checks), found.checks
    ensemble = f"{len(starts)} x {steps} steps"
    return Side("this toolkit", ensemble, seconds, choosing if chosen.compiled else 0.0, found.per_start), chosen.note


def pynamicalsys(python: Path, name: str, dt: float, starts: Tensor, length: float, transient: float) -> Side:
    """pynamicalsys in its own Python, on a textbook system from these starts for this time after a transient."""
    asked = {"system": name, "dt": dt, "parameters": PARAMETERS[name], "starts": starts.tolist(), "time": length,
             "transient": transient, "runs": RUNS}  # fmt: skip
    done = subprocess.run(
        [python, "-c", PYNAMICALSYS], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    ensemble = f"{len(starts)} x {round(length / dt)} steps"
    return Side("pynamicalsys", ensemble, said["seconds"], said["compiling"], np.array(said["found"]))


def hyperopt(checkout: Path, layer: nn.GRU, inputs: Tensor) -> Side:
    """lyapunov-hyperopt on these weights and inputs, in float32 as it runs; exponents in nats."""
    theirs = imported("lyapunov", checkout)
    theirs.tqdm = lambda given, **_: given  # its bars are dropped

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn_layer = layer

        def forward(self, x: Tensor, h: Tensor) -> Any:
            return self.rnn_layer(x, h)

    model, h = Model(), torch.zeros(1, len(inputs), UNITS)

    def run() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.qr is deprecated
            found, _ = theirs.calc_LEs_an(inputs, h, model=model, k_LE=LEADING, rec_layer="gru", warmup=BURN_IN)
        return found

    with torch.no_grad():
        seconds, found = cpu(run)
    found = found.double().numpy() * math.log(2)
    return Side("lyapunov-hyperopt", f"{len(inputs)} x {inputs.shape[1]} steps", seconds, 0.0, found)


def parallel(checkouts: list[Path], dynamics: Dynamics, drives: Tensor) -> Side:
    """parallel_lyapunov_exponents on Jacobians along our orbits, which it is given."""
    theirs = imported("lyapunov_exponents", *checkouts)
    assert dynamics.jacobian is not None
    states, slopes = torch.zeros(len(drives), dynamics.dim, dtype=torch.float64), []
    for step in range(BURN_IN + JACOBIANS):
        if step >= BURN_IN:
            slopes.append(dynamics.jacobian(states, drives[:, step]))
        states = dynamics(states, drives[:, step])
    along = torch.stack(slopes, 1)
    seconds, found = cpu(lambda: [theirs.estimate_spectrum_in_parallel(J.clone(), dt=1.0) for J in along], runs=1)
    leading = torch.stack(found).sort(1, descending=True)[0][:, :LEADING].numpy()
    return Side("parallel_lyapunov_exponents", f"{len(drives)} x {JACOBIANS} steps", seconds, 0.0, leading)


def imported(name: str, *folders: Path) -> Any:
    """A peer's module by the folders it needs."""
    sys.path[:0] = [str(folder.resolve()) for folder in folders]
    try:
        return __import__(name)
    finally:
        del sys.path[: len(folders)]


def lattice(units: int) -> Dynamics:
    """Chaotic logistic maps on a ring, each coupled to its neighbours: a wide map whose Jacobian nobody forms."""

    def step(x: Tensor, _: Any) -> Tensor:
        moved = 3.9 * x * (1 - x)
        return 0.8 * moved + 0.1 * (moved.roll(1, 1) + moved.roll(-1, 1))

    return Dynamics(step, dim=units, name="coupled map lattice")


def memory(what: str) -> float:
    """Peak resident memory above what stood before, in states of the lattice; run it in a process of its own."""

    def work(units: int) -> Callable[[], Any]:
        dynamics, states = lattice(units), torch.rand(1, units, dtype=torch.float64)
        if what == "spectrum":
            return lambda: lyapunov_spectrum(dynamics, states, steps=4, directions=DIRECTIONS)
        tangents = torch.randn(1, units, DIRECTIONS, dtype=torch.float64)
        return lambda: push(dynamics, states, tangents)

    work(DIRECTIONS)()  # what is loaded on first use is not counted
    measured = work(WIDE)
    before = resident("VmRSS")
    measured()
    return (resident("VmHWM") - before) / (WIDE * 8)


def main() -> None:
    """Run all sides, print the table, and write it to RESULTS.md if every peer ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python with pynamicalsys")
    parser.add_argument("--peer-hyperopt", type=Path, help="checkout of shlizee/lyapunov-hyperopt")
    parser.add_argument("--peer-parallel", type=Path, nargs="*", default=[], help="checkouts, see above")
    parser.add_argument("--memory", choices=["push", "spectrum"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.memory:
        print(f"{memory(asked.memory):.1f}")
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing was compiled before
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # in this process and its compiler's, whose CPU time is known
    generator = torch.Generator().manual_seed(0)
    rows, notes = [], []

    for name, ((many, steps, burn_in), (few, length, transient)) in ENSEMBLES.items():
        dynamics = SYSTEMS[name].make()
        start = torch.as_tensor(SYSTEMS[name].start(dynamics.dim), dtype=torch.float64)
        starts = start + torch.randn(many, dynamics.dim, generator=generator, dtype=torch.float64)
        mine, note = ours(dynamics, starts, steps, burn_in)
        rows.append(mine.row(name, mine))
        notes.append(f"{name}: {note}.")
        if asked.peer_python is not None:
            theirs = pynamicalsys(asked.peer_python, name, dynamics.dt, starts[:few], length, transient)
            rows.append(theirs.row(name, mine))
        print("\n".join(map(str, rows)), file=sys.stderr)

    layer = nn.GRU(INPUTS, UNITS, bias=False, batch_first=True).requires_grad_(False)
    layer.weight_hh_l0.copy_(torch.randn(3 * UNITS, UNITS, generator=generator) * GAIN / math.sqrt(UNITS))
    layer.weight_ih_l0.copy_(torch.randn(3 * UNITS, INPUTS, generator=generator) / math.sqrt(INPUTS))
    inputs = torch.randn(STARTS, BURN_IN + STEPS, INPUTS, generator=generator)
    gru = recurrent(layer)
    options = {"drives": inputs.double(), "directions": LEADING}
    mine, note = ours(gru, torch.zeros(STARTS, UNITS, dtype=torch.float64), STEPS, BURN_IN, **options)
    rows.append(mine.row("GRU-256", mine))
    notes.append(f"GRU-256, leading {LEADING}: {note}.")
    if asked.peer_hyperopt is not None:
        rows.append(hyperopt(asked.peer_hyperopt, layer, inputs).row("GRU-256", mine))
    if asked.peer_parallel:
        rows.append(parallel(asked.peer_parallel, gru, inputs.double()).row("GRU-256", mine))

    for what in ("push", "spectrum"):
        command = [sys.executable, "-m", "benchmarks.lyapunov", "--memory", what]
        peaks = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(9)]
        notes.append(
            f"Peak memory for {DIRECTIONS} directions on {WIDE} units, above what stood before, {what}: {median(peaks):.0f} "
            f"states ({min(peaks):.0f} to {max(peaks):.0f} over {len(peaks)} processes: what the allocator keeps differs)."
        )
    header = ["system", "tool", "ensemble", "median CPU, s", "compiling, s", "first exponent", "sum", "work", "ratio",
              "ratio with compiling"]  # fmt: skip
    compared = asked.peer_python is not None and asked.peer_hyperopt is not None and asked.peer_parallel
    missing = "" if compared else " Not every peer was run, and RESULTS.md is left as it was."
    text = f"{table(header, rows)}\n\nWork is CPU seconds x variance. {' '.join(notes)} {machine()}.{missing}"
    print(text)
    if compared:
        write_section("Lyapunov spectra to equal standard error", text)


if __name__ == "__main__":
    main()
