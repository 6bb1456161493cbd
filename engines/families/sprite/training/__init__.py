"""How the sprite model was trained and is scored. Nothing that serves imports this."""
