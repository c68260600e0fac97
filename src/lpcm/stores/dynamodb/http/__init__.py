"""DynamoDB over HTTP: signed requests on connections of our own, or a boto3 client's."""
