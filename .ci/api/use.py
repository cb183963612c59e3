"""Reads a feed, takes events and reads what trends, by the client that is made from /openapi.json."""

import datetime
import sys
import time
import uuid
from typing import TypeVar

from nova_client import AuthenticatedClient, Client
from nova_client.api.events import post_events
from nova_client.api.feed import get_feed
from nova_client.api.trending import get_trending
from nova_client.models import (
    Action,
    ClientEvent,
    ClientEvents,
    EventsTaken,
    FeedPage,
    GetFeedHydrate,
    GetTrendingWindow,
    Problem,
    TrendingPage,
)

T = TypeVar("T")


def need(kind: type[T], answer: object) -> T:
    if not isinstance(answer, kind):
        raise SystemExit(f"expected {kind.__name__}: {answer}")
    return answer


def main(url: str, token: str) -> None:
    nova = AuthenticatedClient(base_url=url, token=token)
    page = need(FeedPage, get_feed.sync(client=nova, limit=5, hydrate=GetFeedHydrate(1)))
    if isinstance(page.items, list):
        assert [item.post_id for item in page.items] == page.posts
    if page.cursor is not None:
        after = need(FeedPage, get_feed.sync(client=nova, limit=5, cursor=page.cursor))
        assert not set(after.posts) & set(page.posts), "a post came twice"
    now = datetime.datetime.now(datetime.timezone.utc)
    event = ClientEvent(event_time=now, post_id=page.posts[0], action=Action.VIEW, dwell_ms=800)
    key = str(uuid.uuid4())
    taken = need(EventsTaken, post_events.sync(client=nova, body=ClientEvents(events=[event]), idempotency_key=key))
    assert taken.accepted == 1, taken
    # Lists are made once a second.
    for _ in range(100):
        time.sleep(0.1)
        trending = need(TrendingPage, get_trending.sync(client=Client(base_url=url), window=GetTrendingWindow("7d")))
        ranks = [one.rank for one in trending.posts if one.post_id == page.posts[0]]
        if ranks:
            break
    assert ranks, "what was viewed does not trend"
    wrong = need(Problem, get_feed.sync(client=nova, cursor="gone"))
    assert wrong.error == "invalid-cursor", wrong
    print(f"Python: {len(page.posts)} posts, 1 event, rank {ranks[0]}")


main(*sys.argv[1:])
