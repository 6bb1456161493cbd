"""Checkpoints as they are published: a folder of configurations and safetensors, looked at without loading a weight."""
