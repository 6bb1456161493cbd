"""What is to be done and told, decided from what was gathered. Pure: no client, no clock."""
