"""From weights to engines that may be published: export, lint, compile, verify."""
