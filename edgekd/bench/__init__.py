"""Measuring: the plan, the agent that runs on the board, and the session that brings the samples home."""
