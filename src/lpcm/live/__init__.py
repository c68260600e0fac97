"""Live values: numbers and containers that change what is stored."""
