"""A real Triton Inference Server for tests."""
