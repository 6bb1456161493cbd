"""Engines that a NVIDIA Triton Inference Server runs: `runner.py` calls one of them, and loads none itself."""
