"""Longtake on one machine: `longtake up` and what a program embeds. Processes are started, kept alive, and ended."""
