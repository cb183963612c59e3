"""These tests of a sample service use one nova for all tests: `python3 -m unittest test_example`."""

import unittest

from nova_test import Nova, NovaError

ADA = "0193a5f0-c2d1-7e2c-9f0e-00000000000a"
BEN = "0193a5f0-c2d1-7e2c-9f0e-00000000000b"
CAT = "0193a5f0-c2d1-7e2c-9f0e-00000000000c"
POST = "0193a5f0-c2d1-7e2c-9f0e-000000000001"

# Ada follows Ben, who has a post. Cat follows nobody.
WORLD = {
    "users": [{"id": ADA}, {"id": BEN}, {"id": CAT}],
    "follows": [{"follower_id": ADA, "following_id": BEN}],
    "posts": [{"id": POST, "user_id": BEN}],
}


class Home:
    """Returns the first line of a user's home page; this is the service under test."""

    def __init__(self, nova):
        self.nova = nova

    def headline(self, user):
        posts = self.nova.feed(user)
        return f"{len(posts)} new posts" if posts else "Nothing new"


class HomeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nova = Nova()

    @classmethod
    def tearDownClass(cls):
        cls.nova.close()

    def setUp(self):
        self.nova.reset()
        self.nova.rows(**WORLD)

    def test_followers_see_posts(self):
        home = Home(self.nova)
        self.assertEqual(home.headline(ADA), "1 new posts")
        self.assertEqual(home.headline(CAT), "Nothing new")

    def test_an_unfollow_is_seen_at_once(self):
        self.nova.rows(follows=[{"op": "delete", "follower_id": ADA, "following_id": BEN}])
        self.assertEqual(Home(self.nova).headline(ADA), "Nothing new")

    def test_what_trends_is_over_after_a_day(self):
        self.nova.events(CAT, {"post_id": POST, "action": "share"})
        self.assertEqual(self.nova.trending("24h"), [POST])
        self.nova.advance(hours=25)
        self.assertEqual(self.nova.trending("24h"), [])

    def test_an_old_token_is_refused(self):
        token = self.nova.token(ADA, ttl="5m")
        self.nova.request("GET", "/api/v1/feed", token=token)
        self.nova.advance(minutes=6)
        with self.assertRaises(NovaError) as refused:
            self.nova.request("GET", "/api/v1/feed", token=token)
        self.assertEqual(refused.exception.status, 401)

    def test_a_page_has_its_reasons_in_the_log(self):
        self.nova.feed(ADA)
        pages = [entry["page"] for entry in self.nova.log()["entries"] if "page" in entry]
        self.assertEqual(pages[-1]["answer"]["items"][0]["sources"], ["followed"])


if __name__ == "__main__":
    unittest.main()
