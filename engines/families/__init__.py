"""Model families: one folder for each, all under the contract of `base.py`."""
