import itertools
import math

import numpy as np
import pytest
import torch

from analyses.result import Outcome
from analyses.trajectories.koopman import Coordinates, Gaussians, Harmonics, Monomials, koopman_spectrum
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from tests.known import cat_map, doubling, linear, logistic


def specimens():
    runs = rollout(linear([[0.9, 0.2], [-0.2, 0.9]]), starts(12, 2), steps=6)
    return [koopman_spectrum(runs, draws=2, bags=3), koopman_spectrum(Trajectory(np.ones((1, 1, 2))))]


def starts(count, dim, *, low=-1.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, dim))


def slow_manifold(mu=0.9, lam=0.5):
    """x' = mu x, y' = lam y + (mu^2 - lam) x^2: {x, y, x^2} is invariant, with eigenvalues mu, lam, mu^2 (Brunton, Brunton,
    Proctor, Kutz, PLoS ONE 11, e0150171, 2016)."""

    def step(states, _):
        x, y = states.unbind(1)
        return torch.stack([mu * x, lam * y + (mu**2 - lam) * x * x], 1)

    return Dynamics(step, dim=2)


def test_eigenvalues_of_a_linear_map_are_exact():
    A = np.random.default_rng(1).standard_normal((5, 5)) / 3
    found = koopman_spectrum(rollout(linear(A), starts(40, 5), steps=10))
    expected = np.linalg.eigvals(A)
    assert max(np.abs(expected - value).min() for value in found.eigenvalues) < 1e-12
    assert found.residuals.max() < 1e-12 and found.verified.all() and found.state_share == pytest.approx(1, abs=1e-12)
    assert found.held_out.max() < 1e-6  # from squares: the root of rounding, for functions that shrink
    assert np.abs(found.intervals[:, 0] - np.abs(found.eigenvalues)[:, None]).max() < 1e-10
    assert all(check.passed for check in found.checks) and found.nulls[0].beaten


def test_an_affine_map_has_the_eigenvalues_of_its_slope():
    dynamics = Dynamics(lambda x, _: 0.7 * x + 2.0, dim=1)
    found = koopman_spectrum(rollout(dynamics, starts(1, 1), steps=20))
    assert found.eigenvalues == pytest.approx([0.7], abs=1e-12) and found.verified.all()
    # the eigenfunction is x - 2 / 0.3: zero at the fixed point
    at_rest = np.array([[2 / 0.3]]) @ found.coefficients + found.offsets
    assert abs(at_rest[0, 0]) < 1e-10


def test_observables_that_close_give_their_eigenvalues_and_others_of_the_same_degree_are_told_apart():
    runs = rollout(slow_manifold(), starts(30, 2), steps=4)
    closed = koopman_spectrum(runs, dictionary=lambda s: np.column_stack([s, s[:, 0] ** 2]))
    assert np.sort(closed.eigenvalues.real) == pytest.approx([0.5, 0.81, 0.9], abs=1e-12)
    assert closed.verified.all() and closed.residuals.max() < 1e-12
    quadratic = koopman_spectrum(runs, dictionary=Monomials(2))  # x y and y^2 leave the span
    for eigenvalue in (0.9, 0.5, 0.81):
        assert quadratic.residuals[quadratic.nearest(eigenvalue)] < 1e-10
    assert quadratic.verified.sum() == 3 and quadratic.residuals[~quadratic.verified].min() > 0.05


def test_eigenfunctions_move_by_their_eigenvalue_and_modes_give_the_state_back():
    runs = rollout(slow_manifold(), starts(30, 2), steps=4)
    now, after = runs.pairs()
    dictionary = Monomials(2)
    found = koopman_spectrum(runs, dictionary=dictionary, draws=0)
    phi, later = (dictionary(states) @ found.coefficients + found.offsets for states in (now, after))
    np.testing.assert_allclose(phi.std(axis=0), 1, rtol=1e-10)
    kept = found.verified
    np.testing.assert_allclose(later[:, kept], (found.eigenvalues * phi)[:, kept], atol=1e-10)
    means = now.mean(axis=0) - (phi.mean(axis=0) @ found.modes).real
    np.testing.assert_allclose((phi @ found.modes).real + means, now, atol=1e-10)
    assert np.abs((phi @ found.modes).imag).max() < 1e-10 and found.nulls == ()


def test_a_rotation_has_every_harmonic_verified_on_the_circle():
    turn = (math.sqrt(5) - 1) / 2
    runs = rollout(Dynamics(lambda x, _: (x + turn) % 1, dim=1), starts(20, 1, low=0), steps=40)
    found = koopman_spectrum(runs, dictionary=Harmonics(4))
    assert found.verified.all() and np.abs(found.eigenvalues) == pytest.approx(np.ones(8), abs=1e-9)
    for k in range(1, 5):
        wave = np.exp(2j * np.pi * k * turn)
        assert abs(found.eigenvalues[found.nearest(wave)] - wave) < 1e-9


def standard_map(kick):
    def step(states, _):
        x, p = states.unbind(1)
        p = p + kick * torch.sin(2 * math.pi * x) / (2 * math.pi)
        return torch.stack([x + p, p], 1) % 1

    return Dynamics(step, dim=2)


@pytest.mark.parametrize(
    ("runs", "dictionary"),
    [
        (rollout(cat_map(), starts(60, 2, low=0), steps=20), Harmonics(2)),
        (rollout(cat_map(), starts(60, 2, low=0), steps=20), Monomials(4)),
        (rollout(doubling(), np.floor(starts(60, 1, low=0) * 3**20), steps=20), Harmonics(4, period=3.0**20)),
        (rollout(standard_map(20.0), starts(60, 2, low=0), steps=20), Harmonics(2)),
        (rollout(logistic(), starts(60, 1, low=0), steps=20), Monomials(6)),
    ],
    ids=["cat", "cat by monomials", "doubling", "standard map at 20", "logistic at 4"],
)
def test_on_a_mixing_map_every_eigenpair_is_spurious(runs, dictionary):
    found = koopman_spectrum(runs, dictionary=dictionary)
    # an isometry: |K g| = |g|, so that a residual is (1 - |lambda|^2)^(1/2); verification asks for 0.01
    assert not found.verified.any() and found.held_out.min() > 0.3
    assert not found.nulls[0].beaten and found.nulls[0].draws.max() == 0
    assert found.summary().startswith(f"0 of {len(found.eigenvalues)} non-trivial eigenpairs")


def duffing(dt=0.25, substeps=10):
    """x'' = -x' / 2 + x - x^3."""

    def velocity(s):
        return torch.stack([s[:, 1], -0.5 * s[:, 1] + s[:, 0] - s[:, 0] ** 3], 1)

    def step(s, _):
        h = dt / substeps
        for _ in range(substeps):
            a = velocity(s)
            b = velocity(s + h / 2 * a)
            c = velocity(s + h / 2 * b)
            s = s + h / 6 * (a + 2 * b + 2 * c + velocity(s + h * c))
        return s

    return Dynamics(step, dim=2)


WELL = np.exp((-0.25 + 1j * math.sqrt(2 - 0.25**2)) * 0.25)  # slope at (+-1, 0): trace -0.5, determinant 2


def test_the_well_of_a_duffing_oscillator_has_the_eigenvalue_of_its_linearisation():
    assert abs(WELL) == pytest.approx(0.939, abs=5e-4) and np.angle(WELL) == pytest.approx(0.348, abs=5e-4)
    near = np.array([1.0, 0.0]) + 0.3 * starts(60, 2)
    found = koopman_spectrum(rollout(duffing(), near, steps=20), dictionary=Monomials(7))
    k = found.nearest(WELL)
    assert found.verified[k] and found.held_out[k] < 1e-3
    assert abs(found.eigenvalues[k] - WELL) < 1e-3  # the error of an eigenvalue is of the order of the residual
    assert found.residuals[found.nearest(abs(WELL) ** 2)] < 1e-2  # |phi|^2 is an eigenfunction as well


def test_two_wells_give_each_eigenvalue_twice_and_an_invariant_function_that_is_constant_on_each():
    side = np.where(np.arange(80) % 2, 1.0, -1.0)
    near = np.column_stack([side, np.zeros(80)]) + 0.3 * starts(80, 2)
    grid = np.array(list(itertools.product(np.linspace(-1.6, 1.6, 9), np.linspace(-0.8, 0.8, 5))))
    dictionary = Gaussians(grid, 0.5)
    found = koopman_spectrum(rollout(duffing(), near, steps=20), dictionary=dictionary, draws=2, bags=0)
    still = found.nearest(1.0)
    assert found.verified[still]
    values = (dictionary(near) @ found.coefficients[:, still] + found.offsets[still]).real
    assert max(values[side > 0].std(), values[side < 0].std()) < 0.05  # where its deviation over all states is 1
    assert (np.abs(found.eigenvalues - WELL) < 0.01).sum() == 2
    assert np.isnan(found.intervals).all()


def test_near_a_rest_of_a_network_the_eigenvalues_are_those_of_its_slope():
    W = torch.tensor(np.random.default_rng(3).standard_normal((5, 5)) / 4)
    network = Dynamics(lambda h, _: torch.tanh(h @ W.T + 0.3), dim=5)
    rest = rollout(network, np.zeros((1, 5)), steps=500).states[0, -1]
    found = koopman_spectrum(rollout(network, rest + 1e-4 * starts(40, 5), steps=5))
    slope = (1 - rest**2)[:, None] * W.numpy()
    for eigenvalue in np.linalg.eigvals(slope):
        # what is left is of second order: 1e-4 of the linear part
        assert abs(found.eigenvalues[found.nearest(eigenvalue)] - eigenvalue) < 1e-3
    assert found.verified.all()


@pytest.mark.parametrize("kept", [0.8, 0.99])
def test_noise_in_the_step_is_a_residual_that_finer_sampling_lowers(kept):
    # x' = kept x + (1 - kept^2)^(1/2) noise, of unit variance: E x' = kept x, and x' - kept x has variance 1 - kept^2
    rng = np.random.default_rng(0)
    x = [rng.standard_normal(500)]
    for _ in range(100):
        x.append(kept * x[-1] + math.sqrt(1 - kept**2) * rng.standard_normal(500))
    found = koopman_spectrum(Trajectory(np.stack(x, axis=1)[:, :, None]), draws=0)
    error = math.sqrt((1 - kept**2) / 50_000)  # of the slope, from 50 000 pairs
    assert abs(found.eigenvalues[0] - kept) < 4 * error
    low, high = found.intervals[0, 0]
    assert low < found.eigenvalues[0].real < high and high - low == pytest.approx(
        3.29 * error, rel=0.5
    )  # 5 to 95 %, of 50 bags
    assert found.residuals[0] == pytest.approx(math.sqrt(1 - kept**2), rel=0.05) and not found.verified[0]


def test_noise_fitted_exactly_is_told_by_what_was_left_out():
    # 60 pairs of independent noise in 30 random waves: the fit is good, the rest is not
    noise = np.random.default_rng(0).standard_normal((30, 3, 2))
    waves = np.random.default_rng(1).standard_normal((2, 30))
    found = koopman_spectrum(Trajectory(noise), dictionary=lambda s: np.sin(s @ waves), tolerance=0.9)
    assert (found.residuals <= 0.9).any() and not found.verified.any()


def test_pairs_never_cross_runs_and_padding_is_not_read():
    A = [[0.9, 0.3], [-0.3, 0.9]]
    runs = rollout(linear(A), starts(12, 2), steps=8).states.copy()
    lengths = np.arange(12) % 6 + 4
    runs[np.arange(9) >= lengths[:, None]] = np.nan
    found = koopman_spectrum(Trajectory(runs, lengths=lengths))
    assert found.pairs == (lengths - 1).sum() and found.residuals.max() < 1e-12 and found.units == 12


def test_a_drift_is_no_eigenfunction():
    drift = Dynamics(lambda x, _: x + 0.1, dim=1)  # K x = x + 0.1: no constant can take that up
    found = koopman_spectrum(rollout(drift, starts(20, 1), steps=5))
    spread = rollout(drift, starts(20, 1), steps=5).pairs()[0].std()
    assert found.eigenvalues == pytest.approx([1], abs=1e-12) and found.residuals == pytest.approx([0.1 / spread])


def test_what_does_not_move_or_is_short_is_empty():
    still = koopman_spectrum(Trajectory(np.ones((3, 10, 2))))
    assert len(still.eigenvalues) == 0 and still.state_share == 0 and still.outcome is Outcome.CONVERGED
    with pytest.raises(InputError, match="no eigenvalue was found"):
        still.nearest(1.0)
    short = koopman_spectrum(Trajectory(starts(4, 3)[None]), dictionary=Monomials(2))
    assert short.outcome is Outcome.TOO_SHORT and "3 pairs for 9 observables" in short.summary()
    one = koopman_spectrum(rollout(logistic(0.5), [[0.2]], steps=3))
    assert len(one.eigenvalues) == 1 and one.units == 3


def test_dictionaries_hold_what_they_say():
    states = starts(7, 3)
    assert Monomials(3)(states).shape == (7, math.comb(6, 3) - 1)
    assert Harmonics(1)(states).shape == (7, 26) and Coordinates()(states) is states
    centers = starts(4, 3, seed=1)
    squares = ((states[:, None] - centers) ** 2).sum(axis=2)
    np.testing.assert_allclose(Gaussians(centers, 0.5)(states), np.exp(-2 * squares), rtol=1e-12)
    assert repr(Gaussians(centers, 0.5)) != repr(Gaussians(centers + 1, 0.5))


def test_what_cannot_be_read_is_refused():
    runs = rollout(logistic(), starts(5, 1, low=0), steps=9)
    with pytest.raises(
        InputError, match=r"real numbers \(points, observables\), but float64 of shape \(45,\) came of 45"
    ):
        koopman_spectrum(runs, dictionary=lambda s: s[:, 0])
    with pytest.raises(InputError, match="complex128"):
        koopman_spectrum(runs, dictionary=lambda s: np.exp(1j * s))
    with pytest.raises(InputError, match="45 of 45 states have observables that are not finite"):
        koopman_spectrum(runs, dictionary=lambda s: s * np.nan)
    with pytest.raises(InputError, match="tolerance is positive"):
        koopman_spectrum(runs, tolerance=0.0)
    with pytest.raises(InputError, match="degree 1 at least, not 0"):
        Monomials(0)
    with pytest.raises(InputError, match="order 1 at least"):
        Harmonics(0)
    with pytest.raises(InputError, match="one center at least"):
        Gaussians(np.zeros((0, 2)), 1.0)


def test_equal_generators_give_equal_intervals():
    runs = rollout(logistic(), starts(20, 1, low=0), steps=9)
    one, two = (
        koopman_spectrum(runs, dictionary=Monomials(2), bags=9, generator=np.random.default_rng(3)) for _ in range(2)
    )
    np.testing.assert_array_equal(one.intervals, two.intervals)
