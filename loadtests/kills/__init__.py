"""Real jobs on a real Longtake while its processes are killed and stopped: nothing may be lost."""
