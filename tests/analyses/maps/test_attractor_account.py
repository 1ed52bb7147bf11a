import numpy as np
import pytest
import torch

from analyses.maps.attractor_account import attractor_account
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from tests.known import linear

P = 0.9575040240772687  # root of x = tanh(2 x)
rng = np.random.default_rng(0)
KNOWN, HELD_OUT = rng.normal(0, 2, (200, 1)), rng.normal(0, 2, (150, 1))


def bit():
    return Dynamics(lambda x, _: torch.tanh(2 * x), dim=1)


def crossed():
    """Two bits of which the first is turned over once, where the second is not yet at +-P: ends lie on the other side."""
    return Dynamics(lambda x, _: torch.tanh(2 * x * torch.stack([torch.where(x[:, 1].abs() > 1.5, -1.0, 1.0),
                                                                 torch.ones(len(x))], 1).to(x)), dim=2)  # fmt: skip


def account(dynamics, points, held_out=HELD_OUT, known=KNOWN, ends=None, **options):
    ends = np.linalg.norm(known[:, None] - np.array(points), axis=2).argmin(axis=1) if ends is None else ends
    return attractor_account(
        dynamics, points, held_out, known=known, known_ends=ends, **{"draws": 199, "steps": 200} | options
    )


def specimens():
    return [
        account(bit(), [[P], [-P]], draws=19),
        account(linear(2 * np.eye(1)), [[0.0]], held_out=np.ones((1, 1)), steps=5),
    ]


def test_the_sign_of_a_bit_is_recovered_by_every_account_but_those_between_the_known_starts():
    found = account(bit(), [[P], [-P]])
    assert found.ends.tolist() == (HELD_OUT[:, 0] < 0).astype(int).tolist()
    assert found.recovered[:2].tolist() == [1, 1]
    gap = np.sort(np.abs(KNOWN[:, 0]))[1]  # between the innermost known starts the nearest may lie across zero
    assert found.recovered[2] >= 1 - (np.abs(HELD_OUT) <= 3 * gap).mean()
    assert all(null.beaten for null in found.nulls)
    share = (found.ends == 0).mean()
    # two independent assignments of these sizes agree with probability s^2 + (1 - s)^2
    assert np.median(found.nulls[0].draws) == pytest.approx(share**2 + (1 - share) ** 2, abs=0.03)


def test_a_planted_wrong_account_does_worse_than_chance():
    flipped = (KNOWN[:, 0] > 0).astype(int)
    found = account(bit(), [[P], [-P]], ends=flipped)
    assert found.recovered[2] < 0.05 and found.recovered[0] == 1


def test_linear_pieces_overtake_the_nearest_attractor_where_orbits_cross_over():
    """Slope of the second bit 0.166: far out the linear pieces come in without turning the first bit over, as the nearest
    attractor says; the loop turns it. Neither account sees it, the map of basins does."""
    points = [[a * P, b * P] for a in (1, -1) for b in (1, -1)]
    starts = np.random.default_rng(1).uniform(-3, 3, (300, 2))
    turned = np.where(np.abs(starts[:, 1]) > 1.5, -starts[:, 0], starts[:, 0])
    truth = 2 * (turned < 0) + (starts[:, 1] < 0)
    found = account(crossed(), points, held_out=starts[:100], known=starts[100:], ends=truth[100:])
    assert found.ends.tolist() == truth[:100].tolist()
    assert found.recovered[0] == pytest.approx((np.abs(starts[:100, 1]) <= 1.5).mean(), abs=0.02)
    assert found.recovered[2] > 0.8 > found.recovered[0]


def test_one_attractor_leaves_nothing_to_tell():
    found = account(linear(0.5 * np.eye(1)), [[0.0]])
    assert found.recovered.tolist() == [1, 1, 1] and found.nulls == ()
    assert found.summary().endswith("with one attractor there is nothing to tell")


def test_starts_that_leave_are_not_counted():
    found = account(linear(2 * np.eye(1)), [[0.0]], held_out=np.ones((3, 1)), steps=20)
    assert found.ends.tolist() == [-1] * 3 and np.isnan(found.recovered).all()
    assert found.summary() == "0 of 3 held-out starts end on the one attractor"


def test_refusals():
    with pytest.raises(InputError, match="takes a state of attractor 0 to"):
        account(bit(), [[0.5], [-P]])
    with pytest.raises(InputError, match=r"known ends are \(200,\) numbers of attractors, -1 to 1"):
        account(bit(), [[P], [-P]], ends=np.full(200, 2))
    with pytest.raises(InputError, match="known starts with an end"):
        account(bit(), [[P], [-P]], ends=np.full(200, -1))
    with pytest.raises(InputError, match="basins need attractors"):
        account(bit(), np.zeros((0, 1)), ends=np.full(200, -1))
