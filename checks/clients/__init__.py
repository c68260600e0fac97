"""Other libraries over maps, as docs/howto/under-other-libraries.md shows them."""
