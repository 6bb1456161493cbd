"""The Director: claims jobs, orders them, and runs each through the stages. It handles keys and never a tensor."""
