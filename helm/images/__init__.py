"""How the container images are made. `build` makes them; the tests ask `packages.py`, too."""
