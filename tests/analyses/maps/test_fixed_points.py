import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.index import index_sum
from analyses.result import Outcome
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.families import LeakyRate, recurrent
from tests.known import henon, rolled_tanh

# h' = tanh(h W), W row i = -roll(linspace(-1, 1, n), -i): points and moduli solved independently by Newton
ROLLED = {
    2: ([[0.9575040241, -0.9575040241]], [[0.166372, 0.0]], [2.0, 0.0]),
    3: ([[0.9497957114, -0.4255022951, -0.8798940032]], [[1.006406, 0.285346, 0.0]], [1.732051, 1.732051, 0.0]),
    4: (
        [
            [0.9628919067, 0.525235231, -0.9628919067, -0.525235231],
            [0.7755163139, -0.7755163139, 0.7755163139, -0.7755163139],
            [0.3397449955, -0.789647671, 0.8772631418, -0.5696961631],
            [0.8772631418, -0.5696961631, 0.3397449955, -0.789647671],
        ],
        [[1.04743], [0.751559], [1.315957, 1.000025], [1.315957, 1.000025]],
        [1.885618, 1.885618, 1.333333],
    ),
}


def bits(count):
    """x' = tanh(2 x) per coordinate: 3^n fixed points, 2^n stable."""
    box = (-torch.ones(count).double(), torch.ones(count).double())
    return Dynamics(lambda x, _: torch.tanh(2 * x), dim=count, name="bits", box=lambda _: box)


@pytest.mark.parametrize("n", ROLLED)
def test_rolled_tanh_maps_have_the_published_points_each_certified(n):
    points, moduli, origin = ROLLED[n]
    dynamics = rolled_tanh(n)
    found = find_fixed_points(dynamics, 256)
    expected = np.concatenate([np.zeros((1, n)), np.array(points), -np.array(points)])
    assert len(found.points) == len(expected) == {2: 3, 3: 3, 4: 9}[n]
    gaps = np.abs(found.points[:, None] - expected[None]).max(axis=2)
    assert gaps.min(axis=0).max() < 1e-9  # the digits given
    rows = gaps.argmin(axis=0)
    for row, known in zip(rows, [origin, *moduli, *moduli], strict=True):
        assert np.abs(found.eigenvalues[row])[: len(known)] == pytest.approx(known, abs=2e-6)
    assert index_sum(dynamics, found.points).total == 1
    proofs = certify(dynamics, found.points)
    assert proofs.proved.all()
    assert (proofs.unstable == (np.abs(found.eigenvalues) > 1).sum(axis=1)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_independent_bits_have_all_their_points(n):
    found = find_fixed_points(bits(n), 512 if n < 5 else 4096)
    root = brentq(lambda x: math.tanh(2 * x) - x, 0.5, 1.0, xtol=1e-15)
    assert len(found.points) == 3**n
    assert found.stable.sum() == 2**n
    assert np.abs(found.points[found.stable]) == pytest.approx(root, abs=1e-12)
    assert found.eigenvalues[found.stable].real == pytest.approx(2 * (1 - root**2), abs=1e-12)
    assert all(check.passed for check in found.checks)
    proofs = certify(bits(n), found.points)
    assert proofs.proved.all() and (proofs.unstable == 0).sum() == 2**n


HENON_CYCLES = (2, 1, 0, 1, 0, 2, 4, 7, 6, 10)  # of minimal period 1 to 10 (Galias, Int. J. Bifurcation Chaos 11, 2001)


@pytest.mark.parametrize("times", range(1, 11))
def test_iterated_henon_maps_have_all_their_points_each_proved(times):
    power = henon().iterated(times)
    found = find_fixed_points(power, 4096, around=([-1.6, -0.5], [1.6, 0.5]))
    assert len(found.points) == sum(k * HENON_CYCLES[k - 1] for k in range(1, times + 1) if times % k == 0)
    proofs = certify(power, found.points)
    assert proofs.proved.all() and proofs.overlapping == 0


def test_a_true_fold_is_resolved_and_both_sides_proved():
    """x' = x + m - x^2 at m = 2.5e-11: rests at +-sqrt(m) = +-5e-6 with multipliers 1 -+ 1e-5; the
    residual alone cannot see it, for all of |x| < 1e-5 moves by less than the tolerance."""
    fold = Dynamics(lambda x, _: x + 2.5e-11 - x**2, dim=1)
    found = find_fixed_points(fold, 256, around=(-0.5, 0.5))
    assert np.sort(found.points[:, 0]) == pytest.approx([-5e-6, 5e-6], abs=1e-15)
    assert np.sort(found.eigenvalues[:, 0].real) == pytest.approx([1 - 1e-5, 1 + 1e-5], abs=1e-15)
    proofs = certify(fold, found.points)
    assert proofs.proved.all() and sorted(proofs.unstable) == [0, 1]


def test_henon_fixed_points_from_a_box():
    found = find_fixed_points(henon(), 64, around=(-2.0, 2.0))
    x = np.sort(found.points[:, 0])
    assert x == pytest.approx([-1.1313544770895048, 0.6313544770895047], abs=1e-13)
    assert found.points[:, 1] == pytest.approx(0.3 * found.points[:, 0], abs=1e-13)
    assert [check.name for check in found.checks] == ["largest residual |F(x) - x|"]  # no trapping box, no index


def test_points_do_not_depend_on_the_coordinates():
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    plain = bits(3)
    turned = Dynamics(lambda y, _: plain(y @ turn) @ turn.T, dim=3)
    found = find_fixed_points(turned, 512, around=(-2.0, 2.0))
    back = np.sort((found.points @ turn.numpy()).round(9), axis=0)
    assert len(found.points) == 27
    assert np.abs(back - np.sort(find_fixed_points(plain, 512).points.round(9), axis=0)).max() < 2e-9


def test_every_start_is_accounted_for():
    found = find_fixed_points(bits(1), [[-0.9], [0.01], [0.8], [0.9]])
    assert list(found.outcomes) == [Outcome.CONVERGED] * 4
    assert found.points[found.landed][:, 0] == pytest.approx([-0.9575040241, 0, 0.9575040241, 0.9575040241], abs=1e-9)
    assert found.hits.sum() == 4 + found.extra_starts


def test_equal_calls_give_equal_results():
    first, second = (find_fixed_points(bits(2), 64) for _ in range(2))
    assert np.array_equal(first.points, second.points) and np.array_equal(first.hits, second.hits)


def test_deleting_any_one_point_turns_the_index_red():
    found = find_fixed_points(bits(3), 512)
    for row in range(27):
        rest = index_sum(bits(3), np.delete(found.points, row, axis=0))
        assert rest.total in (0, 2) and not rest.checks[0].passed
        assert "at least one is missing" in rest.summary()


def test_a_missing_point_starts_further_rounds():
    """All starts sit at one stable point: the index sum of 1 holds there, but fresh starts find the others."""
    found = find_fixed_points(bits(2), np.full((4, 2), 0.95))
    assert len(found.points) == 9 and found.extra_starts > 0
    alone = find_fixed_points(bits(2), np.full((4, 2), 0.95), rounds=0)
    assert len(alone.points) == 1 and alone.extra_starts == 0


def test_each_start_may_have_its_own_drive():
    """h' = tanh(2 h + u): one rest for u = +-1, both in closed form from x = tanh(2 x + u); 3 for u = 0."""
    network = Dynamics(lambda x, u: torch.tanh(2 * x + u), dim=1, driven=True, inputs=1)
    drives = np.repeat([[1.0], [-1.0], [0.0]], 12, axis=0)
    starts = np.tile(np.linspace(-0.9, 0.9, 12), 3)[:, None]
    found = find_fixed_points(network, starts, drives=drives)
    count = {u: int((found.drives[:, 0] == u).sum()) for u in (1.0, -1.0, 0.0)}
    assert count == {1.0: 1, -1.0: 1, 0.0: 3}
    root = brentq(lambda x: math.tanh(2 * x + 1) - x, 0.5, 1.0, xtol=1e-15)
    assert found.points[found.drives[:, 0] == 1.0, 0] == pytest.approx([root], abs=1e-12)
    assert found.eigenvalues[found.drives[:, 0] == 1.0, 0].real == pytest.approx([2 * (1 - root**2)], abs=1e-12)
    arrived = found.landed >= 0  # the others rest where |F(x) - x| is smallest on the far side of the fold
    assert (found.drives[found.landed[arrived]] == drives[arrived]).all() and found.extra_starts == 0
    one = find_fixed_points(network, starts[:12], drives=[1.0])
    assert one.points == pytest.approx(np.array([[root]]), abs=1e-12)


def test_drives_of_gated_cells_keep_the_search_in_their_box():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lstm = recurrent(nn.LSTM(2, 4))
    drives = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = find_fixed_points(lstm, 32, drives=drives)
    assert len(found.points) == 32 and (found.landed >= 0).all()  # small random gates: one rest a drive
    for point, drive in zip(found.points[:4], found.drives[:4], strict=True):
        assert certify(lstm.hold(drive), point).proved.all()


def test_a_float32_search_is_polished_in_float64():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        gru = nn.GRU(1, 6)
    fine, coarse = recurrent(gru).hold([0.5]), recurrent(gru, dtype=torch.float32).hold([0.5])
    plain, both = find_fixed_points(fine, 64), find_fixed_points(fine, 64, coarse=coarse)
    assert both.points == pytest.approx(plain.points, abs=1e-12) and both.residuals.max() < 1e-14
    with pytest.raises(InputError, match="the coarse map has 2 units"):
        find_fixed_points(fine, 4, coarse=bits(2))


@pytest.mark.parametrize("units", [64, 140])
def test_wide_maps_are_searched_without_their_jacobian(units):
    """Two bits in a contracting bulk, turned: x' = Q f(Q'x) has 9 rests, known in closed form."""
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(units, units, generator=generator, dtype=torch.float64))[0]
    gain = torch.full((units,), 0.5, dtype=torch.float64)
    gain[:2] = 2.0
    box = (-torch.full((units,), float(units) ** 0.5).double(), torch.full((units,), float(units) ** 0.5).double())
    dynamics = Dynamics(lambda x, _: torch.tanh(gain * (x @ Q)) @ Q.T, dim=units, box=lambda _: box)
    found = find_fixed_points(dynamics, 64)
    assert len(found.points) == 9 and found.stable.sum() == 4
    back = found.points @ Q.numpy()
    assert np.abs(back[:, 2:]).max() < 1e-9
    assert np.sort(np.abs(back[found.stable, :2]).ravel()) == pytest.approx(0.9575040240772687, abs=1e-11)
    assert found.eigenvalues.shape == (9, units if units <= 128 else 16)
    assert found.eigenvalues[np.abs(found.points).max(axis=1).argmin()][:2].real == pytest.approx([2, 2], abs=1e-7)
    assert found.checks[0].passed  # the index sum


WIDE = """
import resource, torch
from analyses.maps.fixed_points import find_fixed_points
from hooks.families import LeakyRate
W = torch.randn(4096, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * (0.5 / 64)
W[:2], W[:, :2] = 0, 0
W[0, 0] = W[1, 1] = 2.0
network = LeakyRate(W, torch.zeros(4096, 1).double(), torch.zeros(4096).double(), torch.tensor(0.5))
found = find_fixed_points(network.dynamics().hold([0.0]), 64)
print(len(found.points), int(found.stable.sum()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_map_of_4096_units_is_searched_in_two_gigabytes():
    """Two bits of gain 2 beside 4094 units of spectral radius 0.5 (circular law): 9 rests, 4 of them stable."""
    done = subprocess.run([sys.executable, "-c", WIDE], capture_output=True, text=True, check=True)
    points, stable, kilobytes = map(int, done.stdout.split())
    assert (points, stable) == (9, 4) and kilobytes < 2e6


def test_a_known_point_that_is_avoided_shows_the_ones_behind_it():
    """From starts at one rest, plain search returns to it; deflated starts reach another one."""
    from analyses.maps._equations import fixed_point_equation
    from analyses.maps._roots import DampedNewton, searched
    from hooks.watch import quiet

    known = torch.tensor([[0.9575040240772687]], dtype=torch.float64)
    starts = known + torch.linspace(-0.02, 0.02, 8, dtype=torch.float64)[:, None]
    options = (fixed_point_equation(bits(1)), starts, DampedNewton(), 1e-10, None, quiet)
    plain, again = searched(*options), searched(*options, avoid=known)
    assert (plain[0] - known).abs().max() < 1e-9
    reached = again[0][again[1] <= 1e-10, 0].unique()
    assert len(reached) >= 1 and (reached - known).abs().min() > 0.5


# The boring cases


def test_a_linear_contraction_has_the_origin_alone():
    found = find_fixed_points(Dynamics(lambda x, _: 0.5 * x, dim=3), 16, around=(-1.0, 1.0))
    assert found.points.shape == (1, 3) and found.stable.all()
    assert np.abs(found.points).max() < 1e-14
    assert "16 of 16 starts converged onto 1 fixed point, 1 stable" in found.summary()


def test_one_unit_and_one_start():
    gate = recurrent(nn.GRU(1, 1)).hold([0.0])
    assert len(find_fixed_points(gate, [0.0]).points) >= 1


def test_a_map_without_fixed_point_says_so():
    found = find_fixed_points(Dynamics(lambda x, _: x + 1, dim=2), 8, around=(-1.0, 1.0))
    assert found.points.shape == (0, 2) and found.eigenvalues.shape == (0, 2)
    assert (found.landed == -1).all()
    assert Outcome.CONVERGED not in found.outcomes
    assert "0 of 8 starts converged" in found.summary()


def test_a_slow_passage_is_no_fixed_point():
    """x' = x + 0.01 + x^2 slows near 0 without resting anywhere."""
    found = find_fixed_points(Dynamics(lambda x, _: x + 0.01 + x**2, dim=1), 16, around=(-1.0, 1.0))
    assert len(found.points) == 0
    assert set(found.outcomes) <= {Outcome.STUCK, Outcome.OUT_OF_STEPS}


def test_the_summary_says_how_each_start_ended():
    """x' = x - (x - 2)(x^2 + 0.01) / 10 rests at 2 alone, and slows near 0."""
    found = find_fixed_points(Dynamics(lambda x, _: x - (x - 2) * (x**2 + 0.01) / 10, dim=1), [[2.1], [1.9], [-0.1]])
    assert found.points[:, 0] == pytest.approx([2.0], abs=1e-12)
    assert found.summary() == (
        "2 of 3 starts converged onto 1 fixed point, 1 stable; 1 came to rest where the speed falls no further, off every "
        "fixed point"
    )


def test_later_rounds_do_not_renumber_where_a_start_landed():
    starts = 2 * torch.rand(40, 3, generator=torch.Generator().manual_seed(2)).double() - 1
    alone, all_rounds = find_fixed_points(bits(3), starts, rounds=0), find_fixed_points(bits(3), starts)
    assert len(alone.points) < len(all_rounds.points) == 27
    assert all_rounds.points[all_rounds.landed] == pytest.approx(alone.points[alone.landed], abs=1e-12)
    assert (np.bincount(all_rounds.landed, minlength=27) <= all_rounds.hits).all()


def test_no_starts_at_all():
    found = find_fixed_points(Dynamics(lambda x, _: 0.5 * x, dim=2), np.zeros((0, 2)))
    assert found.points.shape == (0, 2) and found.outcomes == ()


def test_a_line_of_fixed_points_is_not_counted_as_complete():
    """A perfect integrator: every start is already a fixed point, and none is isolated."""
    line = Dynamics(lambda x, _: torch.cat([x[:, :1], 0.5 * x[:, 1:]], 1), dim=2)
    found = find_fixed_points(line, 32, around=(-1.0, 1.0))
    assert np.abs(found.points[:, 1]).max() < 1e-9
    assert (index_sum(line, found.points).indices == 0).all()
    proofs = certify(line, found.points)
    assert not proofs.proved.any()


def test_a_trained_like_leaky_network_of_low_gain_rests_once():
    W = 0.2 * torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dynamics = (
        LeakyRate(W, torch.zeros(8, 1).double(), torch.zeros(8).double(), torch.tensor(0.3)).dynamics().hold([0.0])
    )
    found = find_fixed_points(dynamics, 128)
    assert found.points.shape == (1, 8)  # norm of W below 1: a contraction
    assert found.checks[0].passed


def test_starts_around_a_trajectory():
    trajectory = rollout(bits(2), [[0.1, -0.1], [-0.3, 0.2]], steps=10)
    found = find_fixed_points(bits(2), 64, around=trajectory)
    assert len(found.points) == 9 and len(found.outcomes) == 64
    assert len(find_fixed_points(bits(2), trajectory).outcomes) == 22


def test_misuse_says_what_to_do():
    with pytest.raises(DrivenError, match=r"dynamics\.hold"):
        find_fixed_points(recurrent(nn.GRU(1, 2)), 4)
    with pytest.raises(DrivenError, match="takes no drive vector"):
        find_fixed_points(henon(), [[0.0, 0.0]], drives=[[1.0]])
    with pytest.raises(InputError, match=r"drives for 3 starts have shape \(3, 1\), but \(2, 1\) came"):
        find_fixed_points(recurrent(nn.GRU(1, 2)), np.zeros((3, 2)), drives=np.zeros((2, 1)))
    with pytest.raises(InputError, match="no known trapping box"):
        find_fixed_points(henon(), 4)
    with pytest.raises(InputError, match="finite bounds"):
        find_fixed_points(henon(), 4, around=(1.0, -1.0))
    with pytest.raises(InputError, match="moves by"):
        index_sum(bits(1), [[0.5]])


def test_result_survives_writing():
    found = find_fixed_points(bits(2), 16)
    again = FixedPoints.from_dict(found.to_dict())
    assert np.array_equal(again.points, found.points) and np.array_equal(again.eigenvalues, found.eigenvalues)
    assert again.outcomes == found.outcomes and again.checks == found.checks
    assert found.plot().get_xlabel()


def test_a_point_on_the_edge_of_its_box_has_no_index_there():
    """x' = 4 x (1 - x) keeps [0, 1]; its rest 0 lies on the edge with slope 4, so only 3/4 has an index in the box: the sum of
    all known points is 0, and says nothing."""
    low, high = torch.zeros(1).double(), torch.ones(1).double()
    found = find_fixed_points(Dynamics(lambda x, _: 4 * x * (1 - x), dim=1, box=lambda _: (low, high)), 64)
    assert np.sort(found.points[:, 0]) == pytest.approx([0, 0.75], abs=1e-12)
    assert [check.name for check in found.checks] == ["largest residual |F(x) - x|"]


def test_silent_rectified_units_on_the_edge_do_count():
    """One of two ReLU units is off at the only rest, (1.25, 0): its coordinate is 0, the box's edge, and constant there."""
    W = torch.tensor([[0.2, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    b = torch.tensor([1.0, -1.0], dtype=torch.float64)
    dynamics = LeakyRate(W, torch.zeros(2, 1).double(), b, torch.tensor(1.0), "relu").dynamics().hold([0.0])
    found = find_fixed_points(dynamics, 64)
    assert found.points == pytest.approx(np.array([[1.25, 0.0]]), abs=1e-12)
    assert found.checks[0].name.startswith("index sum") and found.checks[0].passed


def test_a_search_around_runaway_orbits_also_starts_where_they_began():
    doubling = Dynamics(lambda x, _: 2 * x, dim=2)
    runs = rollout(doubling, np.ones((4, 2)), steps=200)  # ends at 2^200
    found = find_fixed_points(doubling, 64, around=runs)
    assert np.abs(found.points).max() < 1e-9
