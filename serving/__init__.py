"""Longtake's serving side: front door, Director, stages, store and media."""
