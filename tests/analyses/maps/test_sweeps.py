import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps._sweeps import cholesky_qr
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import recurrent
from interp.progress import last_saved, saved_every, within_budget
from tests.known import cat_map, henon, linear


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def only(states):
    """Stop a loop after so many states."""
    return lambda loop, total: itertools.islice(loop, states)


def saved_after(states, path):
    """Stop a loop after so many states and save the last one, as a budget would."""
    return lambda loop, total: only(states)(saved_every(1e9, path)(loop, total), total)


def stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return recurrent(nn.GRU(2, 3, 2))


def runs():
    drives = uniform(140, 2, seed=1)
    return {
        "Henon": (henon(), 0.1 * uniform(3, 2), {}),
        "leading direction": (cat_map(), uniform(2, 2), {"directions": 1}),
        "stack under drives": (stack(), uniform(3, 6), {"drives": drives}),
        "drives for each start": (stack(), uniform(2, 6), {"drives": drives.repeat(2, 1, 1), "directions": 2}),
    }


@pytest.mark.parametrize("name", runs())
@pytest.mark.parametrize(
    "stop", [7, 20, 21, 67, 78, 80]
)  # in the burn-in, at its end, after it, in and at the end of blocks
def test_a_run_stopped_and_resumed_gives_the_same_bits(name, stop, tmp_path):
    dynamics, starts, options = runs()[name]
    options |= {"steps": 120, "burn_in": 20}
    path = tmp_path / "state"
    whole = lyapunov_spectrum(dynamics, starts, **options)
    part = lyapunov_spectrum(dynamics, starts, **options, watch=saved_after(stop, path))
    sweep = last_saved(path)
    assert sweep.step == stop and part.outcome is Outcome.OUT_OF_TIME
    assert_same(lyapunov_spectrum(dynamics, starts, **options, resume=sweep), whole)
    # neither the result nor the run that went on has changed the saved state
    assert_same(lyapunov_spectrum(dynamics, starts, **options, resume=sweep, watch=only(0)), part)
    assert_same(lyapunov_spectrum(dynamics, starts, **options, resume=last_saved(path), watch=only(0)), part)


def assert_same(one, other):
    assert one.to_dict() == other.to_dict()


def test_states_between_two_orthonormalisations_were_among_them(tmp_path):
    lyapunov_spectrum(*runs()["Henon"][:2], steps=120, burn_in=20, watch=saved_after(67, tmp_path / "state"))
    assert last_saved(tmp_path / "state").since > 0


def test_a_run_that_fails_within_a_step_goes_on_from_the_step_before(tmp_path):
    """The failing step may have been half taken: the saved state holds nothing of it."""
    calls = itertools.count()
    sound = replace(henon(), fingerprint="same map")

    def step(states, drive):
        if next(calls) > 90:
            raise RuntimeError("power cut")
        return sound.step(states, drive)

    options = {"steps": 120, "burn_in": 20}
    with pytest.raises(RuntimeError, match="power cut"):
        lyapunov_spectrum(
            replace(sound, step=step), 0.1 * uniform(3, 2), **options, watch=saved_every(1e9, tmp_path / "state")
        )
    sweep = last_saved(tmp_path / "state")
    assert 20 < sweep.step < 120
    whole = lyapunov_spectrum(sound, 0.1 * uniform(3, 2), **options)
    assert_same(lyapunov_spectrum(sound, 0.1 * uniform(3, 2), **options, resume=sweep), whole)


def test_a_finished_run_resumes_to_its_result_and_budgets_nest_either_way(tmp_path):
    path, options = tmp_path / "state", {"steps": 60, "burn_in": 5}
    starts = 0.1 * uniform(2, 2)
    whole = lyapunov_spectrum(henon(), starts, **options, watch=saved_every(0.0, path))
    assert last_saved(path).step == 65
    assert_same(lyapunov_spectrum(henon(), starts, **options, resume=last_saved(path)), whole)
    for outer, inner in ((within_budget(-1.0), saved_every(1e9, path)), (saved_every(1e9, path), within_budget(-1.0))):
        path.unlink()
        lyapunov_spectrum(
            henon(), starts, **options, watch=lambda loop, total, o=outer, i=inner: o(i(loop, total), total)
        )
        assert last_saved(path).step == 1


def test_a_state_of_another_run_is_refused(tmp_path):
    path, starts = tmp_path / "state", 0.1 * uniform(2, 2)
    assert last_saved(path) is None
    lyapunov_spectrum(henon(), starts, steps=60, watch=saved_after(9, path))
    sweep = last_saved(path)
    for dynamics, begin, options in (
        (henon(a=1.3), starts, {"steps": 60}),  # it has no fingerprint, but takes the starts elsewhere
        (henon(), starts + 0.01, {"steps": 60}),
        (henon(), starts, {"steps": 61}),
        (henon(), starts, {"steps": 60, "burn_in": 1}),
        (henon(), starts, {"steps": 60, "directions": 1}),
    ):
        with pytest.raises(InputError, match="the state to resume belongs to Henon <"):
            lyapunov_spectrum(dynamics, begin, **options, resume=sweep)
    with pytest.raises(InputError, match="but dict came"):
        lyapunov_spectrum(henon(), starts, steps=60, resume={})


def test_the_state_has_a_fixed_size(tmp_path):
    sizes = set()
    for steps in (100, 3000):
        lyapunov_spectrum(
            linear(0.5 * np.eye(2)), uniform(2, 2), steps=steps, watch=saved_after(90, tmp_path / "state")
        )
        sweep = last_saved(tmp_path / "state")
        sizes.add(sum(value.numel() for value in vars(sweep).values() if isinstance(value, torch.Tensor)))
    assert len(sizes) == 1


def test_an_overflow_in_one_start_leaves_the_others_alone():
    leaves = Dynamics(lambda x, _: torch.where(x.abs() > 10, x * 1e200, 1 - 1.4 * x * x), dim=1)
    alone = lyapunov_spectrum(leaves, [[0.1]], steps=100)
    found = lyapunov_spectrum(leaves, [[20.0], [0.1]], steps=100)
    assert found.attractor.tolist() == [-1, 0] and np.isnan(found.finite_time[0]).all()
    assert found.exponents == pytest.approx(alone.exponents, abs=1e-12)


def test_cholesky_qr_is_qr():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(16, 40, 8, generator=generator, dtype=torch.float64)
    # what a push leaves: columns from long to short by PARTED, and leaning towards the first
    frames = frames * torch.logspace(4, 0, 8, dtype=torch.float64) + 1e3 * frames[:, :, :1]
    Q = frames.clone()
    R = cholesky_qr(Q)
    one = torch.eye(8, dtype=torch.float64)
    assert (Q.mT @ Q - one).abs().max() < 1e-14
    assert (Q @ R - frames).abs().max() / frames.abs().max() < 1e-14
    assert R.tril(-1).abs().max() == 0 and (R.diagonal(dim1=1, dim2=2) > 0).all()
    expected = torch.linalg.qr(frames)[1].diagonal(dim1=1, dim2=2).abs()
    assert (R.diagonal(dim1=1, dim2=2) / expected - 1).abs().max() < 1e-12


def test_cholesky_qr_leaves_hard_frames_to_householder():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(5, 6, 3, generator=generator, dtype=torch.float64)
    frames[1, :, 2] = frames[1, :, 1] + 1e-12 * frames[1, :, 2]  # beyond what its Gram matrix can tell
    frames[2, :, 1] = 0.0  # annihilated
    frames[3] = torch.nan
    Q = frames.clone()
    R = cholesky_qr(Q)
    kept = [0, 1, 2, 4]
    assert (Q[kept].mT @ Q[kept] - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-14
    assert (Q[kept] @ R[kept] - frames[kept]).abs().max() < 1e-14
    assert R.nan_to_num().tril(-1).abs().max() == 0
    # Householder's own R of the nearly dependent frame: the last entry is rounding of 1e-12, so to its fourth digit
    expected = torch.linalg.qr(frames[1])[1].diagonal().abs()
    assert (R[1].diagonal().abs() / expected - 1).abs().max() < 1e-3
    assert R[2].diagonal()[1] == 0 and R[3].isnan().any()


def test_wide_frames_are_carried_and_orthonormalised_like_narrow_ones():
    """x' = d x has exponents ln d; 1500 coordinates are beyond WIDE, and the leading three are far from the others."""
    factors = torch.full((1500,), 1e-3, dtype=torch.float64)
    factors[[3, 700, 1499]] = torch.tensor([0.9, 0.5, 0.25], dtype=torch.float64)
    wide = Dynamics(lambda x, _: factors * x, dim=1500)
    found = lyapunov_spectrum(wide, uniform(2, 1500), steps=64, burn_in=64, directions=3)
    assert found.exponents == pytest.approx(np.log([[0.9, 0.5, 0.25]]), abs=1e-12)


def test_a_push_that_gives_back_its_tangents_does_not_change_a_saved_state(tmp_path):
    still = Dynamics(lambda x, _: x, dim=1500, fingerprint="still", push=lambda x, tangents, _: (x, tangents))
    starts, path = uniform(1, 1500), tmp_path / "state"
    whole = lyapunov_spectrum(still, starts, steps=8, directions=2)
    lyapunov_spectrum(still, starts, steps=8, directions=2, watch=saved_after(3, path))
    assert_same(lyapunov_spectrum(still, starts, steps=8, directions=2, resume=last_saved(path)), whole)
    assert whole.exponents == pytest.approx(0.0, abs=1e-14)


def test_wide_states_are_told_apart_by_a_sketch():
    """x' = tanh(2x) in 2000 coordinates from two opposite corners, and x' = -x, which repeats after two steps."""
    corners = torch.ones(2, 2000, dtype=torch.float64) * torch.tensor([[1.0], [-1.0]])
    apart = Dynamics(lambda x, _: torch.tanh(2 * x), dim=2000)
    found = lyapunov_spectrum(apart, corners, steps=100, burn_in=50, directions=1)
    assert found.attractor.tolist() == [0, 1] and found.verdicts == ("stable fixed point",) * 2
    slope = 2 * (1 - 0.9575040240772687**2)  # at the root of x = tanh(2x)
    assert found.exponents[:, 0] == pytest.approx(np.log(slope), abs=1e-9)
    turned = lyapunov_spectrum(Dynamics(lambda x, _: -x, dim=2000), corners[:1], steps=100, directions=1)
    assert turned.verdicts == ("neutral cycle of period 2",)
