// This file starts `nova test` and sends requests to it. The file needs only Node's own modules (Node 20 or later);
// copy the file into your tests.
//
//     const nova = await Nova.start();
//     await nova.rows({ users: [{ id: ada }, { id: ben }], follows: [{ follower_id: ada, following_id: ben }],
//       posts: [{ id: post, user_id: ben }] });
//     assert.deepEqual(await nova.feed(ada), [post]);
//     await nova.close();
//
// Each call ends after its effect, so no test has to wait. `docs/testing-with-nova.md` explains every call.

import { type ChildProcess, spawn } from "node:child_process";
import { Agent, request as ask } from "node:http";
import { createInterface } from "node:readline";

/** The answer of a route. The caller knows the form of the answer. */
export type Json = any;

/** Rows under the source's column names; `op: "delete"` deletes a row. */
export type Rows = Partial<Record<"users" | "posts" | "follows" | "comments" | "likes", Record<string, unknown>[]>>;

export interface Options {
  /** The files of rows or captures with which the server begins, and to which `reset` returns. */
  seed?: string[];
  /** The time of the clock when the server starts, in RFC 3339. */
  now?: string;
  /** Further arguments of `nova test`. */
  args?: string[];
  /** The path of the program. The default is $NOVA_BIN, or `nova` if that is not set. */
  binary?: string;
}

/** The server refused a request. The text of the error is the text of the server. */
export class NovaError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Json,
  ) {
    super(`${status}: ${problem?.detail ?? JSON.stringify(problem)}`);
  }
}

/** A server for tests. Start the server once for many tests, and call `reset`, which takes milliseconds, before each test. */
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

  /** Returns a `Nova` for a server that somebody else started, such as a container. */
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

  /** Sends a request to any route and returns the JSON of the answer. A refused request throws a `NovaError`. */
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

  // These methods read and move the clock.

  /** Returns the server's clock in epoch milliseconds. */
  async nowMs(): Promise<number> {
    return (await this.request("GET", "/_test/clock")).now_ms;
  }

  /** Sets the clock to a time in RFC 3339 or epoch milliseconds. */
  async setNow(now: string | number): Promise<void> {
    await this.request("PUT", "/_test/clock", { now });
  }

  /** Moves the clock forward. The server does everything that is due by the new time. */
  async advance(by: { hours?: number; minutes?: number; seconds?: number; ms?: number }): Promise<void> {
    const { hours = 0, minutes = 0, seconds = 0, ms = 0 } = by;
    const total = ms + 1_000 * (seconds + 60 * (minutes + 60 * hours));
    await this.request("POST", "/_test/clock/advance", { ms: Math.round(total) });
  }

  // These methods send data to the server.

  /** Sends or deletes rows, and returns the outcome of each row. */
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

  // These methods read data from the server.

  /** Returns the first page of a user's feed as ids of posts. */
  async feed(user: string): Promise<string[]> {
    return (await this.get("/api/v1/feed?limit=100", user)).posts;
  }

  /** Returns the ids of the posts that trend in a window. */
  async trending(window: "1h" | "6h" | "24h" | "7d" = "24h"): Promise<string[]> {
    const page = await this.request("GET", `/api/v1/feed/trending?limit=200&window=${window}`);
    return page.posts.map((post: Json) => post.post_id);
  }

  /** Returns the ids of the users whom nova suggests to a user. */
  async suggestions(user: string): Promise<string[]> {
    const page = await this.get("/api/v1/discover/suggested-users?limit=100", user);
    return page.users.map((suggested: Json) => suggested.user_id);
  }

  /** Sends a GET to any route as a user, and returns the JSON of the answer. */
  async get(path: string, user: string): Promise<Json> {
    return this.request("GET", path, undefined, await this.token(user));
  }

  // These methods control the server.

  /** Makes a token for a user. POST /_test/token explains `role`, `ttl` and `broken`. */
  async token(sub: string, asked: { role?: string; ttl?: string; broken?: string } = {}): Promise<string> {
    return (await this.request("POST", "/_test/token", { sub, ...asked })).token;
  }

  /** Waits until everything that was accepted is applied and published. */
  settle(): Promise<Json> {
    return this.request("POST", "/_test/settle");
  }

  /** Keeps a snapshot of the server, to which `reset(name)` returns. */
  snapshot(name: string): Promise<Json> {
    return this.request("POST", "/_test/snapshot", { name });
  }

  /** Brings the server back to the seed, or to a snapshot. */
  reset(name?: string): Promise<Json> {
    return this.request("POST", "/_test/reset", name === undefined ? {} : { name });
  }

  /** Returns the log of the server: records with outcomes, pages with the reasons of their posts. */
  log(since = 0): Promise<Json> {
    return this.request("GET", `/_test/log?limit=10000&since=${since}`);
  }

  /**
   * Sets faults, such as `{ slow_commit_ms: 200 }` or `{ source_lag_ms: 600_000 }`. A fault that the call leaves out ends.
   * `{ clickhouse: { status: 503 } }` needs a server with `args: ["--clickhouse"]`. Other values of `clickhouse` are
   * `{ code: 241, times: 3 }`, `{ refuses: true }` and `{ slow_ms: 500 }`.
   */
  fault(faults: Record<string, unknown>): Promise<Json> {
    return this.request("POST", "/_test/fault", faults);
  }
}
