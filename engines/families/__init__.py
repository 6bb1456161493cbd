"""Model families: one folder for each, all under the contract of `base.py`; `registry.py` names them."""
