"""Figures of following PostgreSQL directly, on a real server in a database of their own, which is dropped afterwards.

    NOVA_TEST_POSTGRES=postgres://… .ci/postgres_figures.py target/release/nova [fresh] [live] [snapshot] [foreign]

fresh     COMMIT of a post to a follower's feed over HTTP, 300 rounds, and one post after another
live      a backlog of likes: nova to its commit, beside pg_recvlogical of a slot of the same publication to nowhere
snapshot  rows a second of the first copy, and nova's memory in each second
foreign   what the slot holds back after 1 GiB of other tables' log
Sizes: ROUNDS, LIKES, ROWS, FOREIGN_MIB in the environment.
"""

import contextlib, http.client, json, os, shutil, signal, subprocess, sys, tempfile, time, uuid

SERVER = os.environ["NOVA_TEST_POSTGRES"].rsplit("/", 1)[0]
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMA = os.path.join(HERE, "deploy/postgres/10-schema.sql")
PUBLISHED = "users (id, username, email_verified, is_active, created_at, updated_at, deleted_at), posts, follows, comments, likes"
PATIENCE_S = 600
TRANSACTION_LIKES = 100
USERS, POSTS = 20_000, 5_000


def size(name, usual):
    return int(os.environ.get(name, usual))


class Place:
    """A database, and a nova that follows it."""

    def __init__(self, nova):
        self.nova, self.name, self.child = nova, "figures%08x" % (uuid.uuid4().int & 0xFFFFFFFF), None
        self.data = tempfile.mkdtemp(prefix=self.name)
        self.sql("CREATE DATABASE " + self.name, "postgres")
        subprocess.run(["psql", f"{SERVER}/{self.name}", "-q", "-f", SCHEMA], check=True, capture_output=True)
        self.sql(f"CREATE PUBLICATION {self.name} FOR TABLE {PUBLISHED}")
        self.open = subprocess.Popen(
            ["psql", f"{SERVER}/{self.name}", "-qAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def sql(self, text, database=None):
        url = f"{SERVER}/{database or self.name}"
        done = subprocess.run(["psql", url, "-qAt", "-v", "ON_ERROR_STOP=1", "-c", text], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{text}: {done.stderr}")
        return done.stdout.strip()

    def commit(self, text):
        """In the session that is open: returns at the answer to the COMMIT."""
        self.open.stdin.write(text + ";\n\\echo done\n")
        self.open.stdin.flush()
        while self.open.stdout.readline().strip() != "done":
            pass

    def environment(self):
        names = {"NOVA_POSTGRES_SLOT": self.name, "NOVA_POSTGRES_PUBLICATION": self.name, "NOVA_LIMITS_ENABLED": "false"}
        return {"PATH": os.environ["PATH"], "NOVA_POSTGRES_SSL_MODE": "disable", **names}

    def start(self):
        self.begun = time.perf_counter()
        command = [self.nova, "--data", self.data, "serve", "--listen", "127.0.0.1:0", "--postgres", f"{SERVER}/{self.name}"]
        log = open(self.data + "/log", "a")
        self.child = subprocess.Popen(command, env=self.environment(), stdout=subprocess.PIPE, stderr=log, text=True)
        self.http = http.client.HTTPConnection(self.child.stdout.readline().strip().split("//")[1])

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()

    def get(self, path, headers={}):
        self.http.request("GET", path, headers=headers)
        answer = self.http.getresponse()
        return answer.status, answer.read()

    def ready(self):
        begun = time.perf_counter()
        while self.get("/health/ready")[0] != 200:
            assert time.perf_counter() - begun < PATIENCE_S, open(self.data + "/log").read()[-2_000:]
            time.sleep(0.02)

    def metric(self, name):
        text = self.get("/metrics")[1].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)

    def memory_mib(self):
        with open(f"/proc/{self.child.pid}/status") as status:
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) // 1024

    def cpu_s(self):
        with open(f"/proc/{self.child.pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def pair(self):
        """A reader who follows an author, and the reader's headers."""
        reader, author = str(uuid.uuid4()), str(uuid.uuid4())
        names = f"('{reader}', '{reader}', '{reader[:8]}', 'x'), ('{author}', '{author}', '{author[:8]}', 'x')"
        self.commit(
            f"INSERT INTO users (id, email, username, password_hash) VALUES {names};"
            f"INSERT INTO follows (follower_id, following_id) VALUES ('{reader}', '{author}')"
        )
        token = [self.nova, "--data", self.data, "token", "--sub", reader]
        token = subprocess.run(token, capture_output=True, text=True, env=self.environment(), check=True).stdout.strip()
        return author, {"Authorization": "Bearer " + token}

    def post(self, author):
        post = str(uuid.uuid4())
        self.commit(f"INSERT INTO posts (id, user_id, image_key, status) VALUES ('{post}', '{author}', 'k', 'published')")
        return post

    def seen(self, post, headers):
        begun = time.perf_counter()
        while True:
            status, body = self.get("/api/v1/feed?algo=time&limit=1", headers)
            if status == 200 and json.loads(body)["posts"][:1] == [post]:
                return time.perf_counter() - begun
            assert time.perf_counter() - begun < PATIENCE_S

    def people(self):
        """Users and posts; of likes no constraint is checked, so the server writes as fast as it can."""
        self.sql("ALTER TABLE likes DROP CONSTRAINT likes_user_id_post_id_key, DROP CONSTRAINT likes_post_id_fkey, "
                 "DROP CONSTRAINT likes_user_id_fkey")
        self.sql("INSERT INTO users (id, email, username, password_hash) "
                 f"SELECT md5('u' || n)::uuid, 'e' || n, 'u' || n, 'x' FROM generate_series(1, {USERS}) n")
        self.sql("INSERT INTO posts (id, user_id, image_key, status) SELECT md5('p' || n)::uuid, "
                 f"md5('u' || 1 + n % {USERS})::uuid, 'k', 'published' FROM generate_series(1, {POSTS}) n")

    def likes(self, count):
        """Random likes of all users and posts."""
        one = lambda kind, most: f"md5('{kind}' || 1 + floor(random() * {most})::int)::uuid"
        return (f"INSERT INTO likes (user_id, post_id) SELECT {one('u', USERS)}, {one('p', POSTS)} "
                f"FROM generate_series(1, {count})")

    def transactions(self, likes):
        insert, times = self.likes(TRANSACTION_LIKES), likes // TRANSACTION_LIKES
        self.sql(f"DO $$ BEGIN FOR i IN 1..{times} LOOP {insert}; COMMIT; END LOOP; END $$")

    def end(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.open.stdin.close()
        self.open.wait()
        slots = f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{self.name}'"
        self.sql(slots, "postgres")
        self.sql(f"DROP DATABASE {self.name} WITH (FORCE)", "postgres")
        shutil.rmtree(self.data)


def load():
    with open("/proc/loadavg") as loads:
        return loads.read().split()[0]


def fresh(place):
    place.start()
    place.ready()
    author, headers = place.pair()
    times = []
    for _ in range(size("ROUNDS", 300)):
        times.append(place.seen(place.post(author), headers) * 1e3)
        time.sleep(0.02)
    times = sorted(times[10:])
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    print(f"fresh: COMMIT to feed of {len(times)}: p50 {at(.5):.1f} ms, p95 {at(.95):.1f} ms, max {times[-1]:.1f} ms")


def live(place):
    count = size("LIKES", 500_000)
    place.people()
    place.start()
    place.ready()
    author, headers = place.pair()
    place.seen(place.post(author), headers)
    place.stop()
    place.sql(f"SELECT pg_create_logical_replication_slot('{place.name}_nowhere', 'pgoutput')")
    place.transactions(count)
    last, end = place.post(author), place.sql("SELECT pg_current_wal_flush_lsn()")
    begun = time.perf_counter()
    options = ["-o", "proto_version=1", "-o", f"publication_names={place.name}", "-o", "messages=true"]
    receive = ["pg_recvlogical", "-d", f"{SERVER}/{place.name}", "-S", place.name + "_nowhere", "--start", "-f", "/dev/null"]
    subprocess.run([*receive, *options, "-E", end], check=True, capture_output=True)
    alone_s = time.perf_counter() - begun
    place.start()
    place.seen(last, headers)
    nova_s = time.perf_counter() - place.begun
    used_s = place.cpu_s()
    print(f"live: {count} likes in transactions of {TRANSACTION_LIKES}, from the start of each process: "
          f"pg_recvlogical {count / alone_s:.0f}/s, nova {count / nova_s:.0f}/s ({alone_s / nova_s:.2f} x), "
          f"nova's CPU {used_s / count * 1e6:.2f} us a like")


def snapshot(place):
    rows = size("ROWS", 5_000_000)
    place.people()
    place.sql(place.likes(rows))
    place.sql("ANALYZE")
    print(f"snapshot: {rows} likes; seconds: rows, MiB:", end="", flush=True)
    place.start()
    told = 0
    while place.get("/health/ready")[0] != 200:
        if time.perf_counter() - place.begun > told:
            read = int(place.metric("nova_pg_snapshot_rows_total"))
            print(f" {told}: {read // 1_000} k, {place.memory_mib()};", end="", flush=True)
            told += 1
        time.sleep(0.02)
    took_s = time.perf_counter() - place.begun
    print(f" {took_s:.1f} s from the start to ready: {rows / took_s:.0f} rows/s, nova's CPU "
          f"{place.cpu_s() / rows * 1e6:.2f} us a row, {place.memory_mib()} MiB at the end")


def foreign(place):
    mib = size("FOREIGN_MIB", 1_024)
    place.start()
    place.ready()
    author, headers = place.pair()
    place.seen(place.post(author), headers)
    place.sql("CREATE TABLE foreign_rows (text text)")
    before = int(place.sql("SELECT pg_current_wal_lsn() - '0/0'"))
    most = 0
    held = f"SELECT pg_current_wal_flush_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = '{place.name}'"
    while (int(place.sql("SELECT pg_current_wal_lsn() - '0/0'")) - before) >> 20 < mib:
        place.sql("INSERT INTO foreign_rows SELECT repeat(md5(i::text), 30) FROM generate_series(1, 33000) i")
        place.sql("TRUNCATE foreign_rows")
        most = max(most, int(place.sql(held)))
    wrote, begun = (int(place.sql("SELECT pg_current_wal_lsn() - '0/0'")) - before) >> 20, time.perf_counter()
    while int(place.sql(held)) >> 20 >= 64 and time.perf_counter() - begun < PATIENCE_S:
        place.sql("CHECKPOINT")
        time.sleep(0.5)
    print(f"foreign: {wrote} MiB of other tables' log; held back at most {most >> 20} MiB, {int(place.sql(held)) >> 20} MiB "
          f"{time.perf_counter() - begun:.1f} s after the end")


# What was begun is dropped when the run is ended from outside, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
nova, *asked = sys.argv[1:]
for figure in asked or ["fresh", "live", "snapshot", "foreign"]:
    place = Place(nova)
    with contextlib.ExitStack() as ending:
        ending.callback(place.end)
        print(f"load {load()}: ", end="", flush=True)
        {"fresh": fresh, "live": live, "snapshot": snapshot, "foreign": foreign}[figure](place)
