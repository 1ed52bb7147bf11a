import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from hooks.coordinates import unexplained
from hooks.dictionary import Dictionary, feature_increments, load_dictionary
from hooks.dynamics import Dynamics
from hooks.errors import InputError, LoadError
from hooks.tangent import jacobian, push

WIDTH, FEATURES = 6, 20


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


W = {
    "W_enc": some(WIDTH, FEATURES),
    "b_enc": some(FEATURES, seed=1),
    "W_dec": some(FEATURES, WIDTH, seed=2),
    "b_dec": some(WIDTH, seed=3),
}
STATES = some(5, WIDTH, seed=4)


def sae_lens(folder, tensors=W, **settings):
    folder.mkdir(exist_ok=True)
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": WIDTH, "d_sae": FEATURES, **settings}))
    return folder


def dictionary_learning(folder, dict_class, tensors, **settings):
    folder.mkdir(exist_ok=True)
    torch.save(tensors, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": dict_class, **settings}}))
    return folder


LAYERS = {"encoder.weight": W["W_enc"].T, "encoder.bias": W["b_enc"], "decoder.weight": W["W_dec"].T}


def largest(pre, k):
    """The k largest of relu(pre) in each row, the rest zero, by sorting."""
    limit = pre.relu().sort(dim=1, descending=True).values[:, k - 1 : k]
    return torch.where(pre.relu() >= limit, pre.relu(), torch.zeros(()))


centred = (STATES - W["b_dec"]) @ W["W_enc"] + W["b_enc"]
plain = STATES @ W["W_enc"] + W["b_enc"]
norms = W["W_dec"].norm(dim=1)
threshold = some(FEATURES, seed=5).abs()
# the libraries' own definitions, written out: SAELens 6.54 (saes/*.py), dictionary_learning 0.1.0 (dictionary.py, trainers/)
CASES = {
    "standard": (lambda at: sae_lens(at, architecture="standard", apply_b_dec_to_input=True), centred.relu()),
    "standard, not centred": (lambda at: sae_lens(at, apply_b_dec_to_input=False), plain.relu()),
    "jumprelu": (
        lambda at: sae_lens(at, {**W, "threshold": threshold}, architecture="jumprelu", apply_b_dec_to_input=False),
        plain.relu() * (plain > threshold),
    ),
    "topk": (lambda at: sae_lens(at, architecture="topk", k=3), largest(centred, 3)),
    "topk by the decoder's norm": (
        lambda at: sae_lens(at, architecture="topk", k=3, rescale_acts_by_decoder_norm=True),
        largest(centred * norms, 3),
    ),
    "topk of version 5": (
        lambda at: sae_lens(at, architecture="standard", activation_fn_str="topk", activation_fn_kwargs={"k": 4}),
        largest(centred, 4),
    ),
    "AutoEncoder": (
        lambda at: dictionary_learning(at, "AutoEncoder", {**LAYERS, "bias": W["b_dec"]}),
        centred.relu(),
    ),
    "AutoEncoderNew": (
        lambda at: dictionary_learning(at, "AutoEncoderNew", {**LAYERS, "decoder.bias": W["b_dec"]}),
        plain.relu(),
    ),
    "AutoEncoderTopK": (
        lambda at: dictionary_learning(
            at,
            "AutoEncoderTopK",
            {**LAYERS, "b_dec": W["b_dec"], "k": torch.tensor(2), "threshold": torch.tensor(-1.0)},
        ),
        largest(centred, 2),
    ),
    "BatchTopKSAE": (
        lambda at: dictionary_learning(
            at,
            "BatchTopKSAE",
            {**LAYERS, "b_dec": W["b_dec"], "k": torch.tensor(2), "threshold": torch.tensor(0.7)},
            k=2,
        ),
        centred.relu() * (centred > 0.7),
    ),
    "MatryoshkaBatchTopKSAE": (
        lambda at: dictionary_learning(
            at,
            "MatryoshkaBatchTopKSAE",
            {**W, "k": torch.tensor(2), "threshold": torch.tensor(-1.0), "group_sizes": torch.tensor([5, 15])},
        ),
        centred.relu(),
    ),
    "JumpReluAutoEncoder": (
        lambda at: dictionary_learning(at, "JumpReluAutoEncoder", {**W, "threshold": threshold}),
        plain.relu() * (plain > threshold),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_files_give_the_codes_of_their_libraries(case, tmp_path):
    save, codes = CASES[case]
    found = load_dictionary(save(tmp_path / "saved"))
    # float32 sums of a few terms of size 1 to 10
    torch.testing.assert_close(found.encode(STATES), codes, atol=1e-4, rtol=0)
    scale = norms if "norm" in case else torch.ones(FEATURES)
    expected = (codes / scale) @ W["W_dec"] + W["b_dec"]
    torch.testing.assert_close(found.decode(codes), expected, atol=1e-4, rtol=0)
    assert found.features == FEATURES and (codes > 0).any() and (codes == 0).any()


def test_the_file_alone_is_read_with_what_lies_beside_it(tmp_path):
    folder = CASES["AutoEncoderTopK"][0](tmp_path / "saved")
    assert load_dictionary(folder / "ae.pt").k == 2
    assert load_dictionary(str(folder), dtype=torch.float64).W_dec.dtype == torch.float64
    (folder / "config.json").unlink()
    with pytest.raises(LoadError, match=r"needs config\.json beside it, which says how"):
        load_dictionary(folder)


def test_a_dictionary_of_all_signs_loses_nothing_and_is_the_same_map():
    # x = relu(x) - relu(-x): features +e_i and -e_i
    eye = torch.eye(3, dtype=torch.float64)
    both = torch.cat([eye, -eye])
    zeros = torch.zeros(6, dtype=torch.float64)
    exact = Dictionary(both.T, zeros, both, zeros[:3], zeros)
    dynamics = Dynamics(lambda x, _: torch.tanh(x @ eye.roll(1, 0)), 3)
    codes = exact.encode(some(4, 3).double())
    through = dynamics.through(exact.encode, exact.decode)
    torch.testing.assert_close(exact.decode(through(codes)), dynamics(exact.decode(codes)), atol=1e-14, rtol=0)
    assert unexplained(some(4, 3).double(), exact.encode, exact.decode) == 0
    tangents = some(4, 6, 2).double()
    torch.testing.assert_close(
        push(through, codes, tangents)[1], jacobian(through, codes) @ tangents, atol=1e-12, rtol=0
    )
    ranked = Dictionary(both.T, zeros, both, zeros[:3], zeros, k=2)
    through = dynamics.through(ranked.encode, ranked.decode)
    torch.testing.assert_close(
        push(through, codes, tangents)[1], jacobian(through, codes) @ tangents, atol=1e-12, rtol=0
    )


def test_features_and_remainder_add_up_to_the_increment(tmp_path):
    found = load_dictionary(CASES["topk"][0](tmp_path / "saved"))
    before, after = some(9, WIDTH, seed=6), some(9, WIDTH, seed=7)
    split = feature_increments(found, before, after)
    torch.testing.assert_close(split.changes @ found.W_dec + split.remainder, after - before, atol=1e-5, rtol=0)
    assert split.unexplained == pytest.approx(float(split.remainder.norm() ** 2 / (after - before).norm() ** 2))
    assert ((split.changes != 0).sum(1) <= 6).all()  # three features before and three after
    with pytest.raises(InputError, match="none of the 9 states moves"):
        feature_increments(found, before, before)


def test_what_is_no_pair_of_encode_and_decode_is_refused(tmp_path):
    refused = {
        "gated": lambda at: sae_lens(at, {**W, "r_mag": W["b_enc"]}, architecture="gated"),
        "normalised by 'layer_norm'": lambda at: sae_lens(at, normalize_activations="layer_norm"),
        r"holds \['W_dec', 'W_enc', 'b_dec', 'b_enc', 'scaling_factor'\]": lambda at: sae_lens(
            at, {**W, "scaling_factor": W["b_enc"]}
        ),
        "does not say how many of its 20": lambda at: sae_lens(at, architecture="topk"),
        "do not fit each other": lambda at: sae_lens(at, {**W, "W_enc": W["W_enc"].T}),
        "holds no sparse dictionary": lambda at: at.mkdir() or at,
    }
    for number, (said, save) in enumerate(refused.items()):
        with pytest.raises(LoadError, match=said):
            load_dictionary(save(tmp_path / str(number)))
    folder = CASES["AutoEncoder"][0](tmp_path / "pickled")
    (folder / "ae.pt").write_bytes(pickle.dumps(Exploding()))
    with pytest.raises(LoadError, match="would execute code"):
        load_dictionary(folder)


class Exploding:
    def __reduce__(self):
        return exec, ("raise SystemExit('this ran')",)
