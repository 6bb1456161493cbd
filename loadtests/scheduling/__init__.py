"""A simulated engine and its queue, in which orders of work are compared."""
