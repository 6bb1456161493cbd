"""Who is next. Pure: no store, no event loop, and the time is handed in."""
