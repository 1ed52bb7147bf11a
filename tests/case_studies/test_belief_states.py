"""The shipped networks predict as the study claims, and their stream is recorded where the study says."""

import numpy as np
import pytest

from analyses.symbols.prediction_excess import prediction_excess
from case_studies.belief_states import CONTEXT, LAYERS, PROCESSES, SITES, heard, shipped, untrained
from hooks.stack import record_stream, stack_of


@pytest.mark.parametrize("name", PROCESSES)
def test_the_shipped_network_is_within_a_per_cent_of_the_entropy_and_an_untrained_one_is_not(name):
    """Over all histories of six tokens, each weighted by its probability: nothing is sampled."""
    process = PROCESSES[name]
    words, share = process.histories(6)
    truth = process.next_tokens(process.beliefs(words))
    learned, random = (
        prediction_excess(heard(module, words, SITES[-1:])[0], truth, weights=share)
        for module in (shipped(name), untrained(name, 0))
    )
    assert learned.share < 0.01 < 0.1 < random.share


def test_two_ways_to_record_the_stream_agree():
    """Outputs of named submodules, and the stack's own sites: equal bit for bit, but for the size of the batch."""
    module = untrained("Mess3", 0)
    words, _ = PROCESSES["Mess3"].histories(3)
    _, stream = heard(module, words, SITES)
    recorded = record_stream(stack_of(module.model), words, batch=len(words)).states
    assert len(SITES) == LAYERS + 1 and CONTEXT >= 3
    np.testing.assert_allclose(stream, recorded.reshape(len(words), 3, -1), atol=1e-6)
