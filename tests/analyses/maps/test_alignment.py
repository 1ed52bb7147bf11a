import math

import numpy as np
import pytest
import torch

from analyses.maps.alignment import alignment
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import cat_map, henon, linear

GOLDEN = math.log((3 + math.sqrt(5)) / 2)


def standard_map(K=1.0):
    """p' = p + K sin x, x' = x + p' mod 2 pi."""

    def step(z, _):
        p = z[:, 1] + K * torch.sin(z[:, 0])
        return torch.stack([(z[:, 0] + p) % (2 * math.pi), p], dim=1)

    return Dynamics(step, dim=2, name="standard map")


def assert_checks(result):
    assert all(check.passed for check in result.checks), [c for c in result.checks if not c.passed]


def test_standard_map_has_chaos_by_its_saddle_and_a_regular_island():
    # the starts and bounds of ChaosTools' own tests: GALI_2 <= 1e-12 within 1000 steps, and > 1e-3
    found = alignment(standard_map(), [[0.001, 0.008], [math.pi, 0.01], [math.pi, 0.5]], steps=1000)
    assert found.log_index[0, -1] < math.log(1e-12) and found.log_index[1, -1] > math.log(1e-3)
    # the third is a torus further out, whose shear shows: area kept, both lengths grow like t
    assert found.verdicts == ("chaotic", "constant", "power law")
    assert found.powers[2] == pytest.approx(2.0, abs=0.3)  # a fit through oscillations over one decade
    assert found.summary().startswith("3 of 3 starts follow a law of alignment: 1 chaotic, 1 constant, 1 power law")
    assert len(found.checks) == 1
    assert_checks(found)


def digits_of_birkhoff_averages(starts, K, steps=4000):
    """(starts,) digits to which weighted Birkhoff averages over two halves of an orbit agree.

    Super-convergent on quasi-periodic orbits and as slow as 1 / sqrt(steps) on chaotic ones (Das, Saiki, Sander, Yorke,
    Nonlinearity 30, 2017): a judge of order that knows no tangents.
    """
    x, p = starts.T.copy()
    t = np.arange(1, steps + 1) / (steps + 1)
    weights = np.exp(-1 / (t * (1 - t)))
    halves = np.zeros((2, 2, len(x)))
    for half in halves:
        for weight in weights / weights.sum():
            half += weight * np.cos([x, p])
            p = (p + K * np.sin(x)) % (2 * math.pi)
            x = (x + p) % (2 * math.pi)
    return -np.log10(np.abs(halves[0] - halves[1]).max(axis=0) + 1e-17)


def test_false_verdicts_on_a_mixed_phase_space_are_few():
    """At kick 1 half of the orbits are regular. Of 600 starts at 1000 steps none of 296 regular ones was called chaotic, and
    six of 295 chaotic ones regular: here at most 1 % and, of other starts and fewer, 5 %.
    """
    starts = 2 * math.pi * np.random.default_rng(7).random((300, 2))
    digits = digits_of_birkhoff_averages(starts, 1.0)
    found = np.array(alignment(standard_map(1.0), starts, steps=1000).verdicts)
    regular, chaotic = found[digits > 7], found[digits < 3]
    assert len(regular) > 100 and len(chaotic) > 100
    assert (regular == "chaotic").mean() <= 0.01 and np.isin(chaotic, ("power law", "constant")).mean() <= 0.05
    assert np.isin(regular, ("power law", "constant")).mean() > 0.85 and (chaotic == "chaotic").mean() > 0.75


def test_strong_chaos_is_never_missed():
    """At kick 6 all but a thousandth of the square is chaotic."""
    starts = 2 * math.pi * np.random.default_rng(7).random((200, 2))
    verdicts = alignment(standard_map(6.0), starts, steps=300).verdicts
    assert verdicts.count("chaotic") >= 198


def test_cat_map_aligns_at_twice_its_exponent():
    found = alignment(cat_map(), [[0.1, 0.2]], steps=200)
    assert found.verdicts == ("chaotic",)
    assert found.rates == pytest.approx([2 * GOLDEN], abs=1e-9)  # l1 - l2, far below the smallest float: exp(-385)
    assert found.predicted == pytest.approx([2 * GOLDEN], abs=1e-12)
    assert np.diff(found.log_index[0])[50:] == pytest.approx(-2 * GOLDEN, abs=1e-10)
    assert_checks(found)


def test_the_index_is_the_product_of_singular_values_of_pushed_unit_vectors():
    A = np.array([[0.9, 0.4, 0.0], [0.0, 0.8, -0.3], [0.1, 0.0, 0.7]])
    found = alignment(linear(A), [[0.0, 0.0, 0.0]], steps=20, directions=3)
    vectors = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deviations = torch.linalg.qr(vectors)[0][0].numpy()
    for step in range(21):
        pushed = np.linalg.matrix_power(A, step) @ deviations
        volume = np.linalg.svd(pushed / np.linalg.norm(pushed, axis=0), compute_uv=False).prod()
        assert found.log_index[0, step] == pytest.approx(math.log(volume), abs=1e-10)


def test_linear_maps_follow_their_laws():
    decay = alignment(linear(np.diag([0.9, 0.5, 0.3]), dt=0.1), [[1.0, 1.0, 1.0]], steps=300, directions=3)
    assert decay.rates == pytest.approx([math.log(0.9**2 / 0.15) / 0.1], abs=1e-7)
    assert decay.verdicts == ("exponential, not chaotic",)
    # two vectors under a shear: area kept, both lengths grow like t
    shear = alignment(linear([[1.0, 1.0], [0.0, 1.0]]), [[0.0, 0.0]], steps=500)
    assert shear.verdicts == ("power law",) and shear.powers == pytest.approx([2.0], abs=0.05)
    c, s = math.cos(1), math.sin(1)
    turn = alignment(linear([[c, -s], [s, c]]), [[1.0, 0.0]], steps=200)
    assert turn.verdicts == ("constant",) and np.abs(turn.log_index).max() < 1e-12
    saddle = alignment(standard_map(), [[0.0, 0.0]], steps=200)
    assert saddle.verdicts == ("an unstable rest or cycle, never left",)
    assert saddle.rates == pytest.approx([2 * GOLDEN], abs=1e-9)  # its Jacobian is that of the cat map


def test_boring_and_bad_maps_are_values_not_exceptions():
    flat = alignment(linear(np.diag([0.5, 0.0])), [[1.0, 1.0]], steps=150)
    assert flat.log_index[0, -1] == -np.inf and flat.verdicts == ("undecided",)
    out = alignment(henon(), [[50.0, 50.0], [0.1, 0.1]], steps=150)
    assert np.isnan(out.log_index[0, -1]) and out.verdicts[0] == "undecided" and out.verdicts[1] == "chaotic"
    short = alignment(cat_map(), [[0.1, 0.2]], steps=20)
    assert short.verdicts == ("undecided",) and short.summary() == "0 of 1 starts follow a law of alignment"
    none = alignment(cat_map(), np.zeros((0, 2)), steps=150)
    assert none.log_index.shape == (0, 151) and none.verdicts == ()


def test_single_precision_is_judged_by_its_own_rounding():
    A = torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    found = alignment(Dynamics(lambda x, _: x @ A.T, dim=2, dtype=torch.float32), [[0.0, 0.0]], steps=200)
    assert found.verdicts == ("an unstable rest or cycle, never left",)
    assert found.rates == pytest.approx([math.log(4)], abs=1e-3)
    assert_checks(found)


def test_a_stopped_run_returns_what_it_has():
    found = alignment(
        cat_map(), [[0.1, 0.2]], steps=500, watch=lambda states, total: (next(states) for _ in range(120))
    )
    assert found.outcome is Outcome.OUT_OF_TIME and found.log_index.shape == (1, 121) and found.verdicts == ("chaotic",)
    nothing = alignment(cat_map(), [[0.1, 0.2]], steps=500, watch=lambda states, total: iter(()))
    assert nothing.log_index.tolist() == [[0.0]] and nothing.summary().endswith("the run ran out of time")


def test_refusals():
    with pytest.raises(DrivenError, match="alignment"):
        alignment(Dynamics(lambda x, u: x + u, dim=2, driven=True, inputs=2), [[0.0, 0.0]], steps=20)
    with pytest.raises(InputError, match="2 to dim directions"):
        alignment(linear([[0.5]]), [[0.0]], steps=20)
