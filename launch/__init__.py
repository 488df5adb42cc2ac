"""Where the rooms meet: what a user starts, and what a node runs."""
