"""Analyses that read a map as discrete: linear regions, words, graphs.

=====================  ====================================================================
almost_linear_fit      piecewise-linear recurrences trained on a recording, many runs and numbers of rectified units at once
exact_cycles           every cycle of a piecewise-linear map up to a period, by its symbol words, with a proof
exact_fixed_points     every fixed point of a piecewise-linear map, and a proof that there is no other
region_table           what each linear region does: share of time, fixed point, eigenvalues
regions                the linear regions visited: occupancy, coverage, dwell times, jumps
swap_test              whether classes of states mean something to the network itself: states exchanged within and across them
symbolic_graph         which region leads to which, with intervals; GraphML, DOT and JSON text
word_search            cycles of longer words, searched from drawn words or recorded states
=====================  ====================================================================
"""
