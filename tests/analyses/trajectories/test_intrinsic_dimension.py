import numpy as np
import pytest

from analyses.trajectories.intrinsic_dimension import intrinsic_dimension
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def cloud(points):
    return Trajectory(np.asarray(points)[:, None], "layer")


def flat(dim, points=1500, into=8, seed=0):
    """Uniform in a cube of ``dim`` sides, turned into more coordinates."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((into, into)))[0]
    return rng.uniform(size=(points, dim)) @ turn[:dim]


def torus(points=2000):
    a, b = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, points))
    return np.stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b)], axis=1)


def specimens():
    twins = [intrinsic_dimension(cloud(flat(3, 40, seed=seed)), draws=0) for seed in range(3)]
    states = np.stack([flat(2, 40), flat(4, 40)], axis=1)
    return [
        intrinsic_dimension(Trajectory(states, "layer"), twins=twins, draws=5),
        intrinsic_dimension(cloud(np.ones((20, 2)))),
    ]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_turned_cube_has_its_own_dimension(dim):
    found = intrinsic_dimension(cloud(flat(dim)), draws=0)
    # N - 1 exponential terms: a relative error of 1 / sqrt(N); edges of the cube cost a few per cent in three dimensions
    assert found.two_neighbours[0] == pytest.approx(dim, rel=4 / np.sqrt(1500) + 0.02 * dim)
    assert found.likelihood[0] == pytest.approx(dim, rel=4 / np.sqrt(9 * 1500) + 0.04 * dim)


def test_a_torus_is_lower_than_the_gaussian_cloud_of_its_covariance():
    found = intrinsic_dimension(cloud(torus()))
    assert found.two_neighbours[0] == pytest.approx(2, rel=4 / np.sqrt(2000))
    assert found.gaussian[0] == pytest.approx(4, rel=0.1) and found.nulls[0].beaten


def test_a_gaussian_cloud_does_not_beat_gaussian_clouds():
    # p uniform: of 20, one is expected below 0.05, more than 4 with probability 0.003
    seeds = range(20)
    clouds = [np.random.default_rng(seed).standard_normal((200, 4)) @ np.diag([3, 2, 1, 0.1]) for seed in seeds]
    assert sum(intrinsic_dimension(cloud(points)).nulls[0].beaten for points in clouds) <= 4


def test_the_error_is_that_of_independent_points():
    alone = intrinsic_dimension(cloud(flat(2)), draws=0)
    # the estimate's own is d / sqrt(N), more where neighbours are shared; 10 groups know it to 1 / sqrt(18) of itself
    assert 0.4 < alone.standard_errors[0] / (2 / np.sqrt(1500)) < 3


def test_scale_and_rotation_change_nothing_and_padding_is_not_read():
    points = flat(2, 300)
    one = intrinsic_dimension(cloud(points), draws=0)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    other = intrinsic_dimension(cloud(5 * points @ turn), draws=0)
    assert other.two_neighbours == pytest.approx(one.two_neighbours, rel=1e-9)
    padded = np.full((310, 2, 8), np.nan)
    padded[:, 0], padded[:300, 1] = flat(3, 310), points
    ragged = Trajectory(padded, "layer", lengths=np.where(np.arange(310) < 300, 2, 1))
    assert intrinsic_dimension(ragged, draws=0).two_neighbours[1] == pytest.approx(one.two_neighbours[0], rel=1e-12)


def test_equal_states_count_once_and_too_few_have_no_dimension():
    points = flat(2, 200)
    doubled = intrinsic_dimension(cloud(np.concatenate([points, points])), draws=0)
    assert doubled.points[0] == 200
    assert doubled.two_neighbours == pytest.approx(
        intrinsic_dimension(cloud(points), draws=0).two_neighbours, rel=1e-12
    )
    rest = intrinsic_dimension(cloud(np.ones((20, 2))))
    assert np.isnan(rest.mean) and rest.nulls == () and rest.summary() == "0 of 1 step have an estimate"


def test_refusal():
    with pytest.raises(InputError, match="three neighbours or more, not 2"):
        intrinsic_dimension(cloud(flat(2, 50)), neighbours=2)
