"""Fuzzing that is led by coverage: what reads strangers' bytes must answer or refuse, and never raise anything else."""
