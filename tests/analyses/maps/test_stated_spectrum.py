"""A right spectrum passes, and each identity is broken by the number made to break it."""

import math

import numpy as np
import pytest
import torch

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.stated_spectrum import DIMENSION, SUM, TWICE, ZERO, audit_spectrum
from case_studies._systems import SYSTEMS
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from tests.known import linear

LORENZ = (0.9056, 0.0, -14.5723)  # Sprott's table, at 10, 28, 8/3


@pytest.fixture(scope="module")
def lorenz():
    system = SYSTEMS["Lorenz63"].make()
    near = torch.tensor([[1.0, 2.0, 20.0]]) + 0.1 * torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    orbits = rollout(system, near.double(), steps=2560, burn_in=500).states
    return lyapunov_spectrum(system, orbits[:, 320::320].reshape(64, 3), steps=1000, burn_in=300)


def measured_henon(count=64, steps=400):
    starts = 0.1 * torch.rand(count, 2, generator=torch.Generator().manual_seed(0)).double()
    return lyapunov_spectrum(SYSTEMS["Henon"].make(), starts, steps=steps, burn_in=100)


def specimens():
    """One that breaks every identity, and one of a map at rest, with no identity but the sum."""
    rest = lyapunov_spectrum(linear(np.diag([0.5, 0.2])), np.ones((8, 2)), steps=8)
    return [
        audit_spectrum(measured_henon(16, 300), (2.0, -1.0), largest=1.5, dimension=60.0),
        audit_spectrum(rest, np.log([0.5, 0.2]), flow=False),
    ]


def test_the_accepted_exponents_of_lorenz_keep_every_identity(lorenz):
    found = audit_spectrum(lorenz, LORENZ, largest=0.9056, dimension=2.06215)
    assert found.identities == (SUM, ZERO, TWICE, DIMENSION) and found.broken == ()
    assert not found.apart.any() and found.checks[0].passed and "keep all 4 identities" in found.summary()
    # the sum is -41/3 from any orbit, to RK4's 1e-4; the others within four of their own standard errors
    assert found.required[0] == pytest.approx(-41 / 3, abs=1e-3)
    assert abs(found.dimension - 2.06215) < 4 * found.dimension_error < 0.01
    assert abs(found.entropy - 0.9056) < 4 * found.entropy_error < 0.1


@pytest.mark.parametrize(
    ("stated", "options", "broken"),
    [
        ((0.9056, 0.0, -15.0), {}, {SUM}),
        ((0.9056, 0.2, -14.77), {}, {ZERO}),
        (LORENZ, {"largest": 1.091}, {TWICE}),
        (LORENZ, {"dimension": 60.7}, {DIMENSION}),
        # all stored by one database for this system, beta 2.667 beside 8/3 moving the sum by 3e-4
        ((1.09109, 0.0299412, -14.9156), {"largest": 0.8917, "dimension": 2.0752}, {SUM, TWICE}),
    ],
)  # fmt: skip
def test_each_identity_is_broken_by_its_own_number_alone(lorenz, stated, options, broken):
    found = audit_spectrum(lorenz, stated, **options)
    assert set(found.broken) == broken
    assert f"break {len(broken)} of {len(found.identities)} identities" in found.summary()


def test_order_does_not_matter_and_wrong_exponents_are_named_apart(lorenz):
    found = audit_spectrum(lorenz, (-14.5723, 2.0, 0.0))
    assert found.stated.tolist() == [2.0, 0.0, -14.5723] and found.apart.tolist() == [True, False, False]


def test_standard_errors_of_the_dimension_know_that_the_sum_is_fixed():
    """Henon: D = 1 + l1 / (l1 - ln 0.3), so its error is that of l1 by dD/dl1 = -ln 0.3 / (l1 - ln 0.3)^2, to first order."""
    found = audit_spectrum(measured_henon(), (0.41922, -1.62319), flow=False, dimension=1.25827)
    slope = -math.log(0.3) / (found.measured[0] - math.log(0.3)) ** 2
    assert found.dimension_error == pytest.approx(slope * found.standard_errors[0], rel=0.01)
    assert found.broken == () and found.checks == () and found.identities == (SUM, DIMENSION)
    assert found.entropy_error == pytest.approx(found.standard_errors[0], rel=1e-9)


def test_a_fixed_point_has_dimension_zero_and_a_map_that_keeps_areas_that_of_its_space():
    rest = specimens()[1]
    assert rest.dimension == 0 == rest.entropy and rest.broken == ()
    turn = Dynamics(lambda s, _: torch.stack([s[:, 1], -s[:, 0]], 1), dim=2)
    kept = audit_spectrum(lyapunov_spectrum(turn, np.ones((8, 2)), steps=8), (0.0, 0.0), flow=False)
    assert kept.dimension == 2 and kept.dimension_error == 0


def test_an_exponent_that_falls_for_ever_is_called_unsettled(lorenz):
    """A shear parts neighbours like t, so the mean over t steps is ln t / t: over the second half of 64 steps, ln 2 / 32."""
    shear = lyapunov_spectrum(linear([[1.0, 1.0], [0.0, 1.0]]), np.zeros((8, 2)), steps=64)
    found = audit_spectrum(shear, (0.0, 0.0), flow=False)
    assert found.halves == pytest.approx([math.log(32) / 32, math.log(2) / 32], abs=0.05)
    assert not found.settled and "not settled" in found.summary()
    good = audit_spectrum(lorenz, LORENZ)
    assert good.settled and "not settled" not in good.summary()
    assert good.halves.mean() == pytest.approx(good.measured[0], abs=0.01)  # the halves are of 512 and 488 steps


def test_what_cannot_be_compared_is_refused(lorenz):
    with pytest.raises(InputError, match=r"3 finite exponents are needed, .* but \(2,\) came"):
        audit_spectrum(lorenz, (0.9, 0.0))
    with pytest.raises(InputError, match="attractor 1 has 0 starts; 8 independent ones"):
        audit_spectrum(lorenz, LORENZ, attractor=1)
    part = lyapunov_spectrum(SYSTEMS["Lorenz63"].make(), np.ones((8, 3)), steps=10, directions=1)
    with pytest.raises(InputError, match="in all directions"):
        audit_spectrum(part, (0.9,))
