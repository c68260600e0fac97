"""Values over a store's limit: stored in parts, read as wholes, swept where no head names them."""
