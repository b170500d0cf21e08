"""Every number about a run, computed from its prediction tables and from nothing else."""
