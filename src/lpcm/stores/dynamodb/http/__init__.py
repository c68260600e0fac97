"""DynamoDB over HTTP: signed requests on lpcm's own connections, or on a boto3 client's."""
