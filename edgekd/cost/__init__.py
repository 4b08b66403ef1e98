"""What a student costs: exact counts, a predicted latency, and a fit to what was measured."""
