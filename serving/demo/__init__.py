"""The demo: start Longtake, make videos of every kind, and show them on one page."""
