"""DynamoDB as a store: the adapter of the scheme ``dynamodb``."""
