"""Keys and values: what a key or a value is as text or bytes, and back. Knows no store."""
