"""What is deleted when, and the check that the rest is whole."""
