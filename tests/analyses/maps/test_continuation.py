import math

import numpy as np
import pytest
import torch
from torch import nn

import interp
from analyses.maps.continuation import Branches, continue_fixed_points
from analyses.maps.fixed_points import find_fixed_points
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from hooks.families import PiecewiseLinear, recurrent
from hooks.families.path import along_drive, along_weights
from tests.known import linear, logistic

LOCATED = 1e-8  # what a located bifurcation promises; the closed forms are exact


def one(step):
    """p -> the map of one unit x' = step(x, p)."""
    return lambda p: Dynamics(lambda x, _: step(x, p), dim=1, name="one unit")


def found(result, kind):
    return np.sort(result.where[[other == kind for other in result.kinds]])


def sound(result):
    return all(check.passed for check in result.checks) and set(result.outcomes) <= {Outcome.CONVERGED}


def quadratic():
    return one(lambda x, p: x + p - x**2)


def test_the_corner_of_a_fold_is_turned():
    """x' = x + p - x^2 rests at +-sqrt(p), with multiplier 1 - 2x: both arms from one start, the fold at p = 0."""
    result = continue_fixed_points(quadratic(), [[0.5]], at=0.25, span=(-1.0, 0.9))
    assert result.kinds == ("fold",) and abs(result.where[0]) < LOCATED and abs(result.where_states[0, 0]) < LOCATED
    assert sound(result) and result.angles[0] == 0 and sorted(result.sides[0]) == [0, 1]
    assert np.abs(result.states[:, 0] ** 2 - result.parameters).max() < 1e-14
    assert np.abs(result.eigenvalues[:, 0] - (1 - 2 * result.states[:, 0])).max() < 1e-14
    ends = result.states[[0, -1], 0]
    assert (result.parameters[[0, -1]] == 0.9).all() and sorted(ends) == pytest.approx(
        [-math.sqrt(0.9), math.sqrt(0.9)]
    )
    # the parabola's length in (x, p / 1.9) by its own closed form, chords of 0.05 being short by under 1e-3 of it
    curve = np.linspace(*ends, 100_001)
    length = np.hypot(np.diff(curve), np.diff(curve**2) / 1.9).sum()
    assert result.arclength[-1] == pytest.approx(length, rel=1e-3) and (np.diff(result.arclength) > 0).all()


def test_logistic_map_exchanges_stability_at_1_and_flips_at_3():
    result = continue_fixed_points(logistic, [[0.6], [0.0]], at=2.5, span=(0.5, 3.6))
    assert found(result, "flip") == pytest.approx([3.0], abs=LOCATED)
    assert found(result, "branch point") == pytest.approx([1.0, 1.0], abs=LOCATED)  # once on each of the two branches
    assert sound(result) and len(result.outcomes) == 2
    assert result.angles[result.kinds.index("flip")] == pytest.approx(math.pi)


def test_the_two_cycle_is_continued_as_fixed_points_of_the_second_iterate():
    """Its phases are (r + 1 +- sqrt((r + 1)(r - 3))) / 2r, and it flips at 1 + sqrt 6."""
    r = 3.2
    cycle = [[(r + 1 + sign * math.sqrt((r + 1) * (r - 3))) / (2 * r)] for sign in (1, -1)]
    result = continue_fixed_points(lambda r: logistic(r).iterated(2), cycle, at=r, span=(3.02, 3.6))
    assert (
        result.kinds == ("flip", "flip") and np.abs(result.where - 1 - math.sqrt(6)).max() < LOCATED and sound(result)
    )
    r, sign = result.parameters, np.where(result.branch == result.landed[0], 1, -1)
    assert np.abs(result.states[:, 0] - (r + 1 + sign * np.sqrt((r + 1) * (r - 3))) / (2 * r)).max() < 1e-12


def test_pitchfork_of_a_unit_whose_gain_grows_past_1():
    """x' = tanh(p x): 0 loses stability at p = 1, the arms x = tanh(p x) meet there; they are one branch, twice started."""
    family = one(lambda x, p: torch.tanh(p * x))
    arm = 0.9575040240772687
    result = continue_fixed_points(family, [[0.0], [arm], [-arm]], at=2.0, span=(0.2, 3.0))
    assert result.landed[1] == result.landed[2] != result.landed[0]
    assert (
        result.kinds == ("branch point", "branch point") and np.abs(result.where - 1).max() < LOCATED and sound(result)
    )
    crossing, turning = (result.sides[result.branch_of == result.landed[start]][0] for start in (0, 1))
    assert sorted(crossing) == [0, 1] and turning.tolist() == [0, 0]


@pytest.mark.parametrize("bias", [1e-5, 1e-3])
def test_the_two_sheets_of_an_imperfect_pitchfork_are_kept_apart(bias):
    """x' = tanh(p x + bias): one sheet is smooth, the other folds where p (1 - x^2) = 1; a step must not jump over."""
    family = one(lambda x, p: torch.tanh(p * x + bias))
    result = continue_fixed_points(family, [[0.9575], [-0.9575]], at=2.0, span=(0.2, 3.0))
    assert result.kinds == ("fold",) and sound(result) and len(result.outcomes) == 2
    x, p = result.where_states[0, 0], result.where[0]
    assert (
        x < 0
        and p * (1 - x**2) == pytest.approx(1, abs=1e-7)
        and np.arctanh(x) == pytest.approx(p * x + bias, abs=1e-10)
    )
    upper = result.states[result.branch == result.landed[0], 0]
    assert (upper > 0).all()


def test_several_equal_units_lose_stability_at_once():
    result = continue_fixed_points(
        lambda p: Dynamics(lambda x, _: torch.tanh(p * x), dim=3), np.zeros((1, 3)), at=2.0, span=(0.2, 3.0)
    )
    assert result.kinds == ("branch point",) and sorted(result.sides[0]) == [0, 3] and sound(result)


@pytest.mark.parametrize("w", [1.2, 2.0, 3.0])
def test_hysteresis_of_one_unit_has_its_folds_where_the_slope_is_1(w):
    """x' = tanh(w x + p): at a fold w (1 - x^2) = 1, so x = +-sqrt(1 - 1/w) and p = atanh(x) - w x."""
    x = math.sqrt(1 - 1 / w)
    p = w * x - math.atanh(x)
    family = along_drive(Dynamics(lambda s, u: torch.tanh(w * s + u), dim=1, driven=True, inputs=1), [0.0], [1.0])
    result = continue_fixed_points(family, [[-0.9], [0.0], [0.9]], at=0.0, span=(-2.0, 2.0))
    assert found(result, "fold") == pytest.approx([-p, p], abs=LOCATED) and len(result.kinds) == 2 and sound(result)
    assert np.sort(result.where_states[:, 0]) == pytest.approx([-x, x], abs=1e-7)  # x moves as the root of p
    assert result.landed.tolist() == [0, 0, 0]  # the three rests at p = 0 lie on one S


def test_neimark_sacker_of_the_delayed_logistic_map():
    """x' = r x (1 - y), y' = x: at its rest 1 - 1/r the multipliers solve m^2 - m + r - 1 = 0, so exp(+-i pi/3) at r = 2."""

    def delayed(r):
        return Dynamics(lambda s, _: torch.stack([r * s[:, 0] * (1 - s[:, 1]), s[:, 0]], dim=1), dim=2)

    result = continue_fixed_points(delayed, [[1 / 3, 1 / 3]], at=1.5, span=(1.1, 2.4))
    assert result.kinds == ("Neimark-Sacker",) and abs(result.where[0] - 2) < LOCATED
    assert (
        result.angles[0] == pytest.approx(math.pi / 3, abs=1e-7)
        and result.sides[0].tolist() == [0, 2]
        and sound(result)
    )


@pytest.mark.parametrize(("ridge", "width", "b"), [(0.5, 1.0, 0.2), (0.5, 1.3, 0.2), (0.5, 0.9, 0.2), (0.3, 0.7, 0.4)])
@pytest.mark.parametrize("bends", [False, True])
def test_descent_ascent_starts_to_oscillate_at_rate_ridge_times_width_squared(ridge, width, b, bends):
    """(e, g)' = [[1, a], [-b / s^2, 1 - b lambda]] (e, g): det = 1 at a = lambda s^2, where 2 cos(angle) = 2 - b lambda.

    One real and one generated point, arXiv 2305.08277; bent, the force is the slope of its Gaussian kernel, which has that
    linear part.
    """

    def players(a):
        def step(z, _):
            e, g = z[:, 0], z[:, 1]
            force = e / width**2 * (torch.exp(-(e**2) / (2 * width**2)) if bends else 1.0)
            return torch.stack([e + a * g, (1 - b * ridge) * g - b * force], dim=1)

        return Dynamics(step, dim=2, name="descent-ascent")

    result = continue_fixed_points(players, [[0.0, 0.0]], at=0.05, span=(0.05, 1.2))
    assert result.kinds == ("Neimark-Sacker",) and abs(result.where[0] - ridge * width**2) < LOCATED and sound(result)
    assert result.angles[0] == pytest.approx(math.acos(1 - b * ridge / 2), abs=1e-7)
    assert result.sides[0].tolist() == [0, 2] and result.brackets[0] < LOCATED


def test_a_branch_that_comes_back_is_closed():
    """x' = x + (1 - x^2 - p^2) / 10 rests on a circle, with folds at p = +-1; in (x, p / 4) it is an ellipse."""
    family = one(lambda x, p: x + 0.1 * (1 - x**2 - p**2))
    result = continue_fixed_points(family, [[1.0], [-1.0]], at=0.0, span=(-2.0, 2.0))
    assert result.closed.tolist() == [True] and result.landed.tolist() == [0, 0] and sound(result)
    assert found(result, "fold") == pytest.approx([-1, 1], abs=LOCATED) and len(result.kinds) == 2
    turn = np.linspace(0, 2 * math.pi, 100_001)
    ellipse = np.hypot(np.diff(np.cos(turn)), np.diff(np.sin(turn)) / 4).sum()
    assert result.arclength[-1] == pytest.approx(
        ellipse, rel=1e-3
    )  # steps within 13 degrees of the tangents, 0.1 long at most


@pytest.mark.parametrize(("left", "right"), [(0.5, -1.5), (0.5, 1.5), (-1.5, 3.5)])
def test_a_kink_that_carries_the_multiplier_over_the_circle_is_a_border_collision(left, right):
    """x' = p + left x below 0, p + right x above: the rest meets the kink at p = 0, and turns back there if right > 1."""
    family = one(lambda x, p: p + torch.where(x < 0, left * x, right * x))
    result = continue_fixed_points(family, [[-0.5 / (1 - left)]], at=-0.5, span=(-1.0, 1.0))
    assert result.kinds == ("border collision",) and abs(result.where[0]) < LOCATED and sound(result)
    assert np.isnan(result.angles[0])
    assert (result.parameters[-1] == -1) == (right > 1)


def test_five_checkpoints_of_a_network_that_learns_to_oscillate():
    """h' = tanh(r R h), R a turn by 1 radian: the rest at 0 starts to turn at r = 1, a third of the way from 0.9 to 1.2."""
    turn = torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]], dtype=torch.float64)
    checkpoints = [nn.RNN(1, 2, bias=False, dtype=torch.float64) for _ in range(5)]
    for module, r in zip(checkpoints, (0.5, 0.9, 1.2, 1.3, 1.5), strict=True):
        module.load_state_dict({"weight_ih_l0": torch.ones(2, 1), "weight_hh_l0": r * turn})
    family = along_weights(checkpoints, lambda module: recurrent(module).hold([0.0]))
    result = continue_fixed_points(family, [[0.0, 0.0]], at=0.0, span=(0.0, 4.0), step=0.2)
    assert result.kinds == ("Neimark-Sacker",) and abs(result.where[0] - 4 / 3) < LOCATED and sound(result)
    assert result.angles[0] == pytest.approx(1.0, abs=1e-7)


def test_weights_of_a_piecewise_linear_network_flip_where_the_slope_is_minus_1():
    """z' = z / 2 + w relu(z) + 1 with w from 0 to -2: slope 1/2 - 2p for z > 0, -1 at p = 3/4."""
    ends = [{"A": torch.tensor([0.5]), "W": torch.tensor([[w]]), "h": torch.ones(1)} for w in (0.0, -2.0)]
    family = along_weights(ends, lambda weights: PiecewiseLinear(**weights, relu=1).dynamics())
    result = continue_fixed_points(family, [[2.0]], at=0.0, span=(0.0, 1.0), step=0.2)
    assert result.kinds == ("flip",) and abs(result.where[0] - 0.75) < LOCATED and sound(result)


def test_a_checkpoint_where_the_branch_turns_back_sharply_is_passed():
    """z' = 0.9 z + h rests at 10 h; with h from 0 to 1 to 0 the branch turns by 174 degrees at p = 1, without a bifurcation."""
    stored = [
        {"A": torch.tensor([0.9], dtype=torch.float64), "W": torch.zeros(1, 1), "h": torch.tensor([h])}
        for h in (0.0, 1.0, 0.0)
    ]
    family = along_weights(stored, lambda weights: PiecewiseLinear(**weights, relu=0).dynamics())
    result = continue_fixed_points(family, [[5.0]], at=0.5, span=(0.0, 2.0), step=0.5)
    rests = 10 * (1 - np.abs(result.parameters - 1))
    assert np.abs(result.states[:, 0] - rests).max() < 1e-9  # residual 1e-10 at most, over 1 - 0.9
    assert result.kinds == () and sound(result) and np.ptp(result.parameters) == 2


def test_memories_of_the_shipped_flip_flop_vanish_in_folds_under_a_held_input():
    """Its 27 rests are 3 x 3 x 3. An input sets one bit, so along it lie 9 curves like an S, each with 3 rests and 2 folds."""
    family = along_drive(
        interp.load("case_studies/weights/flip_flop_gru.safetensors").dynamics(), np.zeros(3), [0, 1.0, 0]
    )
    begin, end = (find_fixed_points(family(p), 256) for p in (0.0, 1.0))
    result = continue_fixed_points(family, begin.points, at=0.0, span=(-1.0, 1.0))
    assert sound(result) and result.kinds == ("fold",) * 18
    assert np.bincount(result.landed).tolist() == [3] * 9
    # the other end, searched on its own
    last = result.states[result.parameters == 1.0]
    distances = np.linalg.norm(last[:, None] - end.points, axis=2)
    assert distances.shape == (9, 9) and max(distances.min(axis=0).max(), distances.min(axis=1).max()) < 1e-9


def test_a_parameter_without_effect_gives_level_branches_and_no_bifurcation():
    result = continue_fixed_points(one(lambda x, p: torch.tanh(2 * x)), [[0.0], [0.95]], at=0.3, span=(0.0, 1.0))
    assert result.kinds == () and sound(result) and len(result.outcomes) == 2
    for branch in range(2):
        assert np.ptp(result.states[result.branch == branch]) < 1e-14
        assert np.ptp(result.parameters[result.branch == branch]) == 1


def test_eigenvalues_that_stay_on_the_circle_claim_nothing_and_are_told():
    quarter_turn = linear([[0.0, -1.0], [1.0, 0.0]])
    result = continue_fixed_points(lambda p: quarter_turn, [[0.0, 0.0]], at=0.0, span=(0.0, 1.0))
    assert result.kinds == () and result.undecided.all()
    assert "have an eigenvalue on the unit circle to 1e-7 and show no bifurcation" in result.summary()


def test_a_bifurcation_at_the_end_of_the_span_is_not_claimed():
    assert continue_fixed_points(logistic, [[0.6]], at=2.5, span=(2.0, 3.0)).kinds == ()


def test_starts_at_a_bifurcation_and_at_an_end_of_the_span():
    at_fold = continue_fixed_points(quadratic(), [[0.0]], at=0.0, span=(-1.0, 1.0))
    assert at_fold.kinds == ("fold",) and abs(at_fold.where[0]) < LOCATED and (at_fold.parameters[[0, -1]] == 1).all()
    at_flip = continue_fixed_points(logistic, [[2 / 3]], at=3.0, span=(2.0, 3.5))
    assert found(at_flip, "flip") == pytest.approx([3.0], abs=LOCATED)
    at_end = continue_fixed_points(logistic, [[2 / 3]], at=3.5, span=(2.0, 3.5))
    assert found(at_end, "flip") == pytest.approx([3.0], abs=LOCATED) and sound(at_end)


def test_no_starts_and_starts_that_reach_no_fixed_point():
    none = continue_fixed_points(quadratic(), np.zeros((0, 1)), at=0.25, span=(-1.0, 1.0))
    assert none.states.shape == (0, 1) and none.outcomes == () and none.summary().startswith("0 of 0 branches")
    lost = continue_fixed_points(quadratic(), [[0.3], [0.4]], at=-0.25, span=(-1.0, 1.0))  # no rest below p = 0
    assert lost.landed.tolist() == [-1, -1] and "2 of 2 starts reached no fixed point at p = -0.25" in lost.summary()
    far = continue_fixed_points(quadratic(), [[7.0]], at=0.25, span=(-1.0, 1.0))  # Newton's way down to 1/2
    assert far.landed.tolist() == [0] and far.kinds == ("fold",)


def test_a_branch_that_grows_without_bound_and_one_cut_short_say_so():
    """x' = p x + 1 rests at 1 / (1 - p)."""
    family = one(lambda x, p: p * x + 1)
    away = continue_fixed_points(family, [[1.0]], at=0.0, span=(-0.5, 2.0))
    assert away.outcomes == (Outcome.DIVERGED,) and away.parameters.max() < 1 and away.kinds == ()
    short = continue_fixed_points(family, [[1.0]], at=0.0, span=(-0.5, 0.5), steps=3)
    assert short.outcomes == (Outcome.OUT_OF_STEPS,) and len(short.branch) == 7
    assert "0 of 1 branch followed" in short.summary() and "1 ran out of steps" in short.summary()


def test_a_budget_that_ends_early_keeps_every_start():
    def two_points(states, total):
        for state, _ in zip(states, range(2), strict=False):
            yield state

    result = continue_fixed_points(logistic, [[0.6], [0.0]], at=2.5, span=(0.5, 3.6), watch=two_points)
    assert result.outcomes == (Outcome.OUT_OF_TIME,) * 2 and sorted(result.landed) == [0, 1]
    assert sorted(np.bincount(result.branch)) == [1, 3]


def test_a_family_that_ends_where_its_span_ends_is_never_asked_beyond():
    def strict(p):
        assert 0 <= p <= 1
        return Dynamics(lambda x, _: torch.cos(p * x), dim=1)

    assert sound(continue_fixed_points(strict, [[0.8]], at=0.9, span=(0.0, 1.0)))


def test_refusals():
    def go(family=logistic, starts=((0.6,),), at=2.5, span=(2.0, 3.0), **options):
        return continue_fixed_points(family, starts, at=at, span=span, **options)

    with pytest.raises(InputError, match=r"lower to a higher finite parameter, but \(3, 3\) came"):
        go(at=3.0, span=(3.0, 3.0))
    with pytest.raises(InputError, match="at p = 4, outside the span"):
        go(at=4.0)
    with pytest.raises(InputError, match="step and steps are positive"):
        go(step=0.0)
    with pytest.raises(InputError, match=r"shape \(batch, 1\), but \(1, 2\) came"):
        go(starts=[[0.6, 0.6]])
    with pytest.raises(InputError, match="one map, 'logistic', came: see along_drive"):
        go(family=logistic(2.5))
    with pytest.raises(DrivenError, match="takes a drive"):
        go(family=lambda p: Dynamics(lambda x, u: x, dim=1, driven=True))
    with pytest.raises(InputError, match="share one dim, but 1 and 2 came"):
        go(family=lambda p: linear(np.eye(1 if p < 2.7 else 2) / 2), starts=[[0.0]])


def test_equal_calls_give_equal_results_that_survive_writing():
    family = one(lambda x, p: torch.tanh(2 * x + p))
    result, again = (continue_fixed_points(family, [[0.9]], at=0.0, span=(-1.0, 1.0)) for _ in range(2))
    assert np.array_equal(result.states, again.states) and np.array_equal(result.where, again.where)
    read = Branches.from_dict(result.to_dict())
    assert read.span == result.span and read.summary() == result.summary()
    assert (
        result.summary()
        == "1 of 1 branch followed to the span's ends or closed; 2 bifurcations; fold (2) at p = -0.53284, 0.53284"
    )
    axes = result.plot()
    assert axes.get_xlabel() == "parameter" and {line.get_linestyle() for line in axes.lines} >= {"-", "--"}
