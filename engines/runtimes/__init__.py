"""One file per runtime, all under the contract of `base.py`, found by name through `registry.py`."""
