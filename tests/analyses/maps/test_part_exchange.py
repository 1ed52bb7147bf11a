"""Of two independent memories each carries its own share, whatever runs are paired; idle coordinates carry nothing."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from analyses.maps.part_exchange import PartExchange, exchange_parts
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory

RATES = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.99, 0.99]).double()


def fading(readout=None):
    """Six coordinates that fade by themselves; the last two are not heard."""
    heard = torch.tensor([1.0, 1, 1, 1, 0, 0]).double()
    return Dynamics(
        lambda x, u: RATES * x + u, 6, driven=True, inputs=6, readout=readout or (lambda x: heard * x), name="fading"
    )


def runs(count=30, steps=20, seed=0):
    drives = np.random.default_rng(seed).standard_normal((count, steps, 6))
    return rollout(fading(), np.zeros((count, 6)), drives=drives)


PARTS = {"slow": [0, 1], "fast": slice(2, 4), "idle": torch.tensor([False] * 4 + [True] * 2)}


def specimens():
    deaf = fading(lambda x: 0 * x[:, :1])
    return [exchange_parts(fading(), runs(), PARTS), exchange_parts(deaf, runs(), {"all": slice(None)})]


def test_parts_of_a_diagonal_map_carry_what_their_differences_and_rates_say():
    """Coordinate i differs by d_i at the exchange and by r_i^t d_i after t steps: shares are those of the sums of squares."""
    run = runs()
    result = exchange_parts(fading(), run, PARTS, horizon=5)
    order = np.random.default_rng(0).permutation(30)
    apart = np.empty((30, 6))
    apart[order] = run.states[order, -6] - run.states[np.roll(order, 1), -6]
    squares = (apart[:, :4] ** 2 * sum(RATES.numpy()[:4] ** (2 * t) for t in range(1, 6))).sum(axis=0)
    expected = [squares[:2].sum() / squares.sum(), squares[2:].sum() / squares.sum(), 0.0]
    assert result.shares == pytest.approx(expected, abs=1e-12) and result.losses == pytest.approx(expected, abs=1e-12)
    assert (result.intervals[:2, 0] < result.shares[:2]).all() and (result.shares[:2] < result.intervals[:2, 1]).all()
    lasting = (apart[:, :4] ** 2 * sum(RATES.numpy()[:4] ** (2 * t) for t in range(3, 6))).sum(
        axis=0
    )  # from the third step on
    assert result.late == pytest.approx(
        [lasting[:2].sum() / lasting.sum(), lasting[2:].sum() / lasting.sum(), 0], abs=1e-12
    )
    first = math.sqrt(((RATES.numpy()[:4] * apart[:, :4]) ** 2).sum() / (30 * 6))
    assert result.difference[0] == pytest.approx(first, rel=1e-12) and len(result.difference) == 5
    assert result.checks[0].passed and [null.statistic for null in result.nulls] == ["slow", "fast", "idle"]
    assert result.sizes.tolist() == [2, 2, 2] and result.summary().startswith("1 of 3 parts carry more")


def test_a_product_needs_both_its_factors():
    """What is said is a sign times a sign, both kept: of pairs that differ in one alone, that one carries all of it."""
    keeping = Dynamics(lambda x, _: x, 2, readout=lambda x: x[:, :1] * x[:, 1:])
    starts = np.array([[1.0, 1], [1, -1]] * 10)
    result = exchange_parts(
        keeping, rollout(keeping, starts, steps=3), {"first": [0], "second": [1]}, horizon=3, draws=0
    )
    assert result.shares.tolist() == [0, 1] and result.losses.tolist() == [0, 1] and result.nulls == ()


def test_nothing_heard_the_whole_state_an_early_stop_and_refusals(monkeypatch):
    deaf = fading(lambda x: 0 * x[:, :1])
    nothing = exchange_parts(deaf, runs(), PARTS)
    assert np.isnan(nothing.shares).all() and nothing.nulls == () and "0 of 3 parts can be judged" in nothing.summary()
    whole = exchange_parts(fading(), runs(), {"all": slice(None)})
    assert whole.shares[0] == pytest.approx(1, abs=1e-12) and whole.nulls == ()
    with monkeypatch.context() as one_by_one:
        one_by_one.setattr("analyses.maps.part_exchange.NUMBERS", 1)
        stopped = exchange_parts(fading(), runs(), PARTS, watch=lambda batches, total: islice(batches, 2))
    assert np.isfinite(stopped.shares).tolist() == [True, False, False] and stopped.nulls == ()
    with pytest.raises(InputError, match="two runs at least"):
        exchange_parts(fading(), runs(count=1), PARTS)
    with pytest.raises(InputError, match="followed by 21 steps"):
        exchange_parts(fading(), runs(), PARTS, horizon=21)
    with pytest.raises(InputError, match="one part"):
        exchange_parts(fading(), runs(), {})
    with pytest.raises(InputError, match="0 to 5"):
        exchange_parts(fading(), runs(), {"seventh": [6]})
    with pytest.raises(DrivenError, match="holds no drives"):
        exchange_parts(fading(), Trajectory(runs().states, "time"), PARTS)


def test_equal_calls_give_equal_results_however_they_are_batched(monkeypatch):
    first, second = (exchange_parts(fading(), runs(), PARTS) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    monkeypatch.setattr("analyses.maps.part_exchange.NUMBERS", 1)
    alone = exchange_parts(fading(), runs(), PARTS)
    assert alone.shares == pytest.approx(first.shares, abs=1e-12)  # a batch's size moves last bits
    assert PartExchange.from_dict(first.to_dict()).summary() == first.summary()
    assert first.plot().get_ylabel() == "share of the continuation"
