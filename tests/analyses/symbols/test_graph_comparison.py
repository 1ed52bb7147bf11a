import numpy as np
import pytest

from analyses.result import Outcome
from analyses.symbols.graph_comparison import GraphComparison, compare_graphs
from analyses.symbols.regions import regions
from hooks.errors import InputError
from tests.analyses.symbols.shifts import chain


def specimens():
    none = regions(np.zeros((1, 0), dtype=np.int64))
    return [compare_graphs(regions(chain(1, 900)), regions(chain(1, 900, 1)), draws=9), compare_graphs(none, none)]


def test_two_records_of_one_chain_differ_no_more_than_their_batches():
    found = compare_graphs(regions(chain(4, 2000)), regions(chain(4, 2000, 1)))
    assert found.alone == (0, 0) and found.isomorphic == "yes" and found.checks[0].passed
    assert not found.nulls[0].beaten and "no difference shown" in found.summary()
    assert found.total_variation < 0.1 and (found.halves < 0.1).all()


def test_the_null_rejects_as_often_as_it_should():
    """Of 60 pairs of records of one chain 3 at 5 %; more than 9 has probability 2e-3 (binomial)."""
    pairs = ((regions(chain(1, 1500, 2 * seed)), regions(chain(1, 1500, 2 * seed + 1))) for seed in range(60))
    assert sum(compare_graphs(*pair, draws=99).nulls[0].beaten for pair in pairs) <= 9


def test_a_chain_with_another_middle_is_told_apart():
    """Jumps 0 - 1 instead of 1 - 2 half of the time: same edges, other shares."""
    symbols = chain(4, 2000)
    found = compare_graphs(regions(symbols), regions(2 - symbols))
    assert found.alone == (0, 0) and found.nulls[0].beaten and found.total_variation > 0.3
    # renamed by rank it is the same record: nodes are ranked by visits, and 0 and 2 are renamed
    renamed = compare_graphs(regions(symbols), regions(2 - symbols), match="ranks")
    assert renamed.total_variation == 0.0 and renamed.spectral_distance < 1e-12 and renamed.isomorphic == "yes"


def test_distances_by_hand():
    """Jumps 01, 10, 01, 10 against 01, 12, 20: shares 1/2, 1/2 against thirds; one edge in both."""
    found = compare_graphs(regions([0, 1, 0, 1, 0]), regions([0, 1, 2, 0]), draws=9)
    assert found.total_variation == pytest.approx(2 / 3)
    assert found.alone == (1, 3)  # the edge 10; the node 2 and the edges 12, 20
    assert found.isomorphic == "no" and found.spectral_distance == pytest.approx(1.0)  # moduli 1, 1, 0 and 1, 1, 1
    assert found.outcome is Outcome.TOO_SHORT and found.nulls == () and "too few jumps" in found.summary()


def test_one_region_nothing_refusals_and_writing():
    one = compare_graphs(regions([0, 0, 0]), regions([0, 0]))
    assert np.isnan(one.total_variation) and one.isomorphic == "yes" and one.alone == (0, 0)
    with pytest.raises(InputError, match="match is names or ranks"):
        compare_graphs(regions([0]), regions([0]), draws=-1)
    found = compare_graphs(regions(chain(1, 900)), regions(chain(1, 900, 1)), draws=9)
    assert GraphComparison.from_dict(found.to_dict()).summary() == found.summary()
    assert found.plot().get_ylabel() == "second"
