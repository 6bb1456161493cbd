"""What every call passes: who calls, how errors become statuses, what is measured, where it listens."""
