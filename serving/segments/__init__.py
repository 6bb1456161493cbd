"""Segments as the store holds them: manifests that name their parents, so that a video is a path."""
