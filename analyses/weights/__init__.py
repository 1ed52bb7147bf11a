"""Analyses that take weights.

=====================  ====================================================================
token_regime           do tokens flow together or apart: signs of the spectrum of S_C' S_B, and what forces them
token_flow             where tokens go when a selective layer is applied without end: fates beside the regime's prediction
=====================  ====================================================================
"""
