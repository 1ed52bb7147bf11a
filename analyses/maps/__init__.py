"""Analyses that take (dynamics, states).

==================  ====================================================================================================
fixed_points        where the map rests: every root of F(x) = x, and how each start ended
cycles              what it repeats: roots of F^k(x) = x, distinct up to phase
slow_points         where it nearly rests: minima of the speed, ghosts of folds
continua            the curve of slow points through a point: line, ring or neither
stability           what each rest does: stable, saddle or unstable; node or focus; time constants
index               are they all there: the index sum on a trapping box
certificates        are they really there: existence, uniqueness and stability, proved
absence             where it does not rest: a box proved free of fixed points, a list proved complete
contraction         does every step bring states closer: a metric and a rate, proved, or the failing state
lyapunov_functions  is V a Lyapunov function: a counterexample, a proof outside a shell, or neither
basins              which share of the starts ends on which attractor, and the basins in a plane
loop_attractors     where a loop of encode and decode ends, from data and from noise, and what it does there
memorisation        whether decoded attractors come nearer to the training data than other points do
distribution_score  which inputs a network did not learn, by their trajectories and by simpler scores
attractor_account   whether the attractors say where held-out starts end
boundaries          what separates two attractors: the edge state, and the stable manifold of the saddle
kicks               the smallest kick that turns one memory into another
continuation        how rests move, vanish and turn unstable over one parameter
jacobian_spectra    eigenvalues and singular values of the slope along states
part_exchange       which parts of the state carry what a network goes on with: put in from other runs
unit_effects        which units what a network says depends on: each silenced alone, the smallest group that matters
windowed_products   how much neighbours part over w steps: singular values of Jacobian products
block_spectra       how each block of a stack stretches, turns and mixes, and whether blocks act along common directions
depth_growth        how far a deviation grows through a stack, and into how few directions it is funnelled
forcing_strength    how strongly data must pull for gradients along them to stay bounded
gradient_growth     how a loss's gradient grows or vanishes with the unroll
loss_slices         is the loss smooth in a parameter, or rough
lyapunov            how fast neighbours part, with standard errors
state_exponents     how fast a state-space layer forgets, in closed form
exponent_curve      how the exponents change with a parameter, and the scatter between runs
stated_spectrum     can these be its exponents: printed numbers against measured ones and identities
memory_function     how long it remembers a change of its input, and by which law it forgets
covariant_vectors   the directions in which neighbours part, and the angles between them
carriers            which connections carry the leading exponents
alignment           chaotic or regular, by the volume that deviation vectors span (GALI)
teleport            whether a stack of layers pulls a displaced state back to its path
geometry            which inputs write to which directions, and which the readout reads
transitions         which input takes which memory to which
network_comparison  which networks are the same up to coordinates: distances of their orbits and eigenvalues
unit_ablation       what is lost when units fall silent: changes of the output, beside random and like units
==================  ====================================================================================================
"""
