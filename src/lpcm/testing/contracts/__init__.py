"""What every adapter and every map is held to, for authors of adapters."""
