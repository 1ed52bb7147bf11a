import numpy as np
import pytest
import torch
from torch import nn

from analyses.result import Outcome
from analyses.weights.neuron_multifractal import neuron_multifractal
from hooks.connections import Connection, connections
from hooks.errors import InputError


def network(scale=0.02, seed=0, width=48, layers=3):
    generator = torch.Generator().manual_seed(seed)
    weights = {
        str(i): scale * torch.randn(width, width, generator=generator, dtype=torch.float64) for i in range(layers)
    }
    return connections(weights)


def structured(size=0.02):
    """The same spread in every matrix; the weights that leave a unit are up to ten times those that leave another."""
    factors = torch.logspace(-0.5, 0.5, 48, dtype=torch.float64)
    scaled = [Connection(join.source, join.target, factors * join.weight) for join in network()]
    return [Connection(join.source, join.target, size * join.weight / join.weight.std()) for join in scaled]


def specimens():
    return [
        neuron_multifractal([network(), structured()], resamplings=2, draws=3),
        neuron_multifractal([network(1e-9), network(1e-9)], resamplings=2, draws=1),  # no length below 150
    ]


def test_two_units_have_their_closed_form():
    """Twelve connections of length 2 and twelve of length 4: Z_q = 1 + 13^-q within 2, and 2 within 4."""
    weight = torch.tensor([[0.5, 0.25]] * 12, dtype=torch.float64)
    found = neuron_multifractal([[Connection("a", "b", weight)]] * 2, resamplings=2, draws=1)
    q = found.orders
    tau = (np.log(2) - np.log1p(13.0**-q)) / np.log(2)
    assert found.tau == pytest.approx(np.broadcast_to(tau, (2, 61)), abs=1e-12)
    alpha = np.diff(tau) / np.diff(q)
    assert found.widths == pytest.approx(np.ptp(alpha), abs=1e-10)
    assert found.peaks == pytest.approx(alpha[(q[:-1] * alpha - tau[:-1]).argmax()], abs=1e-10)
    assert found.fit[:, 40] == pytest.approx(1.0)  # two radii lie on a line
    assert found.emergence.tolist() == [0, 0] and found.checks[0].passed


def test_scale_alone_raises_the_released_emergence_and_not_the_normalised_one():
    """Gaussian weights doubled have an E of some 0.3, without any structure (0.315 was measured elsewhere)."""
    one = network(width=128)
    two = [Connection(join.source, join.target, 2 * join.weight) for join in one]
    released = neuron_multifractal([one, two], resamplings=4, draws=19)
    assert 0.2 < released.emergence[1] < 0.4
    assert released.low[1] > 0 and released.rescaled == pytest.approx(0, abs=1e-12)
    for form in ("normalised", "distance"):
        free = neuron_multifractal([one, two], form=form, resamplings=2, draws=1)
        assert abs(free.emergence[1]) < 1e-6
        assert free.peaks[1] == pytest.approx(free.peaks[0], abs=1e-6)


def test_shuffled_weights_keep_what_is_no_structure_and_lose_what_is():
    noise = neuron_multifractal([network(seed=1), network(seed=2)], form="normalised", resamplings=4)
    assert not any(null.beaten for null in noise.nulls)
    told = neuron_multifractal([network(), structured()], form="normalised", resamplings=4)
    width = next(null for null in told.nulls if null.name == "shuffled within each matrix, width")
    assert width.beaten and width.observed > width.draws.max()


def test_distances_run_along_the_shortest_path():
    """Two units joined through a third at 2 + 3, and directly at 9; with the radius 150 all see two others."""
    joins = [Connection("a", "b", torch.tensor([[1 / 2]])), Connection("b", "c", torch.tensor([[1 / 3]]))]
    joins = [*joins, Connection("a", "c", torch.tensor([[1 / 9]]))]
    from analyses.weights.neuron_multifractal import _within

    sample = {name: np.array([0]) for name in "abc"}
    counts = _within(joins, sample, [1 / join.weight.numpy() for join in joins])
    assert [np.flatnonzero(row).tolist() for row in counts] == [[2, 5], [2, 3], [3, 5]]


def test_a_single_generator_gives_the_same_numbers_twice():
    pair = [network(seed=1), network(seed=2)]
    one, two = (
        neuron_multifractal(pair, resamplings=2, draws=2, generator=np.random.default_rng(5)).to_dict()
        for _ in range(2)
    )
    assert one == two


def test_constant_and_vanishing_weights():
    """All lengths alike: one radius, so no slope."""
    constant = [Connection("a", "b", torch.full((20, 20), 0.1, dtype=torch.float64))]
    found = neuron_multifractal([constant, constant], resamplings=2, draws=1)
    assert found.outcome is Outcome.TOO_SHORT and found.summary().startswith("0 of 2 checkpoints")
    zero = [Connection("a", "b", torch.zeros(20, 20, dtype=torch.float64))]
    assert neuron_multifractal([zero, zero], form="normalised", resamplings=2, draws=1).outcome is Outcome.TOO_SHORT


def test_refusals():
    one = network()
    with pytest.raises(InputError, match="give the network at the start"):
        neuron_multifractal([one])
    with pytest.raises(InputError, match="checkpoints 0 and 1 are not of one network"):
        neuron_multifractal([one, network(width=47)])
    with pytest.raises(InputError, match="need 2 samples, 1 draw"):
        neuron_multifractal([one, one], resamplings=1)
    with pytest.raises(InputError, match="ascending orders with 0"):
        neuron_multifractal([one, one], orders=[1.0, 2.0])
    bad = connections(nn.Linear(2, 2).state_dict() | {"weight": torch.full((2, 2), torch.nan)})
    with pytest.raises(InputError, match=r"not finite in 0\.units -> 1\.units"):
        neuron_multifractal([bad, bad])
