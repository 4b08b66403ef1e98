"""What a board says of itself: asked, compared with its profile, written down as one, and made ready to measure."""
