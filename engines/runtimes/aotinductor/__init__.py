"""AOTInductor: torch's own compiler, ahead of time, for CPUs and for GPUs."""
