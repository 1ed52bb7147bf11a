"""Analyses that take (dynamics, states).

=====================  ====================================================================
fixed_points           where the map rests: every root of F(x) = x, and how each start ended
cycles                 what it repeats: roots of F^k(x) = x, distinct up to phase
stability              what each rest does: stable, saddle or unstable; node or focus; time constants
index                  are they all there: the index sum on a trapping box
certificates           are they really there: existence, uniqueness and stability, proved
jacobian_spectra       eigenvalues and singular values of the slope along states
lyapunov               how fast neighbours part, with standard errors
geometry               which inputs write to which directions, and which the readout reads
transitions            which input takes which memory to which
=====================  ====================================================================
"""
