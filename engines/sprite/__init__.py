"""The sprite model: a small video model that is shipped with its world, its training and its scoring.

The family in `engines/families/sprite/family.py` serves it; `world`, `captions`, `packing`, `reference`, `decode`
and `score` need numpy alone, while `vae`, `dit`, `data`, `optim`, `graphs` and the two training programs
need torch.
"""
