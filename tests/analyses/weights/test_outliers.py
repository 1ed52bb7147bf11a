import numpy as np
import pytest

from analyses.weights.outliers import outlier_eigenvalues
from hooks.errors import InputError

UNITS = 100


def gaussian(g=0.5, units=UNITS, seed=0):
    return g * np.random.default_rng(seed).standard_normal((units, units)) / np.sqrt(units)


def directions(count, seed=1):
    """(UNITS, count) orthonormal columns."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((UNITS, count)))[0]


def ramp(change, steps=7, start=None):
    """The start plus 0, 1 / (steps - 1), ..., 1 times the change."""
    return (gaussian() if start is None else start) + np.linspace(0, 1, steps)[:, None, None] * change


def specimens():
    u = directions(1)
    return [
        outlier_eigenvalues(ramp(1.5 * u @ u.T), updates=np.arange(0, 140, 20)),
        outlier_eigenvalues(np.zeros((2, 3, 3))),  # nothing is there and nothing changed
    ]


def test_growing_rank_one_change_gives_one_outlier_at_its_own_eigenvalue():
    """Tao 2013, theorem 1.7: beyond the disk of radius 0.5 the eigenvalue is theta + o(1); one sample of 100 units strays by
    about g / sqrt(100) = 0.05, of which three are allowed."""
    u = directions(1)
    found = outlier_eigenvalues(ramp(1.5 * u @ u.T), updates=np.arange(0, 140, 20))
    assert len(found.left) == 1
    assert found.eigenvalues[-1, 0] == pytest.approx(1.5, abs=0.15)
    # theta grows by 0.25 a checkpoint. The change adds 1.5^2 / 100^2 to the variance of 0.25 / 100: a disk of radius 0.522;
    # the largest of 19 finite spectra is beyond it by up to a quarter at 100 units
    assert found.edges[-1] == pytest.approx(0.522, rel=0.25) and found.edges[-1] > 0.522
    assert found.left[0] in (60, 80)
    assert found.shares[1:, 0] == pytest.approx(1.0, abs=1e-12) and np.isnan(found.shares[0]).all()
    assert found.changes == pytest.approx(np.linspace(0, 1.5, 7), abs=1e-12)
    assert [null.beaten for null in found.nulls[:2]] == [True, True] and found.checks[0].passed
    assert found.summary().startswith("1 of 100 eigenvalues beyond the edge of shuffled entries")


def test_change_in_a_plane_that_turns_gives_a_conjugate_pair():
    """0.9 (1 +- i) from a scaled rotation in a random plane, without a bulk: exact."""
    plane = directions(2)
    change = 0.9 * plane @ np.array([[1.0, -1.0], [1.0, 1.0]]) @ plane.T
    found = outlier_eigenvalues(ramp(change, start=np.zeros((UNITS, UNITS))))
    assert len(found.left) == 2
    assert np.sort_complex(found.eigenvalues[-1, :2]) == pytest.approx([0.9 - 0.9j, 0.9 + 0.9j], abs=1e-10)
    assert found.shares[-1, :3] == pytest.approx([0.5, 0.5, 0], abs=1e-12)
    assert found.bulk_shift == pytest.approx(
        0, abs=1e-6
    )  # zeros of a defective matrix are known to the root of eps at worst


def test_change_without_structure_leaves_no_outlier_and_equals_its_shuffles():
    found = outlier_eigenvalues([gaussian(), gaussian() + gaussian(seed=5)])
    assert len(found.left) == 0 and not any(null.beaten for null in found.nulls)
    assert "0 of 100 eigenvalues beyond" in found.summary()


def test_outlier_of_the_mean_alone_is_not_one():
    """Entries raised by 1.5 / n have an eigenvalue near 1.5 in whatever order they stand."""
    found = outlier_eigenvalues([gaussian(), gaussian() + 1.5 / UNITS])
    assert abs(found.eigenvalues[-1, 0]) > 1.3 and len(found.left) == 0


def test_eigenvalue_that_comes_back_left_at_its_last_exit():
    u, theta = directions(1), np.array([0, 1.5, 0, 0, 1.5, 1.5])
    found = outlier_eigenvalues(gaussian(0.1) + theta[:, None, None] * (u @ u.T))
    assert found.left.tolist() == [4]


def test_other_orthonormal_coordinates_change_no_eigenvalue_and_no_share():
    u, turn = directions(1), directions(UNITS, seed=3)
    history = ramp(1.5 * u @ u.T, 3)
    one, other = outlier_eigenvalues(history), outlier_eigenvalues(turn @ history @ turn.T)
    assert np.sort_complex(other.eigenvalues[-1]) == pytest.approx(np.sort_complex(one.eigenvalues[-1]), abs=1e-9)
    assert other.shares[-1] == pytest.approx(one.shares[-1], abs=1e-12)


def test_one_unit_and_a_matrix_at_rest():
    found = outlier_eigenvalues([[[0.3]], [[0.9]]])
    assert found.eigenvalues.tolist() == [[0.3], [0.9]] and len(found.left) == 0 and found.shares[-1] == 1
    still = outlier_eigenvalues([gaussian()] * 2)
    assert still.summary().endswith("the matrix did not change") and len(still.nulls) == 1


def test_refusals():
    for wrong, said in (
        (np.zeros((2, 3, 4)), r"\(checkpoints, units, units\), but \(2, 3, 4\) came"),
        (np.zeros((1, 3, 3)), "1 came: give the start first"),
        ([np.zeros((2, 2)), np.full((2, 2), np.nan)], "checkpoint 1 has weights that are not finite"),
    ):
        with pytest.raises(InputError, match=said):
            outlier_eigenvalues(wrong)
    with pytest.raises(InputError, match="updates are ascending"):
        outlier_eigenvalues(np.zeros((2, 3, 3)), updates=[5, 5])
    with pytest.raises(InputError, match=r"9 draws cannot tell a level of 0.05: take at least 19"):
        outlier_eigenvalues(np.zeros((2, 3, 3)), draws=9)
