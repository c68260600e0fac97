"""Tables on the engines: one for each engine and test process, emptied for each test."""

from __future__ import annotations

from lpcm.engine.drive import run

REGION = "eu-west-1"
TABLE = "lpcm"


class Table:
    """A table on an engine, and requests to it past the store."""

    def __init__(self, endpoint, name=TABLE):
        # Here, so that tests of other stores can import this module without the extra's packages.
        from lpcm.stores.dynamodb.http.blocking import SocketTransport
        from lpcm.stores.dynamodb.http.credentials import Credentials
        from lpcm.stores.dynamodb.table.table import create_table

        self.endpoint = endpoint
        self.name = name
        self.url = f"dynamodb://{name}?region={REGION}&endpoint={endpoint}"
        self.transport = SocketTransport(Credentials(REGION, endpoint))
        run(create_table(self.transport, name))

    def call(self, operation, **request):
        """Send a request that must succeed; return its reply's body."""
        reply = run(self.transport.call(operation, request, 20.0))
        assert reply.status == 200, reply
        return reply.body

    def items(self):
        """Return all there is."""
        found, start = [], {}
        while True:
            body = self.call("Scan", TableName=self.name, ConsistentRead=True, **start)
            found += body["Items"]
            if "LastEvaluatedKey" not in body:
                return found
            start = {"ExclusiveStartKey": body["LastEvaluatedKey"]}

    def empty(self):
        """Delete all there is."""
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in self.items()]
        for at in range(0, len(keys), 25):
            requests = [{"DeleteRequest": {"Key": key}} for key in keys[at : at + 25]]
            self.call("BatchWriteItem", RequestItems={self.name: requests})

    def open(self, **options):
        """Open a store on it, as it is."""
        from lpcm.stores.dynamodb.open import open_store

        return open_store(self.name, region=REGION, endpoint=self.endpoint, **options)

    def close(self):
        self.transport.close()
