"""Media: fetched under guard, decoded in a locked-down child, encoded into fragments, joined without a copy."""
