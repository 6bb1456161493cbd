"""How the sprite-2 model is trained and scored. Nothing that serves imports this."""
