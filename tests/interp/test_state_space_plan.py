"""A page on a Mamba holds its residual stream and its states; the whole state carries the whole continuation."""

import numpy as np
import pytest

from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.maps.part_exchange import PartExchange
from analyses.maps.state_exponents import StateExponents
from analyses.weights.token_regime import TokenRegime
from hooks.families import state_space_model
from interp.journal import Journal
from interp.page import read
from interp.residual_plan import stack_report
from interp.state_space_plan import exchanged, is_state_space, state_space, state_space_account
from tests.tiny import VOCABULARY, tiny

TEXTS = list(np.random.default_rng(0).integers(0, VOCABULARY, (6, 24)))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """In closed loop, so that no push is compiled."""
    monkeypatch.setattr("interp.state_space_plan.STEPS", 8)


def kinds(journal):
    return [type(result) for result in journal.results.values()]


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_every_layer_the_loop_and_the_exchange_are_noted(name):
    journal = Journal()
    assert state_space(journal, tiny(name), TEXTS) == ()
    per_layer = [StateExponents, TokenRegime] if name == "mamba" else [StateExponents]
    assert kinds(journal) == 3 * per_layer + [LyapunovSpectrum, PartExchange]
    exponents = [result for result in journal.results.values() if isinstance(result, StateExponents)]
    assert all((one.exponents < 0).all() for one in exponents)  # arXiv 2406.00209, theorems 1 and 2
    parts = journal.results["parts of the state exchanged"]
    assert parts.checks[0].passed and parts.names[:2] == ("all recurrent states", "all convolutions")
    assert len(state_space_account(journal.results)) == len(journal.results)


def test_the_parts_are_all_of_the_state_but_what_is_said():
    model = tiny("mamba")
    dynamics = state_space_model(model)
    parts = exchanged(model, dynamics)
    both = np.concatenate([parts["all recurrent states"], parts["all convolutions"]])
    assert sorted(both.tolist()) == list(range(dynamics.dim - 32))  # the last norm's output is no memory
    layers = np.concatenate([parts[f"state of layer {layer}"] for layer in range(3)])
    assert layers.tolist() == parts["all recurrent states"].tolist()


def test_texts_that_are_too_short_are_said_and_a_transformer_has_no_states():
    journal = Journal()
    assert "fewer than two texts have 8 tokens" in state_space(journal, tiny("mamba"), [TEXTS[0], TEXTS[1][:5]])[0]
    assert journal.findings == () and not is_state_space(tiny("gpt2")) and is_state_space(tiny("mamba2"))


def test_a_report_of_a_mamba_says_what_its_states_do(tmp_path):
    np.save(tmp_path / "texts.npy", np.stack(TEXTS))
    written = stack_report(tiny("mamba"), tmp_path / "texts.npy", twins=0, out=tmp_path / "page")
    assert any(sentence.startswith("Causal test: ") for sentence in written.sentences)
    assert any(sentence.startswith("Exponents of the state of layer 2: 256 of 256") for sentence in written.sentences)
    assert read(tmp_path / "page").sentences == written.sentences
