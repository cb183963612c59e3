package novatest

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

const (
	ada  = "0193a5f0-c2d1-7e2c-9f0e-00000000000a"
	ben  = "0193a5f0-c2d1-7e2c-9f0e-00000000000b"
	cat  = "0193a5f0-c2d1-7e2c-9f0e-00000000000c"
	post = "0193a5f0-c2d1-7e2c-9f0e-000000000001"
)

// All tests share one nova.
var shared *Server

func TestMain(m *testing.M) {
	server, err := Launch()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = server
	code := m.Run()
	server.Close()
	os.Exit(code)
}

// headline is the service under test, and returns the first line of a user's home page.
func headline(nova *Server, user string) string {
	if posts := nova.Feed(user); len(posts) > 0 {
		return fmt.Sprintf("%d new posts", len(posts))
	}
	return "Nothing new"
}

func world(tb testing.TB) *Server {
	nova := shared.For(tb)
	nova.Reset()
	nova.Rows(Rows{
		"users":   {{"id": ada}, {"id": ben}, {"id": cat}},
		"follows": {{"follower_id": ada, "following_id": ben}},
		"posts":   {{"id": post, "user_id": ben}},
	})
	return nova
}

func expect[T comparable](tb testing.TB, got, want T) {
	tb.Helper()
	if got != want {
		tb.Fatalf("%v, expected %v", got, want)
	}
}

func TestFollowersSeePosts(t *testing.T) {
	nova := world(t)
	expect(t, headline(nova, ada), "1 new posts")
	expect(t, headline(nova, cat), "Nothing new")
}

func TestAnUnfollowIsSeenAtOnce(t *testing.T) {
	nova := world(t)
	nova.Rows(Rows{"follows": {{"op": "delete", "follower_id": ada, "following_id": ben}}})
	expect(t, headline(nova, ada), "Nothing new")
}

func TestWhatTrendsIsOverAfterADay(t *testing.T) {
	nova := world(t)
	nova.Events(cat, Row{"post_id": post, "action": "share"})
	expect(t, len(nova.Trending("24h")), 1)
	nova.Advance(25 * time.Hour)
	expect(t, len(nova.Trending("24h")), 0)
}

func TestAnOldTokenIsRefused(t *testing.T) {
	nova := world(t)
	token := nova.TokenOf(Row{"sub": ada, "ttl": "5m"})
	if err := nova.Ask("GET", "/api/v1/feed", token, nil, nil); err != nil {
		t.Fatal(err)
	}
	nova.Advance(6 * time.Minute)
	var refused *Error
	if err := nova.Ask("GET", "/api/v1/feed", token, nil, nil); !errors.As(err, &refused) || refused.Status != 401 {
		t.Fatalf("%v, expected 401", err)
	}
}
