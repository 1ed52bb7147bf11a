import math

import numpy as np
import pytest
import torch

from analyses.maps.windowed_products import log_singular_values, windowed_products
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory
from tests.known import cat_map, henon, linear, logistic

GOLDEN = math.log((3 + math.sqrt(5)) / 2)


def specimens():
    orbit = rollout(henon(), [[0.1, 0.1]], steps=40)
    return [windowed_products(henon(), orbit), windowed_products(linear([[0.0]]), [[1.0]], windows=(1, 8))]


def gain():
    return Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1, name="gain")


def known_product(dim, steps, seed=0):
    """J_t = Q_(t+1) D_t Q_t', so the product's singular values are the products of D's entries, in no order."""
    generator = np.random.default_rng(seed)
    frames = [np.linalg.qr(generator.standard_normal((dim, dim)))[0] for _ in range(steps + 1)]
    stretches = np.exp(generator.standard_normal((steps, dim)) + np.linspace(-2, 0.5, dim))
    matrices = np.stack([frames[t + 1] * stretches[t] @ frames[t].T for t in range(steps)])
    return matrices, np.sort(np.log(stretches).sum(axis=0))[::-1]


@pytest.mark.parametrize(("dim", "steps"), [(3, 4), (3, 100), (12, 64)])
def test_all_singular_values_are_found_though_they_span_hundreds_of_e_foldings(dim, steps):
    matrices, exact = known_product(dim, steps)
    found, residual = log_singular_values(matrices[None])
    # each factor is known to eps times its condition number, e^2 to e^8 here, and errors add over the steps
    np.testing.assert_allclose(found[0], exact, atol=1e-11 * steps)
    assert residual == 0


def test_beyond_the_range_of_a_float_the_values_still_come_out():
    matrices, exact = known_product(3, 800)
    assert np.ptp(exact) > 1500  # e^1500: no float64 matrix holds both ends
    found, residual = log_singular_values(matrices[None])
    np.testing.assert_allclose(found[0], exact, atol=1e-8)
    assert residual < 1e-12


def test_a_shear_has_the_closed_form():
    """[[2, 1], [0, 1/2]]^w = [[2^w, (2^w - 2^-w) 2/3], [0, 2^-w]]: det 1, and ln s1 = w ln 2 + ln(1 + 4/9) / 2 for large w."""
    shear = linear([[2.0, 1.0], [0.0, 0.5]])
    found = windowed_products(shear, np.zeros((1000, 2)), windows=(1000,))
    leading = 1000 * math.log(2) + math.log(1 + 4 / 9) / 2
    assert found.log_singular_values[0] == pytest.approx([leading, -leading], abs=1e-9)  # 1000 sums of size 1000 eps


def test_cat_map_has_one_exponent_over_every_window():
    orbit = rollout(cat_map(), [[0.1, 0.2]], steps=65)
    found = windowed_products(cat_map(), orbit, windows=(1, 2, 16, 64))
    assert found.counts.tolist() == [66, 33, 4, 1]
    np.testing.assert_allclose(found.exponents, np.tile([GOLDEN, -GOLDEN], (104, 1)), atol=1e-13)
    np.testing.assert_allclose(found.spreads[:3], 0, atol=1e-13)
    assert np.isnan(found.spreads[3]).all() and all(check.passed for check in found.checks)


def test_henon_contracts_areas_and_exponents_are_per_unit_of_the_clock():
    orbit = rollout(henon(), [[0.1, 0.1], [0.2, 0.1]], steps=99)
    found = windowed_products(henon(), orbit, windows=(1, 10, 50))
    np.testing.assert_allclose(found.log_singular_values.sum(axis=1), found.lengths * math.log(0.3), atol=1e-12)
    slow = windowed_products(linear([[3.0]], dt=0.5), np.zeros((4, 1)), windows=(4,))
    assert slow.exponents == pytest.approx(math.log(3) / 0.5, abs=1e-14)


def test_windows_of_one_unit_share_their_mean():
    """In one dimension logarithms add, so the mean over tiles of any length is the mean over their steps."""
    orbit = rollout(logistic(), [[0.3]], steps=4095)
    found = windowed_products(logistic(), orbit, windows=(1, 16, 256))
    np.testing.assert_allclose(found.means[:, 0], found.means[0, 0], atol=1e-12)
    # ln 2 up to (ln |f'(end)| - ln |f'(start)|) / steps, the conjugacy to the tent
    assert found.means[0, 0] == pytest.approx(math.log(2), abs=0.005)
    assert found.spreads[0, 0] > 10 * found.spreads[2, 0]


def test_windows_never_cross_runs():
    states = np.ones((2, 7, 1))
    states[1, 4:] = np.nan
    found = windowed_products(linear([[2.0]]), Trajectory(states, lengths=np.array([7, 4])), windows=(3, 9))
    assert found.runs.tolist() == [0, 0, 1] and found.firsts.tolist() == [0, 3, 0]
    assert found.counts.tolist() == [2 + 1, 0] and np.isnan(found.means[1]).all()
    assert "1 of 2 window lengths exceed every run" in found.summary()


def test_a_driven_map_multiplies_along_its_drives():
    drives = np.array([[[2.0], [-3.0], [5.0]]])
    orbit = rollout(gain(), [[1.0]], drives=drives)
    assert windowed_products(gain(), orbit, windows=(3,)).log_singular_values == pytest.approx(math.log(30))
    given = windowed_products(gain(), orbit.states[0, :3], drives=drives[0], windows=(1, 2))
    np.testing.assert_allclose(given.log_singular_values[:, 0], np.log([2, 3, 5, 6]), atol=1e-14)


def test_annihilated_directions_are_minus_infinity():
    zero = windowed_products(linear(np.zeros((2, 2))), np.zeros((4, 2)), windows=(1, 4))
    assert (zero.log_singular_values == -np.inf).all() and all(check.passed for check in zero.checks)
    nilpotent = windowed_products(linear([[0.0, 1.0], [0.0, 0.0]]), np.zeros((2, 2)), windows=(1, 2))
    np.testing.assert_allclose(nilpotent.log_singular_values[:2, 0], 0, atol=1e-14)
    assert (nilpotent.log_singular_values[2] == -np.inf).all()


def test_leading_directions_no_steps_and_refusals():
    orbit = rollout(henon(), [[0.1, 0.1]], steps=9)
    assert windowed_products(henon(), orbit, directions=1).log_singular_values.shape == (12, 1)
    none = windowed_products(henon(), np.zeros((0, 2)))
    assert none.log_singular_values.shape == (0, 2) and "0 products" in none.summary()
    with pytest.raises(InputError, match="lengths of at least 1 step and 1 to 2 directions"):
        windowed_products(henon(), orbit, windows=(0,))
    with pytest.raises(DrivenError, match="without drives"):
        windowed_products(gain(), np.ones((3, 1)))
    with pytest.raises(InputError, match=r"one drive a state, \(1, 3\) of them, but \(1, 2, 1\) came"):
        windowed_products(gain(), np.ones((3, 1)), drives=np.ones((2, 1)))
    with pytest.raises(InputError, match="takes none beside it"):
        windowed_products(henon(), orbit, drives=torch.zeros(3, 1))
    with pytest.raises(InputError, match="the trajectory 'henon' has none"):
        windowed_products(gain(), Trajectory(np.ones((1, 3, 1)), source="henon"))
