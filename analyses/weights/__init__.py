"""Analyses that take weights, or their history over training, and run nothing.

===================  ===================================================================================================
neuron_multifractal  how heterogeneous are the weights around each unit, and how much of that survives a shuffle
outliers             which eigenvalues leave the bulk in training, when, and whether by a change of low rank
perturbation_error   how far weights can be moved before the error is as large as what was learned, by their number
token_flow           where tokens go when a selective layer is applied without end: fates beside the regime's prediction
token_regime         do tokens flow together or apart: signs of the spectrum of S_C' S_B, and what forces them
===================  ===================================================================================================
"""
