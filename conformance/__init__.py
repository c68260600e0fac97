"""The DynamoDB store's contracts where ``make test`` does not run them: on AWS."""
