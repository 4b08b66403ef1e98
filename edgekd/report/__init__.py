"""What a person reads: one HTML page and a terminal summary."""
