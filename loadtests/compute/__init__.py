"""What computes, apart from all that serves: engines beside torch, and their loop beside diffusers' own."""
