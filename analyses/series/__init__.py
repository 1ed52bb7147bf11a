"""Analyses that take an array of recorded series, and no map; of a Trajectory every unit of every run is a series.

===============  ========================================================================================================
change_point     when a series changes, whether at all and abruptly, and which of two changes comes first
complexity       how hard to write down: Lempel-Ziv phrases, sample entropy, compressed size of the coarse
delay_embedding  in how many delayed copies a series unfolds: Cao's E1 and E2, beside noise of the same spectrum
divergence       how fast neighbours part, from data alone: the stretch curve and its linear range, or none
falls            when curves of a training fall for good, and whether they fall together
long_range       how far it remembers: S, H by R/S, J and DFA, calibrated against fractional noise, beside shuffles
multifractal     whether fluctuations scale, with how many exponents, and with more than shuffled or linear noise has
odd_one_out      is one of these networks unlike the others: mean distances beside one Gaussian cloud
ordinal          how random the order of values is, and how structured: permutation entropy, complexity, absent patterns
paired           is one number larger than another over the same things: differences within pairs, exact sign test
replication      does what one network shows hold over networks and checkpoints: counts beside binomial chance
wavelet_leaders  are the singularities of one strength or of many: c1, c2, c3 and h(q) by wavelet (p-)leaders, with nulls
zero_one         does a series move regularly or irregularly: the 0-1 test, K near 0 or near 1
===============  ========================================================================================================
"""
