"""The wires. Each folder turns its messages into a `Draft`, and records into its answers; none knows of another."""
