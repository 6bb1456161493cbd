"""One file per question; each has `run() -> list[Row]`. `python -m loadtests` runs them and prints one table."""
