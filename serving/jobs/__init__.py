"""Jobs as the store holds them: records, leases, the Director's epoch, histories and dead letters."""
