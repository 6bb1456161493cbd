"""One module per question. Each has `NAME` and `run(scale) -> list[Row]`, and runs alone with `--only NAME`."""
