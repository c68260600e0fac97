"""eventlet's own WSGI server in two processes, for gunicorn has no eventlet workers any more."""

from __future__ import annotations

import sys


def main(port):
    """Listen, fork, and serve in both processes until SIGTERM."""
    import eventlet

    eventlet.monkey_patch()

    import os
    import signal

    from eventlet import wsgi

    from tests.applications.app import application

    listener = eventlet.listen(("127.0.0.1", port))
    child = os.fork()
    asked_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.append(1))
    server = eventlet.spawn(wsgi.server, listener, application, log_output=False)
    while not asked_to_end:  # an exception out of the handler would end one request only
        eventlet.sleep(0.1)
    server.kill()
    if child:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
