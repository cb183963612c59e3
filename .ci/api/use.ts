// Reads a feed, takes events and reads what trends, by the client that is made from /openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type FeedPage = components["schemas"]["FeedPage"];

function need<T>(value: T | undefined, what: unknown): T {
  if (value === undefined) throw new Error(`no answer: ${JSON.stringify(what)}`);
  return value;
}

const [baseUrl, token] = process.argv.slice(2);
const nova = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const first = await nova.GET("/api/v1/feed", { params: { query: { limit: 5, hydrate: 1 } } });
const page: FeedPage = need(first.data, first.error);
const post = need(page.posts[0], page);
const authors: string[] = need(page.items, page).map((item) => item.author_id);
if (authors.length !== page.posts.length) throw new Error("an item for each post");

if (page.cursor !== null) {
  const next = await nova.GET("/api/v1/feed", { params: { query: { limit: 5, cursor: page.cursor } } });
  if (need(next.data, next.error).posts.some((id) => page.posts.includes(id))) throw new Error("a post came twice");
}

const sent = await nova.POST("/api/v1/events", {
  params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  body: { events: [{ event_time: Date.now(), post_id: post, action: "view", dwell_ms: 800 }] },
});
if (need(sent.data, sent.error).accepted !== 1) throw new Error(JSON.stringify(sent.data));

// Lists are made once a second.
let rank: number | undefined;
for (let tries = 0; rank === undefined; tries += 1) {
  if (tries === 100) throw new Error("what was viewed does not trend");
  await new Promise((resolve) => setTimeout(resolve, 100));
  const trending = await nova.GET("/api/v1/feed/trending", { params: { query: { window: "7d" } } });
  rank = need(trending.data, trending.error).posts.find((one) => one.post_id === post)?.rank;
}

const wrong = await nova.GET("/api/v1/feed", { params: { query: { cursor: "gone" } } });
if (need(wrong.error, wrong.data).error !== "invalid-cursor") throw new Error(JSON.stringify(wrong.error));

console.log(`TypeScript: ${page.posts.length} posts, 1 event, rank ${rank}`);
