"""Programs that run inside the sandbox; they import nothing of ours, and nothing imports them."""
