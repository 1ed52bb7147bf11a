"""Pure functions from maps, trajectories, series, symbols and weights to frozen results; surrogates for their nulls."""
