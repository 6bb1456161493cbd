"""Whether a new job may queue: bounds, rates, what waits already, and when it would be done."""
