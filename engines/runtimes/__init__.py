"""One file per runtime, all under the contract of `base.py`."""
