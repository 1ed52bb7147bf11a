"""Analyses that read a map as discrete: linear regions, words, graphs.

==================  =======================================================================================================
active_learning     which automaton a network that reads symbols is, learned by asking it; a stated failure when it is none
almost_linear_fit   piecewise-linear recurrences trained on a recording, many runs and numbers of rectified units at once
automaton           a finite machine: minimal form, isomorphism, a shortest word told apart, distance; DOT, GraphML, AALpy
entropy             entropy rate of a symbolic sequence: block entropies, match lengths; per step, jump or turn
exact_cycles        every cycle of a piecewise-linear map up to a period, by its symbol words, with a proof
exact_fixed_points  every fixed point of a piecewise-linear map, and a proof that there is no other
forbidden_words     words that never occur although their parts do, tested against chance
graph_comparison    two symbolic graphs: edges, renamings, total variation beside its null
held_attractors     which machine the fixed points and cycles under held words make
hidden_markov       is a recording a hidden Markov chain, of how many states, beside a smooth process of its spectra
interchange         whether a network has the states of a machine: its states exchanged, its outputs as predicted
machine_comparison  whether automata found on several roads are the same, pair by pair, drawn side by side
machine_proof       whether a network says what a machine says after every word: an inductive invariant, proved
machine_verdict     how far a machine and a network agree, far beyond the lengths it was found on; a counterexample
markov_order        how far back the next symbol depends on the past, against exact shuffles
mode_recovery       whether symbols found without labels name the modes in which a system really was
prediction_excess   how far a predictor's loss is above the smallest possible one
region_table        what each linear region does: share of time, fixed point, eigenvalues
regions             the linear regions visited: occupancy, coverage, dwell times, jumps
replacement         what share of a network's performance its machine, surrogate or affine pieces recover
residency           how long what a network says lasts under fresh noise: clusters, kick zones, transitions
state_merging       how many states a network that reads symbols has: states after words merged, at every threshold
subshift            topological entropy of a graph that is exactly the grammar
swap_test           whether classes of states mean something to the network itself: states exchanged within and across them
symbolic_graph      which region leads to which, with intervals; GraphML, DOT and JSON text
transition_units    which units are off while an output lasts and on when it is about to change
word_search         cycles of longer words, searched from drawn words or recorded states
==================  =======================================================================================================
"""
