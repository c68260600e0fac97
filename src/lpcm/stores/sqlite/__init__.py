"""SQLite as a store: the file, its statements, and the store over them."""
