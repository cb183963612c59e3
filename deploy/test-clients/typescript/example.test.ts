// These tests of a sample service use one nova for all tests. Run `tsc`, then `node --test`.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { Nova, NovaError } from "./nova-test.js";

const ada = "0193a5f0-c2d1-7e2c-9f0e-00000000000a";
const ben = "0193a5f0-c2d1-7e2c-9f0e-00000000000b";
const cat = "0193a5f0-c2d1-7e2c-9f0e-00000000000c";
const post = "0193a5f0-c2d1-7e2c-9f0e-000000000001";

/** The service under test returns the first line of a user's home page. */
async function headline(nova: Nova, user: string): Promise<string> {
  const posts = await nova.feed(user);
  return posts.length > 0 ? `${posts.length} new posts` : "Nothing new";
}

let nova: Nova;
before(async () => {
  nova = await Nova.start();
});
after(() => nova.close());
beforeEach(async () => {
  await nova.reset();
  await nova.rows({
    users: [{ id: ada }, { id: ben }, { id: cat }],
    follows: [{ follower_id: ada, following_id: ben }],
    posts: [{ id: post, user_id: ben }],
  });
});

// CI measures many rounds of the tests.
for (let round = 0; round < Number(process.env.NOVA_TEST_ROUNDS ?? 1); round++) {
  test("followers see posts", async () => {
    assert.equal(await headline(nova, ada), "1 new posts");
    assert.equal(await headline(nova, cat), "Nothing new");
  });

  test("an unfollow is seen at once", async () => {
    await nova.rows({ follows: [{ op: "delete", follower_id: ada, following_id: ben }] });
    assert.equal(await headline(nova, ada), "Nothing new");
  });

  test("what trends is over after a day", async () => {
    await nova.events(cat, { post_id: post, action: "share" });
    assert.deepEqual(await nova.trending("24h"), [post]);
    await nova.advance({ hours: 25 });
    assert.deepEqual(await nova.trending("24h"), []);
  });

  test("an old token is refused", async () => {
    const token = await nova.token(ada, { ttl: "5m" });
    await nova.request("GET", "/api/v1/feed", undefined, token);
    await nova.advance({ minutes: 6 });
    const late = nova.request("GET", "/api/v1/feed", undefined, token);
    await assert.rejects(late, (error: unknown) => error instanceof NovaError && error.status === 401);
  });
}
