"""Boards on the wire: one `Host` protocol, reached locally or over SSH."""
