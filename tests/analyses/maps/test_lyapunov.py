import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps import _sweeps
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.result import Outcome
from case_studies._systems import SYSTEMS
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.families import flow, recurrent
from interp.progress import within_budget
from tests.known import cat_map, henon, linear, logistic, rolled_tanh, skew_tent


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_checks(result):
    assert all(check.passed for check in result.checks), [c for c in result.checks if not c.passed]


def test_linear_map_has_the_logarithms_of_its_moduli_per_unit_of_the_clock():
    found = lyapunov_spectrum(linear(np.diag([0.5, -0.2, 0.1]), dt=0.1), uniform(4, 3), steps=64, burn_in=64)
    # the frame aligns like (0.2 / 0.5)^64 in burn-in: rounding is what is left
    assert found.exponents[0] == pytest.approx(np.log([0.5, 0.2, 0.1]) / 0.1, abs=1e-9)
    assert found.verdicts == ("stable fixed point",) and found.kaplan_yorke.tolist() == [0.0]
    assert found.kaplan_yorke_errors.tolist() == [0.0] and found.entropies.tolist() == [0.0]
    assert_checks(found)


def test_fewer_orthonormalisations_give_the_same_exponents(monkeypatch):
    """R of a product is the product of the R: the interval changes rounding only, by PARTED eps at most in each."""
    options = {"steps": 96, "burn_in": 10}
    rare = lyapunov_spectrum(linear([[0.9, 0.4], [-0.3, 0.8]]), uniform(3, 2), **options)
    chaotic = lyapunov_spectrum(henon(), 0.1 * uniform(8, 2), **options)
    monkeypatch.setattr(_sweeps, "LONGEST", 1)
    assert rare.exponents == pytest.approx(
        lyapunov_spectrum(linear([[0.9, 0.4], [-0.3, 0.8]]), uniform(3, 2), **options).exponents, abs=1e-10
    )
    often = lyapunov_spectrum(henon(), 0.1 * uniform(8, 2), **options)
    assert chaotic.per_start == pytest.approx(often.per_start, abs=1e-10)


def test_a_slow_passage_does_not_let_the_frame_collapse():
    """Henon's neighbours part by little for a few steps now and then, and by a factor 8 a step on the average."""
    for start in 0.1 + 0.001 * uniform(8, 2):
        found = lyapunov_spectrum(SYSTEMS["Henon"].make(), start[None], steps=500, burn_in=50)
        assert found.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-12)


def test_henon_dimension_and_entropy_follow_from_its_exponents_with_their_errors():
    """D = 1 + l1 / |l2| with l1 + l2 = ln 0.3 exactly; entropy l1 (Pesin)."""
    found = lyapunov_spectrum(henon(), 0.1 * uniform(64, 2), steps=300, burn_in=50)
    first = found.exponents[0, 0]
    assert found.kaplan_yorke[0] == pytest.approx(1 + first / (first - math.log(0.3)), abs=1e-9)
    assert found.entropies[0] == first and found.entropy_errors[0] == found.standard_errors[0, 0]
    assert abs(found.kaplan_yorke[0] - (1 + 0.41922 / 1.62319)) < 4 * found.kaplan_yorke_errors[0]
    assert 0 < found.kaplan_yorke_errors[0] < 0.02


def test_a_spiral_that_moves_out_slowly_and_comes_back_is_bounded_and_one_attractor():
    """Roessler's orbit spirals outwards over many turns, then folds back: no start escapes, and all share one band."""
    system = SYSTEMS["Rossler"]
    starts = torch.as_tensor(np.asarray(system.start(3))) + 0.5 * (uniform(24, 3) - 0.5)
    found = lyapunov_spectrum(system.make(), starts, steps=4000, burn_in=500, directions=1)
    assert (found.attractor == 0).all() and found.verdicts == ("chaotic",)


def test_a_stable_cycle_is_named_with_its_period():
    found = lyapunov_spectrum(logistic(3.2), [[0.3]], steps=150, burn_in=150)
    assert found.verdicts == ("stable cycle of period 2",)


def test_logistic_map_at_four_has_ln_2():
    found = lyapunov_spectrum(logistic(4.0), uniform(128, 1), steps=200, burn_in=50)
    assert abs(found.exponents[0, 0] - math.log(2)) < 4 * found.standard_errors[0, 0]
    assert found.standard_errors[0, 0] < 0.02
    assert found.verdicts == ("chaotic",) and found.sizes.tolist() == [128]


def test_henon_sums_to_ln_of_its_contraction_and_leads_with_the_published_value():
    found = lyapunov_spectrum(henon(), 0.1 * uniform(256, 2), steps=200, burn_in=50)
    assert found.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-12)  # det J = -0.3 everywhere
    # Sprott, Chaos and Time-Series Analysis (2003), table A: 0.41922
    assert abs(found.exponents[0, 0] - 0.41922) < 4 * found.standard_errors[0, 0] < 0.01
    assert found.kaplan_yorke[0] == pytest.approx(1.258, abs=0.01)  # 1 + 0.419 / 1.623
    assert_checks(found)


def test_cat_map_stretches_by_the_square_of_the_golden_ratio_everywhere():
    found = lyapunov_spectrum(cat_map(), uniform(4, 2), steps=200, burn_in=50)
    golden = math.log((3 + math.sqrt(5)) / 2)
    assert found.exponents[0] == pytest.approx([golden, -golden], abs=1e-12)
    assert found.standard_errors.max() < 1e-12


def test_standard_error_is_that_of_independent_growth():
    a, starts, steps = 0.3, 512, 256
    found = lyapunov_spectrum(skew_tent(a), uniform(starts, 1), steps=steps, burn_in=10)
    expected = -a * math.log(a) - (1 - a) * math.log(1 - a)
    error = math.sqrt(a * (1 - a)) * math.log((1 - a) / a) / math.sqrt(starts * steps)
    assert abs(found.exponents[0, 0] - expected) < 4 * error
    # the standard deviation of 512 means is good to 1 / sqrt(2 x 511) = 3.1 %; four of them
    assert found.standard_errors[0, 0] == pytest.approx(error, rel=0.125)
    # one start's from its 32 blocks: the mean variance of 512 is good to sqrt(2 / 31 / 512) = 1.1 %
    assert (found.per_start_errors**2).mean() == pytest.approx(starts * error**2, rel=0.045)
    assert found.finite_time.shape == (starts, 32, 1) and found.window == 8


def test_starts_that_one_drive_makes_alike_count_once():
    """x' = a tanh(x) + u forgets its start, so sixteen starts know no more than one."""
    filtered = Dynamics(lambda x, u: 0.9 * torch.tanh(x) + u, dim=1, driven=True, inputs=1)
    drives = 3 * uniform(400, 1, seed=1)
    many, one = (lyapunov_spectrum(filtered, uniform(n, 1), steps=320, burn_in=80, drives=drives) for n in (16, 1))
    assert many.standard_errors[0, 0] == pytest.approx(one.standard_errors[0, 0], rel=1e-6)
    assert one.standard_errors[0, 0] > 1e-3


def test_at_a_fixed_point_exponents_are_logarithms_of_eigenvalue_moduli():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        gru = recurrent(nn.GRU(2, 6)).hold(torch.zeros(2))
    point = find_fixed_points(gru, 16)
    assert len(point.points) == 1 and point.stable.all()
    found = lyapunov_spectrum(
        gru, uniform(3, 6), steps=200, burn_in=600
    )  # aligned like e^(-0.039 x 600), the smallest gap
    assert np.abs(point.eigenvalues[0].imag).max() > 0.01  # a rotating pair is among them
    assert found.exponents[0] == pytest.approx(np.log(np.abs(point.eigenvalues[0])), abs=1e-10)
    assert found.converged.all() and found.verdicts == ("stable fixed point",)
    assert_checks(found)


def skewed(*blocks):
    """A matrix with these diagonal blocks in a basis that is far from orthogonal."""
    D = np.zeros((sum(map(len, blocks)),) * 2)
    at = 0
    for block in blocks:
        D[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    V = np.eye(len(D)) + np.triu(np.ones_like(D), 1)
    return V @ D @ np.linalg.inv(V), np.linalg.cond(V)


def test_both_directions_of_a_complex_pair_have_the_logarithm_of_its_modulus():
    spiral = 0.9 * np.array([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]])
    A, condition = skewed([[0.4]], spiral, [[-0.2]])
    options = {"steps": 64, "burn_in": 64}  # aligned like (0.4 / 0.9)^64
    starts, wanted = 1e-8 * uniform(2, 4), np.log([0.9, 0.9, 0.4, 0.2])  # at rest to a millionth
    for directions in (2, 3, 4):
        found = lyapunov_spectrum(linear(A), starts, directions=directions, **options)
        assert found.exponents[0] == pytest.approx(wanted[:directions], abs=1e-10)
        assert found.standard_errors.max() < 1e-10 and found.verdicts == ("stable fixed point",)
    # the first of the pair alone turns through long and short axes: |A^t v| is within the basis's condition of 0.9^t
    alone = lyapunov_spectrum(linear(A), starts, directions=1, **options)
    assert 1e-6 < abs(alone.exponents[0, 0] - wanted[0]) < 2 * math.log(condition) / 64


def test_maps_without_life():
    gone = lyapunov_spectrum(linear(np.zeros((3, 3))), uniform(2, 3), steps=20)
    assert (gone.exponents == -np.inf).all() and (gone.standard_errors == 0).all() and gone.checks == ()
    assert gone.verdicts == ("stable fixed point",) and gone.converged.all()
    still = lyapunov_spectrum(linear(np.eye(2)), [[0.3, 0.4]], steps=20)
    assert np.abs(still.exponents).max() < 1e-15 and still.verdicts == ("neutral fixed point",)
    (unit,) = lyapunov_spectrum(Dynamics(lambda x, _: 0.25 * x, dim=1), [[1.0]], steps=50).exponents
    assert unit.tolist() == [pytest.approx(math.log(0.25), abs=1e-12)]
    steep = lyapunov_spectrum(linear([[1e200]]), [[0.0]], steps=20)  # far from overflow at every orthonormalisation
    assert steep.exponents[0, 0] == pytest.approx(200 * math.log(10), rel=1e-12)


def test_starts_are_grouped_by_the_attractor_they_end_on():
    two = Dynamics(lambda h, _: torch.tanh(2 * h + 0.05), dim=1)
    found = lyapunov_spectrum(two, [[1.0], [0.5], [0.2], [-1.0], [-0.8]], steps=100, burn_in=100)
    points = [brentq(root, *side) for side in ((0.5, 1.0), (-1.0, -0.5))]
    assert found.attractor.tolist() == [0, 0, 0, 1, 1] and found.sizes.tolist() == [3, 2]
    assert found.exponents[:, 0] == pytest.approx([math.log(2 * (1 - x * x)) for x in points], abs=1e-12)
    assert found.summary().startswith("5 of 5 starts stay bounded, on 2 attractors")


def root(x):
    return math.tanh(2 * x + 0.05) - x


def brentq(function, low, high):
    from scipy import optimize

    return optimize.brentq(function, low, high, xtol=1e-14)


def test_conditional_exponents_along_drives():
    filtered = Dynamics(lambda x, u: 0.5 * x + u, dim=1, driven=True, inputs=1)
    found = lyapunov_spectrum(filtered, uniform(4, 1), steps=50, drives=uniform(50, 1, seed=1))
    assert found.exponents.tolist() == [[pytest.approx(math.log(0.5), abs=1e-14)]]
    assert found.sizes.tolist() == [4]
    alone = lyapunov_spectrum(filtered, uniform(4, 1), steps=50, drives=uniform(4, 50, 1, seed=1))
    assert alone.sizes.tolist() == [1, 1, 1, 1]


def test_leading_directions_agree_with_the_full_spectrum():
    full = lyapunov_spectrum(linear(np.diag([0.9, 0.5, 0.1])), uniform(2, 3), steps=200, burn_in=100)
    leading = lyapunov_spectrum(linear(np.diag([0.9, 0.5, 0.1])), uniform(2, 3), steps=200, burn_in=100, directions=2)
    assert leading.exponents[0] == pytest.approx(full.exponents[0, :2], abs=1e-9)
    assert leading.checks == ()


def test_boring_and_bad_maps_are_values_not_exceptions():
    gone = lyapunov_spectrum(linear(np.diag([0.5, 0.0])), uniform(2, 2), steps=20)
    assert gone.exponents[0, 1] == -np.inf and gone.standard_errors[0, 1] == 0
    out = lyapunov_spectrum(linear([[1e200]]), [[1.0], [0.0]], steps=20)
    assert out.attractor.tolist() == [-1, 0] and np.isnan(out.per_start[0]).all()
    assert "1 of 2 starts stay bounded" in out.summary()
    turn = lyapunov_spectrum(
        linear([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]]), uniform(1, 2), steps=100
    )
    assert turn.verdicts == ("quasi-periodic: every exponent zero",)
    saddle = lyapunov_spectrum(linear([[2.0]]), [[0.0]], steps=100)
    assert saddle.verdicts == ("an unstable rest or cycle, never left",)


def test_a_stopped_run_returns_what_it_has():
    def three(states, total):
        for number, state in enumerate(states):
            yield state
            if number == 12:
                return

    found = lyapunov_spectrum(linear([[0.5]]), [[1.0]], steps=1000, burn_in=3, watch=three)
    assert found.outcome is Outcome.OUT_OF_TIME and found.running_steps[-1] == 10
    assert found.exponents[0, 0] == pytest.approx(math.log(0.5), abs=1e-14)
    nothing = lyapunov_spectrum(linear([[0.5]]), [[1.0]], steps=10, burn_in=5, watch=within_budget(-1.0))
    assert nothing.outcome is Outcome.OUT_OF_TIME and nothing.exponents.shape == (0, 1)
    assert nothing.summary() == "0 of 1 starts have exponents: the run ran out of time before its burn-in was over"


def test_refusals():
    driven = Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1)
    with pytest.raises(DrivenError, match="without drives"):
        lyapunov_spectrum(driven, [[0.0]], steps=5)
    with pytest.raises(InputError, match="drives are needed"):
        lyapunov_spectrum(driven, [[0.0]], steps=5, drives=np.zeros((4, 1)))
    with pytest.raises(InputError, match="1 to 1 directions"):
        lyapunov_spectrum(linear([[0.5]]), [[0.0]], steps=5, directions=2)


def test_growth_to_infinity_is_no_attractor_even_before_it_overflows():
    assert lyapunov_spectrum(linear([[1.8]]), [[1.0], [-2.0]], steps=300).attractor.tolist() == [-1, -1]
    drift = Dynamics(lambda x, _: x + 1, dim=1)
    found = lyapunov_spectrum(drift, [[0.0]], steps=200)
    assert found.attractor.tolist() == [-1] and found.exponents.shape == (0, 1)
    assert found.summary() == "0 of 1 starts stay bounded"


def test_sum_rule_allows_for_a_slope_that_is_singular_to_rounding():
    # rows of the rolled map's weights sum to zero, so its slope at the origin is singular up to rounding
    found = lyapunov_spectrum(rolled_tanh(4), np.zeros((1, 4)), steps=8)
    assert_checks(found)
    (check,) = found.checks
    assert check.tolerance > 1e-3
    assert lyapunov_spectrum(henon(), [[0.1, 0.1]], steps=8).checks[0].tolerance < 1e-8  # elsewhere it stays strict


def hopf(*frequencies, dt=0.05):
    """r' = r - r^3, angle' = frequency, one oscillator beside the other: exponents 0 and -2 each, at constant speed."""
    turns = torch.tensor(frequencies, dtype=torch.float64)

    def velocity(s, _):
        x, y = s.chunk(2, 1)
        rest = 1 - x * x - y * y
        return torch.cat([x * rest - turns * y, y * rest + turns * x], 1)

    def slope(s, _):
        x, y = s.chunk(2, 1)
        blocks = [[1 - 3 * x * x - y * y, -turns - 2 * x * y], [turns - 2 * x * y, 1 - x * x - 3 * y * y]]
        return torch.cat([torch.cat([torch.diag_embed(block) for block in row], 2) for row in blocks], 1)

    return flow(velocity, 2 * len(frequencies), dt=dt, jacobian=slope)


def test_flows_are_named_by_their_zero_exponents():
    cycle = lyapunov_spectrum(hopf(1.0), [[1.0, 0.0], [0.6, 0.8]], steps=400, burn_in=200)
    # RK4's own rates differ from the flow's by (rate dt)^4 / 120 of them
    assert cycle.exponents[0] == pytest.approx([0.0, -2.0], abs=1e-5)
    assert cycle.verdicts == ("periodic orbit: one zero exponent, the next negative",)
    assert [check.name for check in cycle.checks][1:] == ["zero exponent of a flow, attractor 1"]
    assert_checks(cycle)
    torus = lyapunov_spectrum(hopf(1.0, math.sqrt(2)), [[1.0, 0.0, 0.0, 1.0]], steps=400, burn_in=200)
    assert torus.exponents[0] == pytest.approx([0.0, 0.0, -2.0, -2.0], abs=1e-5)
    assert torus.verdicts == ("quasi-periodic: 2 zero exponents, the next negative",)
    leading = lyapunov_spectrum(hopf(1.0), [[1.0, 0.0]], steps=200, burn_in=50, directions=1)
    assert leading.verdicts == ("undecided: zero, and no further exponent is known",) and len(leading.checks) == 1
    assert_checks(leading)
    rest = lyapunov_spectrum(flow(lambda x, _: -x, 1, dt=0.5), [[1.0]], steps=100, burn_in=50)
    assert rest.verdicts == ("stable fixed point",) and len(rest.checks) == 1  # no velocity to carry


def test_an_invariant_circle_of_a_map_has_one_zero_exponent():
    def step(s, _):
        x, y = s.unbind(1)
        size = (x * x + y * y) ** -0.25  # of a radius its root is left: exponent ln 1/2 across the circle
        return torch.stack([size * (x * math.cos(1) - y * math.sin(1)), size * (x * math.sin(1) + y * math.cos(1))], 1)

    found = lyapunov_spectrum(Dynamics(step, dim=2), [[0.5, 0.0], [0.0, 2.0]], steps=200, burn_in=100)
    assert found.exponents[0] == pytest.approx([0.0, -math.log(2)], abs=1e-10)
    assert found.verdicts == ("quasi-periodic: one zero exponent, the next negative",)


def test_lorenz_has_a_zero_exponent_where_the_directions_reach_it():
    lorenz = SYSTEMS["Lorenz63"].make()
    starts = rollout(lorenz, [[1.0, 2.0, 20.0]], steps=1600, burn_in=500).states[0, 100::100]
    found = lyapunov_spectrum(lorenz, starts, steps=500, burn_in=200)
    assert found.verdicts == ("chaotic",) and len(found.checks) == 2
    assert_checks(found)
    assert len(lyapunov_spectrum(lorenz, starts, steps=500, burn_in=200, directions=1).checks) == 0
    assert len(lyapunov_spectrum(lorenz, starts, steps=100, burn_in=10, directions=2).checks) == 1

    def wrong(states, tangents, drive):
        after, carried = lorenz.push(states, tangents, drive)
        return after, 1.01 * carried  # one more unit of growth per unit of time

    zero = lyapunov_spectrum(replace(lorenz, push=wrong), starts, steps=500, burn_in=200).checks[-1]
    assert zero.name.startswith("zero exponent") and not zero.passed


def test_chaos_that_a_run_is_too_short_to_show_is_not_called_a_torus():
    """Roessler's 0.07 over 20 units of time is growth by e^1.4."""
    system = SYSTEMS["Rossler"]
    found = lyapunov_spectrum(system.make(), [list(system.start(3))], steps=1000, burn_in=500)
    assert found.verdicts[0].startswith("undecided: zero, but growth by less than e^")


def stacked_gru(layers, inputs=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = nn.GRU(inputs, 3, layers)
        for weight in module.parameters():
            weight.data *= 1.5
    return module


def test_exponents_of_a_stack_are_the_union_of_its_layers():
    module = stacked_gru(2)
    stack, drives = recurrent(module), torch.randn(700, 2, generator=torch.Generator().manual_seed(0)).double()
    assert stack.layers == (0, 0, 0, 1, 1, 1)
    driven = lyapunov_spectrum(stack, uniform(4, 6), steps=500, burn_in=200, drives=drives)
    held = lyapunov_spectrum(stack.hold([0.3, -0.2]), uniform(4, 6), steps=500, burn_in=200)
    for found in (driven, held):
        assert len(found.checks) == 2 and "union of the layers' exponents" in found.checks[1].name
        assert_checks(found)
        assert found.checks[1].tolerance < 0.1
    # the first layer by itself, whose exponents are among the stack's
    first = nn.GRU(2, 3)
    first.load_state_dict({name: w for name, w in module.state_dict().items() if name.endswith("_l0")})
    alone = recurrent(first)
    assert alone.layers == ()
    own = lyapunov_spectrum(alone, uniform(4, 3), steps=500, burn_in=200, drives=drives)
    gaps = np.abs(own.exponents[0][:, None] - driven.exponents[0]).min(axis=1)
    assert (gaps <= 0.02).all() and len(own.checks) == 1  # bounded turns of the frame over 500 steps


def test_feedback_of_the_readout_claims_no_layers():
    module = stacked_gru(2, inputs=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        readout = nn.Linear(3, 1)
    readout.weight.data *= 4
    stack = recurrent(module, readout=readout)
    closed = Dynamics(lambda h, _: stack(h, stack.readout(h)), dim=6)
    options = {"steps": 100, "burn_in": 60}
    found = lyapunov_spectrum(closed, uniform(4, 6), **options)
    assert len(found.checks) == 1
    assert_checks(found)
    claimed = lyapunov_spectrum(replace(closed, layers=stack.layers), uniform(4, 6), **options)
    assert not claimed.checks[1].passed  # feedback makes exponents that no layer has


def test_layers_of_an_lstm_hold_h_and_c():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stack = recurrent(nn.LSTM(1, 2, 2))
    assert stack.layers == (0, 0, 1, 1, 0, 0, 1, 1) and stack.hold([0.0]).layers == stack.layers
    found = lyapunov_spectrum(stack, uniform(2, 8), steps=200, burn_in=100, drives=uniform(300, 1))
    assert_checks(found)
    assert len(found.checks) == 2


def test_one_block_has_no_error_and_no_check_of_it():
    one = lyapunov_spectrum(recurrent(nn.GRU(1, 1, 2)).hold([0.0]), [[0.1, 0.2]], steps=1)
    assert np.isnan(one.standard_errors).all() and one.verdicts == ("undecided: too few steps for an error",)
    assert len(one.checks) == 1 and not one.converged.any()
    assert_checks(one)
