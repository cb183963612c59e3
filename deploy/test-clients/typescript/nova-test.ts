// This file starts `nova test` and sends requests to it. It needs only Node's own modules (Node 20 or later); copy it
// into your tests.
//
//     const nova = await Nova.start();
//     await nova.rows({ users: [{ id: ada }, { id: ben }], follows: [{ follower_id: ada, following_id: ben }],
//       posts: [{ id: post, user_id: ben }] });
//     assert.deepEqual(await nova.feed(ada), [post]);
//     await nova.close();
//
// Each call ends after its effect: no test has to wait. `docs/testing-with-nova.md` has the rest.

import { type ChildProcess, spawn } from "node:child_process";
import { Agent, request as ask } from "node:http";
import { createInterface } from "node:readline";

/** What a route answers: its form is for the caller to know. */
export type Json = any;

/** Rows under the source's column names; `op: "delete"` deletes. */
export type Rows = Partial<Record<"users" | "posts" | "follows" | "comments" | "likes", Record<string, unknown>[]>>;

export interface Options {
  /** Files that it begins with, and that `reset` goes back to. */
  seed?: string[];
  /** The clock at the beginning, RFC 3339. */
  now?: string;
  /** Further arguments of `nova test`. */
  args?: string[];
  /** The program; else $NOVA_BIN, else `nova`. */
  binary?: string;
}

/** The server refused a request; the text is the server's. */
export class NovaError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Json,
  ) {
    super(`${status}: ${problem?.detail ?? JSON.stringify(problem)}`);
  }
}

/** One server. Start it once for many tests, and call `reset` before each: that takes milliseconds. */
export class Nova {
  private readonly agent = new Agent({ keepAlive: true });

  private constructor(
    readonly url: string,
    readonly serviceToken: string | null,
    readonly adminToken: string | null,
    readonly redis: string | null,
    private readonly child: ChildProcess | null,
  ) {}

  /** Starts a server, which ends with `close`, or with this process. */
  static async start({ seed = [], now, args = [], binary }: Options = {}): Promise<Nova> {
    const given = ["test", "--die-with-parent", ...args, ...(now ? ["--now", now] : [])];
    for (const path of seed) given.push("--seed", path);
    const child = spawn(binary ?? process.env.NOVA_BIN ?? "nova", given, { stdio: ["ignore", "pipe", "inherit"] });
    const line = await new Promise<string>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`nova test ended with ${code}; it said why on standard error`)));
      createInterface({ input: child.stdout! }).once("line", resolve);
    });
    const ready = JSON.parse(line);
    return new Nova(ready.url, ready.token, ready.admin_token, ready.redis, child);
  }

  /** A server that somebody else started, such as a container. */
  static at(url: string): Nova {
    return new Nova(url, null, null, null, null);
  }

  /** Ends the server that `start` started. */
  async close(): Promise<void> {
    this.agent.destroy();
    const child = this.child;
    if (child === null || child.exitCode !== null) return;
    await new Promise((resolve) => {
      child.once("exit", resolve);
      child.kill("SIGTERM");
    });
  }

  /** Sends a request to any route and returns the JSON of the answer. A refusal throws a `NovaError`. */
  request(method: string, path: string, body?: unknown, token?: string): Promise<Json> {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const headers: Record<string, string | number> = {};
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (text !== undefined) {
      headers["content-type"] = "application/json";
      headers["content-length"] = Buffer.byteLength(text);
    }
    return new Promise((resolve, reject) => {
      const asked = ask(this.url + path, { method, headers, agent: this.agent }, (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part) => parts.push(part));
        answer.once("error", reject);
        answer.once("end", () => {
          const whole = Buffer.concat(parts).toString();
          const value = whole === "" ? null : JSON.parse(whole);
          const status = answer.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(value);
          else reject(new NovaError(status, value));
        });
      });
      asked.once("error", reject);
      asked.end(text);
    });
  }

  // Time.

  /** Returns the server's clock in epoch milliseconds. */
  async nowMs(): Promise<number> {
    return (await this.request("GET", "/_test/clock")).now_ms;
  }

  /** Sets the clock to a time in RFC 3339 or epoch milliseconds. */
  async setNow(now: string | number): Promise<void> {
    await this.request("PUT", "/_test/clock", { now });
  }

  /** Moves the clock forward; the server does everything that is due by then. */
  async advance(by: { hours?: number; minutes?: number; seconds?: number; ms?: number }): Promise<void> {
    const { hours = 0, minutes = 0, seconds = 0, ms = 0 } = by;
    const total = ms + 1_000 * (seconds + 60 * (minutes + 60 * hours));
    await this.request("POST", "/_test/clock/advance", { ms: Math.round(total) });
  }

  // What goes in.

  /** Sends rows, or deletes them, and returns the outcome of each. */
  rows(rows: Rows): Promise<Json> {
    return this.request("POST", "/_test/rows", rows);
  }

  /** Sends a capture (JSON lines, a Kafka record a line) and returns the outcomes by partition. */
  captures(lines: string): Promise<Json> {
    return this.request("POST", "/_test/captures", lines);
  }

  /** Sends client events of a user and publishes their effects. Without `event_time` an event gets the present time. */
  async events(user: string, ...events: Record<string, unknown>[]): Promise<Json> {
    const now = events.every((event) => "event_time" in event) ? 0 : await this.nowMs();
    const timed = events.map((event) => ({ event_time: now, ...event }));
    const taken = await this.request("POST", "/api/v1/events", { events: timed }, await this.token(user));
    await this.settle();
    return taken;
  }

  // What comes out.

  /** Returns the first page of a user's feed as ids of posts. */
  async feed(user: string): Promise<string[]> {
    return (await this.get("/api/v1/feed?limit=100", user)).posts;
  }

  /** Returns what trends in a window as ids of posts. */
  async trending(window: "1h" | "6h" | "24h" | "7d" = "24h"): Promise<string[]> {
    const page = await this.request("GET", `/api/v1/feed/trending?limit=200&window=${window}`);
    return page.posts.map((post: Json) => post.post_id);
  }

  /** Returns the ids of the users whom nova suggests to a user. */
  async suggestions(user: string): Promise<string[]> {
    const page = await this.get("/api/v1/discover/suggested-users?limit=100", user);
    return page.users.map((suggested: Json) => suggested.user_id);
  }

  /** Returns the JSON of any route, asked as a user. */
  async get(path: string, user: string): Promise<Json> {
    return this.request("GET", path, undefined, await this.token(user));
  }

  // The server itself.

  /** Makes a token for a user; `role`, `ttl` and `broken` are those of POST /_test/token. */
  async token(sub: string, asked: { role?: string; ttl?: string; broken?: string } = {}): Promise<string> {
    return (await this.request("POST", "/_test/token", { sub, ...asked })).token;
  }

  /** Waits until everything that was accepted is applied and published. */
  settle(): Promise<Json> {
    return this.request("POST", "/_test/settle");
  }

  /** Keeps the server as it is, for `reset(name)`. */
  snapshot(name: string): Promise<Json> {
    return this.request("POST", "/_test/snapshot", { name });
  }

  /** Returns to the seed, or to a snapshot. */
  reset(name?: string): Promise<Json> {
    return this.request("POST", "/_test/reset", name === undefined ? {} : { name });
  }

  /** Returns what happened: records with outcomes, pages with the reasons of their posts. */
  log(since = 0): Promise<Json> {
    return this.request("GET", `/_test/log?limit=10000&since=${since}`);
  }

  /**
   * Puts faults in, such as `{ slow_commit_ms: 200 }` or `{ source_lag_ms: 600_000 }`; those that are left out end.
   * `{ clickhouse: { status: 503 } }` needs a server with `args: ["--clickhouse"]`; in the place of `{ status: 503 }` may
   * stand `{ code: 241, times: 3 }`, `{ refuses: true }` or `{ slow_ms: 500 }`.
   */
  fault(faults: Record<string, unknown>): Promise<Json> {
    return this.request("POST", "/_test/fault", faults);
  }
}
