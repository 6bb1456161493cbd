"""Attacks on a running front door, and what a bystander feels of them: `python -m loadtests.abuse`."""
