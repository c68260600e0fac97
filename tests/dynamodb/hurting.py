"""A transport that does to requests what a plan says, and passes the rest on to a real one."""

from __future__ import annotations

from copy import deepcopy

from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.port import NotSent, Reply, ReplyLost

THROTTLED = Reply(400, {}, "ProvisionedThroughputExceededException", 0, 0)
FAILED = Reply(500, {}, "InternalServerError", 0, 0)


class Hurting:
    """``plan``: for each operation, what happens to its first requests; then all goes well.

    ``unsent``, ``throttled``: not applied, and said so. ``lost``, ``failed``: not applied.
    ``lost after``, ``failed after``: applied. ``late``: applied when ``arrive`` is called.
    ``unprocessed``: of a batch, all but the first part is left undone. A ``Reply`` is the
    reply, the request not being passed on.
    """

    blocking = True

    def __init__(self, inner, **plan):
        self.inner = inner
        self.endpoint = inner.endpoint
        self.plan = plan
        self.calls = []
        self.slept = []
        self.late = []

    def sent(self, operation):
        return self.calls.count(operation)

    def renew(self):
        self.inner.renew()

    async def call(self, operation, request, within):
        self.calls.append(operation)
        plan = self.plan.get(operation)
        fault = plan.pop(0) if plan else None
        pass_on = lambda: self.inner.call(operation, request, 20.0)
        match fault:
            case None:
                return await pass_on()
            case "unsent":
                raise NotSent("no route to host")
            case "throttled":
                return THROTTLED
            case "lost":
                raise ReplyLost("the connection was closed")
            case "failed":
                return FAILED
            case "lost after":
                await pass_on()
                raise ReplyLost("the connection was closed")
            case "failed after":
                await pass_on()
                return FAILED
            case "late":
                self.late.append((operation, deepcopy(request)))
                raise ReplyLost("timed out")
            case "unprocessed":
                return await self._in_part(operation, request)
            case Reply():
                return fault
        raise AssertionError(fault)

    async def _in_part(self, operation, request):
        ((table, asked),) = request["RequestItems"].items()
        if operation == "BatchGetItem":
            keys = asked["Keys"]
            some, rest = {**asked, "Keys": keys[:1]}, {**asked, "Keys": keys[1:]}
            left, there = "UnprocessedKeys", keys[1:]
        else:
            some, rest = asked[:1], asked[1:]
            left, there = "UnprocessedItems", asked[1:]
        reply = await self.inner.call(operation, {"RequestItems": {table: some}}, 20.0)
        return reply._replace(body={**reply.body, left: {table: rest} if there else {}})

    def arrive(self):
        """Let what is late arrive."""
        for operation, request in self.late:
            run(self.inner.call(operation, request, 20.0))
        self.late.clear()

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await self.inner.sleep(min(seconds, 0.002))

    def close(self):
        self.inner.close()
