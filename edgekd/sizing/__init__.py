"""Which students fit: the space, the Pareto set, and the choice."""
