"""Analyses that take an array of recorded series, and no map.

=====================  ====================================================================
zero_one               does a series move regularly or irregularly: the 0-1 test, K near 0 or near 1
complexity             how hard to write down: Lempel-Ziv phrases, sample entropy, compressed size of the coarse
delay_embedding        in how many delayed copies a series unfolds: Cao's E1 and E2, beside noise of the same spectrum
divergence             how fast neighbours part, from data alone: the stretch curve and its linear range, or none
long_range             how far it remembers: S, H by R/S, J and DFA, calibrated against fractional noise, beside shuffles
multifractal           whether fluctuations scale, with how many exponents, and with more than shuffled or linear noise has
ordinal                how random the order of values is, and how structured: permutation entropy, complexity, absent patterns
replication            does what one network shows hold over networks and checkpoints: counts beside binomial chance
wavelet_leaders        are the singularities of one strength or of many: c1, c2, c3 and h(q) by wavelet (p-)leaders, with nulls
=====================  ====================================================================
"""
