"""Traces: what a create and its job took, as spans for an OpenTelemetry collector. Off unless the environment asks."""
