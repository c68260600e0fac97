"""Template tags of the browse page."""
