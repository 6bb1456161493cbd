"""The services of `longtake.v1`, Longtake's own API."""
