"""The puzzles are what they should be, and the map that is analysed is the network that was trained."""

import torch

from case_studies.kuramoto_neurons import EASY, HARD, SHIPPED, grids, puzzles, random_states, shipped, split, trained


def test_there_are_288_grids_of_four_by_four():
    """Felgenhauer and Jarvis (2005) count 6.67e21 of nine by nine; of four by four there are 288 = 4! x 12."""
    assert len(grids()) == len({tuple(row) for row in grids().tolist()}) == 288
    shown, held_out = split()
    assert len(shown) == 188 and not {*map(tuple, shown.tolist())} & {*map(tuple, held_out.tolist())}


def test_every_puzzle_has_one_solution_and_as_many_cells_as_asked():
    for given in (EASY, HARD):
        answers, masks = puzzles(split()[1], 40, given, torch.Generator().manual_seed(0))
        assert set(masks.sum(1).tolist()) <= set(given)
        for answer, mask in zip(answers, masks, strict=True):
            assert (grids()[:, mask] == answer[mask]).all(1).sum() == 1


def test_the_map_is_the_trained_network():
    for seed in SHIPPED:
        module = shipped(seed)
        answers, masks = puzzles(split()[1], 8, HARD, torch.Generator().manual_seed(0))
        states, stimulus = random_states(8, torch.Generator().manual_seed(1)), module.stimulus(answers, masks)
        stepped = module.oscillators().dynamics()(states.double(), stimulus.double())
        assert (module(states, stimulus) - stepped).abs().max() < 1e-5  # float32 sums of 512 terms of size one


def test_training_lowers_what_is_said_wrong():
    module = trained(0, updates=80)
    answers, masks = puzzles(split()[0], 50, EASY, torch.Generator().manual_seed(0))
    states, stimulus = random_states(50, torch.Generator().manual_seed(1)), module.stimulus(answers, masks)
    for _ in range(8):
        states = module(states, stimulus)
    right = (module.scores(states).argmax(-1) == answers)[~masks].float().mean()
    assert right > 0.31  # a quarter by chance, with a standard error of 0.02 over some 400 cells
