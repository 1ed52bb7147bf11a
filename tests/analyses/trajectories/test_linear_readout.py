"""What is written in the states is read exactly, what is noise is not, and a leak between folds is not rewarded."""

import numpy as np
import pytest

from analyses.trajectories.linear_readout import linear_readout
from hooks.errors import InputError
from hooks.trajectory import Trajectory

RUNS, STEPS, DIM = 200, 6, 5


def states(seed=0, dim=DIM):
    return np.random.default_rng(seed).standard_normal((RUNS, STEPS, dim))


MAP = np.random.default_rng(9).standard_normal((DIM, 2))


def specimens():
    x = states()
    return [
        linear_readout(Trajectory(x), x @ MAP, shuffles=19, controls={"first": x[:, :, :1]}),
        linear_readout(Trajectory(x), np.ones((RUNS, STEPS, 1)), shuffles=2),
    ]


def test_a_linear_target_is_read_exactly_and_the_map_comes_back():
    x = states()
    found = linear_readout(Trajectory(x), x @ MAP + 3, shuffles=19)
    assert found.r2 == pytest.approx(1, abs=1e-12)  # rounding
    np.testing.assert_allclose(found.coefficients, MAP, atol=1e-12)
    np.testing.assert_allclose(found.offset, 3, atol=1e-12)
    np.testing.assert_allclose(found.predicted, x @ MAP + 3, atol=1e-10)
    assert found.checks[0].passed and found.nulls[0].beaten


def test_noise_as_large_as_the_signal_halves_the_share():
    """R2 is 1/2 within four standard errors of 1200 states (0.08), less what 6 fitted numbers cost, 6 / 1200."""
    x = states()
    noise = np.random.default_rng(1).standard_normal((RUNS, STEPS, 2)) * np.linalg.norm(MAP, axis=0)
    found = linear_readout(Trajectory(x), x @ MAP + noise, shuffles=0)
    assert found.r2 == pytest.approx(0.5, abs=0.08) and found.per_target == pytest.approx([0.5, 0.5], abs=0.11)
    assert found.nulls == ()


def test_targets_that_the_states_know_nothing_of_are_no_finding():
    found = linear_readout(Trajectory(states()), states(1, 2))
    assert not found.nulls[0].beaten and found.r2 < 0.01
    assert found.summary().startswith("no more than its null (targets of other runs)")


def test_a_beginning_shared_by_runs_is_no_knowledge_when_runs_are_grouped():
    """Runs of one of 20 names share a random state and a random target: 20 dimensions tell the names apart, so that folds of
    runs score 1, and folds of names nothing."""
    rng = np.random.default_rng(0)
    name = np.repeat(np.arange(20), 10)
    x = np.repeat(rng.standard_normal((20, 1, 30))[name], 3, axis=1)
    y = np.repeat(rng.standard_normal((20, 1, 1))[name], 3, axis=1)
    leaking = linear_readout(Trajectory(x), y, shuffles=0)
    grouped = linear_readout(Trajectory(x), y, groups=name, shuffles=0)
    assert leaking.r2 > 0.99 and grouped.r2 < 0.2 and grouped.groups == 20


def test_weights_choose_which_runs_the_map_serves():
    """Two laws in two halves of the runs: the half with all the weight is fitted exactly."""
    x = states()
    y = np.where(np.arange(RUNS)[:, None, None] < 100, x @ MAP, -(x @ MAP))
    found = linear_readout(Trajectory(x), y, weights=np.arange(RUNS) < 100, shuffles=0)
    assert found.r2 == pytest.approx(1, abs=1e-12)
    assert abs(linear_readout(Trajectory(x), y, shuffles=0).r2) < 0.1


def test_twins_are_a_null_and_controls_stand_beside():
    """Twins of fresh noise read nothing; a control that is the target reads all."""
    x = states()
    twins = [Trajectory(states(seed)) for seed in range(1, 20)]
    found = linear_readout(
        Trajectory(x), x @ MAP, twins=twins, shuffles=0, controls={"target": x @ MAP, "noise": states(40)}
    )
    (null,) = found.nulls
    assert null.name == "random-weight twins" and null.unit == "network" and null.beaten and null.draws.max() < 0.05
    assert found.control_r2 == pytest.approx([1, 0], abs=0.05)
    same = linear_readout(twins[0], x @ MAP, twins=twins[1:], shuffles=0)
    assert same.summary().startswith("no more than its null (random-weight twins)")


def test_a_ridge_is_the_closed_form_and_keeps_few_runs_from_being_learned_by_heart():
    """Of one coordinate of unit variance, ridge r shrinks the coefficient by 1 / (1 + r). Of 60 states of 50 coordinates where
    one matters, the fit alone knows all it has seen."""
    x = states()[..., :1]
    x = (x - x.mean()) / x.std()
    found = linear_readout(Trajectory(x), 2 * x, ridge=0.25, shuffles=0)
    assert found.coefficients[0, 0] == pytest.approx(1.6, abs=1e-12) and found.checks[0].passed

    rng = np.random.default_rng(0)
    few = rng.standard_normal((60, 1, 50))
    y = few[..., :1] + 0.3 * rng.standard_normal((60, 1, 1))
    alone, held = (linear_readout(Trajectory(few), y, ridge=ridge, shuffles=0) for ridge in (0.0, 1.0))
    assert alone.fitted > 0.95 and alone.r2 < 0 and held.r2 > 0.2


def test_units_that_never_move_and_padding_change_nothing():
    x = states()
    padded = np.full((RUNS, STEPS + 1, DIM + 1), np.nan)
    padded[:, :STEPS, :DIM], padded[:, :STEPS, DIM] = x, 7.0
    target = np.full((RUNS, STEPS + 1, 2), np.nan)
    target[:, :STEPS] = x @ MAP
    found = linear_readout(Trajectory(padded, lengths=np.full(RUNS, STEPS)), target, shuffles=3)
    assert found.r2 == pytest.approx(1, abs=1e-12) and found.states == RUNS * STEPS
    assert found.coefficients[DIM].tolist() == [0, 0] and np.isnan(found.predicted[:, STEPS]).all()


def test_a_constant_target_is_no_success():
    found = linear_readout(Trajectory(states()), np.ones((RUNS, STEPS, 1)), shuffles=2)
    assert np.isnan(found.r2) and found.nulls == () and found.summary() == "nothing is read: the targets never vary"


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (np.zeros((RUNS, STEPS)), {}, r"targets have shape \(200, 6, coordinates\), but \(200, 6\) came"),
        (np.full((RUNS, STEPS, 1), np.nan), {}, "targets are not finite at 1200 of 1200 states"),
        (np.zeros((RUNS, STEPS, 1)), {"ridge": -1.0}, "a ridge is a number from 0 upwards, not -1.0"),
        (np.zeros((RUNS, STEPS, 1)), {"folds": 1}, "at most the 200 groups, not 1"),
        (np.zeros((RUNS, STEPS, 1)), {"groups": np.zeros(RUNS)}, "at most the 1 groups, not 5"),
        (np.zeros((RUNS, STEPS, 1)), {"weights": -np.ones(RUNS)}, "weights are finite, not negative"),
        (np.zeros((RUNS, STEPS, 1)), {"twins": [Trajectory(np.zeros((2, STEPS, 1)))]}, "a twin has the trajectory's"),
        (np.zeros((RUNS, STEPS, 1)), {"controls": {"c": np.zeros((1, 1, 1))}}, "c have shape"),
    ],
)
def test_refusals(target, options, message):
    with pytest.raises(InputError, match=message):
        linear_readout(Trajectory(states()), target, **options)
