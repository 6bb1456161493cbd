"""The five stages that turn a prompt into a video, and what they and the Director say to each other. No Ray inside."""
