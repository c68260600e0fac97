"""Values over DynamoDB's 400 KB."""
