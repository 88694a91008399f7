"""Records to findings: pure functions that read spans and totals and touch nothing else."""
