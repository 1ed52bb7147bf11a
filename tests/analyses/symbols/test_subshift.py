import numpy as np
import pytest

from analyses.symbols.subshift import SubshiftEntropy, subshift_entropy
from hooks.errors import InputError
from tests.analyses.symbols.shifts import GOLDEN


def specimens():
    return [subshift_entropy([[1, 1], [1, 0]]), subshift_entropy(np.zeros((0, 0), dtype=np.int64))]


@pytest.mark.parametrize(
    ("edges", "entropy", "periods"),
    [
        ([[1, 1], [1, 1]], np.log(2), [1]),  # the logistic map at 4, the tent: both halves cover both
        # golden mean, no 11; and the even shift: a 1 from "even" to itself, a 0 from "even" to "odd" and one back
        ([[1, 1], [1, 0]], GOLDEN, [1]),
        ([[0, 1, 0], [0, 0, 1], [1, 1, 0]], np.log(1.324717957244746), [1]),  # cycles 2 and 3: the plastic number
        ([[0, 1], [1, 1]], GOLDEN, [1]),  # period-three window: x1 < x2 < x3, [x1, x2] -> [x2, x3] -> both
        ([[3]], np.log(3), [1]),
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], 0.0, [3]),
        ([[0, 2], [2, 0]], np.log(2), [2]),
    ],
)
def test_textbook_shifts(edges, entropy, periods):
    found = subshift_entropy(edges)
    assert found.entropy == pytest.approx(entropy, abs=1e-12) and found.periods.tolist() == periods
    assert found.checks[0].passed


def test_the_largest_part_decides_and_dead_ends_do_not_count():
    """A full shift on two, a way out of it into a golden mean, and a state that leads nowhere."""
    edges = np.zeros((5, 5), dtype=np.int64)
    edges[:2, :2] = 1
    edges[1, 2] = 1
    edges[2:4, 2:4] = [[1, 1], [1, 0]]
    edges[3, 4] = 1
    found = subshift_entropy(edges)
    assert found.part == pytest.approx([np.log(2), GOLDEN]) and found.members.tolist() == [0, 0, 1, 1, -1]
    none = subshift_entropy([[0, 1], [0, 0]])
    assert none.entropy == -np.inf and "no endless word" in none.summary()


def test_refusals_and_writing():
    with pytest.raises(InputError, match=r"shape \(1, 2\) came"):
        subshift_entropy([[1, 0]])
    with pytest.raises(InputError, match="whole numbers from 0"):
        subshift_entropy([[0.5]])
    found = subshift_entropy([[1, 1], [1, 0]])
    assert SubshiftEntropy.from_dict(found.to_dict()).summary() == found.summary()
    assert found.plot().get_xlabel() == "connected part"
