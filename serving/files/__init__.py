"""What clients upload and keep: files, their records, their bytes."""
