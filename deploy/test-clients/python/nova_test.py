"""This module starts `nova test` and sends requests to it. The module needs only the standard library; copy the module into your tests.

    from nova_test import Nova

    with Nova() as nova:
        nova.rows(users=[{"id": ADA}, {"id": BEN}], follows=[{"follower_id": ADA, "following_id": BEN}],
                  posts=[{"id": POST, "user_id": BEN}])
        assert nova.feed(ADA) == [POST]

Each call returns after its effect, so no test has to sleep. `docs/testing-with-nova.md` explains every call.
"""

import http.client
import json
import os
import subprocess
import urllib.parse


class NovaError(Exception):
    """The server refused a request. The text of the error is the text of the server."""

    def __init__(self, status, problem):
        detail = problem.get("detail", problem) if isinstance(problem, dict) else problem
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.problem = problem


class Nova:
    """A server for tests. Start the server once for many tests, and call reset(), which takes milliseconds, before each test.

    seed: files that it begins with, and that reset() goes back to. now: its clock at the beginning (RFC 3339).
    args: further arguments of `nova test`. binary: the program; else $NOVA_BIN, else `nova`.
    url: of a server that somebody else started, such as a container; then nothing is started or stopped.
    """

    def __init__(self, *, seed=(), now=None, args=(), binary=None, url=None):
        self._process = None
        if url is None:
            command = [binary or os.environ.get("NOVA_BIN", "nova"), "test", "--die-with-parent", *args]
            if now is not None:
                command += ["--now", now]
            for path in seed:
                command += ["--seed", os.fspath(path)]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"nova test ended with {self._process.wait()}; it said why on standard error")
            ready = json.loads(line)
            url, self.service_token, self.admin_token = ready["url"], ready["token"], ready["admin_token"]
            self.redis = ready["redis"]
        self.url = url
        address = urllib.parse.urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the server that this object started."""
        self._connection.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def request(self, method, path, body=None, token=None):
        """Sends a request to any route and returns the JSON of the answer. A refused request raises a NovaError."""
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
            if not isinstance(body, (str, bytes)):
                body = json.dumps(body)
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        value = json.loads(text) if text else None
        if not 200 <= answer.status < 300:
            raise NovaError(answer.status, value)
        return value

    # These methods read and move the clock.

    def now_ms(self):
        """Returns the server's clock in epoch milliseconds."""
        return self.request("GET", "/_test/clock")["now_ms"]

    def set_now(self, time):
        """Sets the clock to a time in RFC 3339 or epoch milliseconds."""
        self.request("PUT", "/_test/clock", {"now": time})

    def advance(self, *, hours=0, minutes=0, seconds=0, ms=0):
        """Moves the clock forward. The server does everything that is due by the new time."""
        total = ms + 1_000 * (seconds + 60 * (minutes + 60 * hours))
        self.request("POST", "/_test/clock/advance", {"ms": round(total)})

    # These methods send data to the server.

    def rows(self, **tables):
        """Sends rows of users, posts, follows, comments, likes and returns their outcomes; "op": "delete" deletes a row."""
        return self.request("POST", "/_test/rows", tables)

    def captures(self, lines):
        """Sends a capture (JSON lines, a Kafka record a line) and returns the outcomes by partition."""
        return self.request("POST", "/_test/captures", lines)

    def events(self, user, *events):
        """Sends client events of a user and publishes their effects. An event without event_time gets the present time."""
        now = None
        for event in events:
            if "event_time" not in event:
                now = self.now_ms() if now is None else now
                event["event_time"] = now
        taken = self.request("POST", "/api/v1/events", {"events": list(events)}, self.token(user))
        self.settle()
        return taken

    # These methods read data from the server.

    def feed(self, user):
        """Returns the first page of a user's feed as ids of posts."""
        return self.get("/api/v1/feed?limit=100", user)["posts"]

    def trending(self, window="24h"):
        """Returns the ids of the posts that trend in 1h, 6h, 24h or 7d."""
        page = self.request("GET", f"/api/v1/feed/trending?limit=200&window={window}")
        return [post["post_id"] for post in page["posts"]]

    def suggestions(self, user):
        """Returns the ids of the users whom nova suggests to a user."""
        page = self.get("/api/v1/discover/suggested-users?limit=100", user)
        return [suggested["user_id"] for suggested in page["users"]]

    def get(self, path, user):
        """Sends a GET to any route as a user, and returns the JSON of the answer."""
        return self.request("GET", path, token=self.token(user))

    # These methods control the server.

    def token(self, sub, **asked):
        """Makes a token for a user. Options are role="admin" or "service", ttl="5m", broken="expired" and others."""
        return self.request("POST", "/_test/token", {"sub": sub, **asked})["token"]

    def settle(self):
        """Waits until everything that was accepted is applied and published."""
        return self.request("POST", "/_test/settle")

    def snapshot(self, name):
        """Keeps a snapshot of the server, to which reset(name) returns."""
        return self.request("POST", "/_test/snapshot", {"name": name})

    def reset(self, name=None):
        """Brings the server back to the seed, or to a snapshot."""
        return self.request("POST", "/_test/reset", {} if name is None else {"name": name})

    def log(self, since=0):
        """Returns the log of the server: records with outcomes, pages with the reasons of their posts."""
        return self.request("GET", f"/_test/log?limit=10000&since={since}")

    def fault(self, **faults):
        """Sets faults, such as slow_commit_ms=200 or source_lag_ms=600000. A fault that the call leaves out ends.

        clickhouse={"status": 503} needs a server with args=["--clickhouse"]. Other values of clickhouse are
        {"code": 241, "times": 3}, {"refuses": True} and {"slow_ms": 500}.
        """
        return self.request("POST", "/_test/fault", faults)
