"""The custom resources, as pydantic models. `schema.py` makes their CRDs of them, which the chart installs."""
