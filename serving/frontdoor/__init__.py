"""The front door: stateless processes that take requests, make jobs durable, and answer polls. No Ray inside."""
