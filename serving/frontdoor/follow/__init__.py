"""How a job stands: its record from memory or the store, and what the Director tells while it works."""
