"""Keys and values: from Python objects to text or bytes, and back. Knows no store."""
