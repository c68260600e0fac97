"""The operations of a map on Python keys and values, each once, as a coroutine."""
