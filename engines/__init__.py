"""Longtake's engines: model families, their compiled components, and the store that holds them."""
