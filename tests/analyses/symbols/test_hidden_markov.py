"""Chains that were drawn are found again; smooth paths, constants and independent draws are said to be none."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy.stats import norm

from analyses.result import Outcome
from analyses.symbols._hidden_markov import Limits, Vectors, fitted
from analyses.symbols.hidden_markov import hidden_markov
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from hooks.watch import quiet

A = np.array([[0.95, 0.05, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]])
MEANS = np.array([[-2.0, 0.0], [0.0, 2.0], [2.0, -1.0]])


def chain(runs, steps, A=A, seed=0):
    """(runs, steps) hidden states, from the uniform start."""
    rng = np.random.default_rng(seed)
    states = np.empty((runs, steps), dtype=np.int64)
    states[:, 0] = rng.integers(len(A), size=runs)
    for step in range(1, steps):
        states[:, step] = (rng.random((runs, 1)) > A.cumsum(axis=1)[states[:, step - 1]]).sum(axis=1)
    return states


def three_states(runs=8, steps=150, seed=0):
    states = chain(runs, steps, seed=seed)
    return states, Trajectory(MEANS[states] + 0.5 * np.random.default_rng(seed + 1).standard_normal((runs, steps, 2)))


def specimens():
    _, trajectory = three_states(4, 40)
    return [
        hidden_markov(trajectory, states=[1, 3], starts=2, iterations=20, draws=2),
        hidden_markov(Trajectory(np.zeros((0, 5, 2))), states=[1, 2]),
    ]


@pytest.fixture(scope="module")
def found():
    states, trajectory = three_states()
    return states, hidden_markov(trajectory, states=[1, 2, 3, 4], starts=4, iterations=30)


def test_a_drawn_chain_is_found_again(found):
    """Tolerances: four standard errors of 1200 steps: sqrt(p q / n) of the transitions from some 300 steps in a state, 0.5 /
    sqrt(300) of the means, with a few steps that are told wrong."""
    states, result = found
    assert result.states == 3 and result.discrete and "a hidden Markov chain" in result.summary()
    assert np.abs(result.transitions - A).max() < 4 * np.sqrt(0.1 * 0.9 / 300)
    assert np.abs(result.means - MEANS).max() < 4 * 0.5 / np.sqrt(300)
    assert np.abs(result.covariances - 0.25 * np.eye(2)).max() < 4 * 0.25 * np.sqrt(2 / 300)
    assert (result.labels == states).mean() > 0.99
    assert np.abs(result.shares @ result.transitions - result.shares).max() < 1e-12  # stationary, to rounding
    assert result.dwell == pytest.approx(1 / (1 - np.diag(result.transitions)))
    assert result.counts[np.argmin(result.bic)] == 3
    assert all(check.passed for check in result.checks)


def test_a_chain_beats_the_autoregression_and_the_surrogates(found):
    _, result = found
    assert result.lead > 3 * result.control_error > 0
    assert [null.statistic for null in result.nulls] == ["gain", "dwell"]
    assert result.nulls[0].draws.max() < result.nulls[0].observed


def test_the_likelihood_is_the_sum_over_all_paths():
    """Of pieces of eight steps under two states: 2^8 paths each."""
    rng = np.random.default_rng(3)
    pieces = [rng.standard_normal((8, 1)) + 2 * rng.integers(2, size=(8, 1)) for _ in range(4)]
    kind = Vectors(np.zeros(1), np.eye(1), np.eye(1), 1)
    fit = fitted(kind, pieces, 2, Limits(2, 50, 1e-6), rng)
    spread = np.sqrt(fit.covariances[:, 0, 0])
    total = 0.0
    for piece in pieces:
        density = norm.pdf(piece, fit.means[:, 0], spread)
        paths = [
            fit.model.startprob_[path[0]]
            * np.prod([fit.transitions[a, b] for a, b in pairwise(path)])
            * np.prod(density[np.arange(8), path])
            for path in product(range(2), repeat=8)
        ]
        total += np.log(np.sum(paths))
    assert fit.log_likelihood == pytest.approx(total, abs=1e-9)  # rounding of 256 products


def test_a_smooth_ramp_is_no_hidden_markov_chain():
    """More states always cut a ramp more finely; an autoregression, which follows it, is far better."""
    ramp = np.linspace(0, 1, 150)[None, :, None] + 0.01 * np.random.default_rng(0).standard_normal((8, 150, 1))
    result = hidden_markov(Trajectory(ramp), states=range(1, 5), starts=2, iterations=20, draws=3)
    assert result.states >= 3 and result.scores[3] > result.scores[0] + 0.5
    assert result.lead < -0.5 and not result.discrete and not (result.states == 4 and result.resolved)
    assert "not shown to be a hidden Markov chain" in result.summary()


def test_a_curve_that_no_autoregression_follows_has_no_number_of_states():
    """The phase of a slow tent, squared: states cut it more finely and lead the linear control, but their number has no end."""
    phase = np.abs((np.arange(400)[None] / 50 + np.random.default_rng(3).random((8, 1))) % 2 - 1)
    curve = np.stack([phase**2, np.sin(6 * phase)], axis=2) + 0.02 * np.random.default_rng(4).standard_normal(
        (8, 400, 2)
    )
    result = hidden_markov(Trajectory(curve), states=[1, 3], starts=2, iterations=20, draws=2)
    assert result.states == 3 and not result.resolved and not result.discrete
    assert "the largest number tried" in result.summary()


def test_a_linear_gaussian_process_does_not_beat_its_surrogates():
    rng = np.random.default_rng(1)
    x = np.zeros((8, 120, 1))
    for step in range(1, 120):
        x[:, step] = 0.9 * x[:, step - 1] + rng.standard_normal((8, 1))
    result = hidden_markov(Trajectory(x[:, 20:]), states=[1, 2], starts=2, iterations=20)
    gain = result.nulls[0]
    assert result.states > 1 and (gain.draws >= gain.observed).any() and not result.discrete


def test_symbols_tell_their_hidden_states():
    """A sticky chain of two whose symbols are no Markov chain: one that both states say forgets which it was."""
    hidden = chain(16, 200, np.array([[0.95, 0.05], [0.05, 0.95]]), seed=2)
    heard = np.where(np.random.default_rng(5).random(hidden.shape) < 0.3, 1, 2 * hidden)
    result = hidden_markov(
        Trajectory(heard[..., None].astype(float)), states=[1, 2, 3], emissions="categorical", starts=3, iterations=30
    )
    assert result.states == 2 and result.discrete
    # four standard errors of 3200 steps, half of them in each state
    assert np.abs(np.diag(result.transitions) - 0.95).max() < 4 * np.sqrt(0.05 * 0.95 / 1600)
    assert np.abs(result.means - [[0.7, 0.3, 0.0], [0.0, 0.3, 0.7]]).max() < 4 * np.sqrt(0.21 / 1600)
    assert result.covariances.shape == (0, 0, 0)


def test_a_markov_chain_of_symbols_needs_no_hidden_states():
    heard = chain(16, 100, np.array([[0.8, 0.2], [0.3, 0.7]]), seed=4)
    result = hidden_markov(
        Trajectory(heard[..., None].astype(float)), states=[1, 2], emissions="categorical", starts=2, draws=2
    )
    assert not result.discrete and abs(result.lead) < 0.02  # both are the same process


def test_independent_draws_have_one_state():
    result = hidden_markov(
        Trajectory(np.random.default_rng(2).standard_normal((8, 100, 2))), states=[1, 2, 3], starts=2
    )
    assert result.states == 1 and result.entropy == 0 and np.isinf(result.dwell).all() and result.nulls == ()


def test_runs_of_unequal_length_are_read_to_their_ends():
    _, trajectory = three_states(4, 100)
    ragged = Trajectory(trajectory.states, lengths=np.array([100, 60, 100, 30]))
    result = hidden_markov(ragged, states=[3], starts=3, draws=0)
    assert (result.labels[1, 60:] == -1).all() and (result.labels[ragged.valid] >= 0).all()


def test_what_cannot_be_fitted_is_said():
    constant = hidden_markov(Trajectory(np.ones((3, 40, 2))), states=[1, 2])
    assert constant.states == 0 and set(constant.outcomes) == {Outcome.TOO_SHORT}
    assert "0 of 2" in constant.summary() and np.isnan(constant.lead)
    short = hidden_markov(Trajectory(np.random.default_rng(0).standard_normal((1, 12, 1))), states=[1, 9])
    assert short.outcomes[1] is Outcome.TOO_SHORT and np.isnan(short.scores[1])
    points = np.random.default_rng(0).choice([0.0, 1.0], size=(4, 100, 1))
    collapsed = hidden_markov(Trajectory(points), states=[1, 2], starts=2)
    assert collapsed.outcomes == (Outcome.CONVERGED, Outcome.DEGENERATE) and collapsed.states == 1


def test_one_symbol_needs_one_state():
    """Score: of 100 steps of the other half and one count for each of two symbols, ln(101 / 102) a step."""
    result = hidden_markov(Trajectory(np.ones((4, 50, 1))), states=[1, 2], emissions="categorical", starts=1)
    assert result.states == 1 and result.scores[0] == pytest.approx(np.log(101 / 102), abs=1e-9)


def test_a_symbol_that_one_half_alone_has_leaves_the_scores_finite():
    heard = chain(8, 60, np.array([[0.8, 0.2], [0.3, 0.7]]), seed=6)
    heard[0, 10] = 2
    result = hidden_markov(
        Trajectory(heard[..., None].astype(float)), states=[1, 2], emissions="categorical", starts=1, draws=1
    )
    assert np.isfinite(result.scores).all()


def test_a_stopped_loop_leaves_the_other_numbers_out_of_time():
    _, trajectory = three_states(4, 60)

    def first(items, total):
        yield next(iter(items))

    result = hidden_markov(trajectory, states=[1, 2], starts=1, draws=0, watch=first)
    assert result.outcomes[1] is Outcome.OUT_OF_TIME and result.states == 1
    assert hidden_markov(trajectory, states=[1], starts=1, watch=quiet).states == 1


def test_equal_calls_give_equal_results():
    _, trajectory = three_states(4, 60)
    one, two = (hidden_markov(trajectory, states=[1, 3], starts=2, draws=1) for _ in range(2))
    assert one.to_dict() == two.to_dict()


def test_refusals_say_what_came():
    _, trajectory = three_states(2, 20)
    with pytest.raises(InputError, match="1 or more"):
        hidden_markov(trajectory, states=[0, 1])
    with pytest.raises(InputError, match="1 or more"):
        hidden_markov(trajectory, starts=0)
    with pytest.raises(InputError, match="whole numbers"):
        hidden_markov(trajectory, emissions="categorical")
