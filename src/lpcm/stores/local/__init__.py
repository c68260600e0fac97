"""Stores in this process: memory, and the updates of JSON text that SQLite shares."""
