// Package novatest starts `nova test` and sends requests to it. The package needs only the standard library; copy
// this file into your tests.
//
//	nova := novatest.Start(t)
//	nova.Rows(novatest.Rows{
//		"users":   {{"id": ada}, {"id": ben}},
//		"follows": {{"follower_id": ada, "following_id": ben}},
//		"posts":   {{"id": post, "user_id": ben}},
//	})
//	if posts := nova.Feed(ada); len(posts) != 1 { … }
//
// Each call returns after its effect, so no test has to sleep. `docs/testing-with-nova.md` explains every call.
package novatest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Row is a row under the source's column names; "op": "delete" deletes the row.
type Row = map[string]any

// Rows are rows by their tables: users, posts, follows, comments, likes.
type Rows map[string][]Row

// Error says that the server refused a request. The text of the error is the text of the server.
type Error struct {
	Status  int
	Problem map[string]any
}

func (e *Error) Error() string { return fmt.Sprintf("%d: %v", e.Status, e.Problem["detail"]) }

// Server is a nova for tests. Start a server once for many tests (see Launch), and call Reset, which takes milliseconds,
// before each test.
type Server struct {
	URL          string  `json:"url"`
	ServiceToken string  `json:"token"`
	AdminToken   string  `json:"admin_token"`
	Redis        *string `json:"redis"`
	TB           testing.TB
	command      *exec.Cmd
	client       *http.Client
}

// Start starts a server that ends with the test, and a refused call fails the test. The arguments are the arguments of
// `nova test`, such as "--now", "2026-11-24T06:00:00Z".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	server, err := Launch(args...)
	if err != nil {
		tb.Fatal(err)
	}
	server.TB = tb
	tb.Cleanup(server.Close)
	return server
}

// Launch starts a server for many tests, in TestMain. Each test uses the server with For.
func Launch(args ...string) (*Server, error) {
	program := os.Getenv("NOVA_BIN")
	if program == "" {
		program = "nova"
	}
	command := exec.Command(program, append([]string{"test", "--die-with-parent"}, args...)...)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("nova test: %w; it said why on standard error", command.Wait())
	}
	server := At("")
	server.command = command
	return server, json.Unmarshal(line, server)
}

// At returns a Server for a nova that somebody else started, such as a container.
func At(url string) *Server {
	return &Server{URL: url, client: &http.Client{Timeout: time.Minute}}
}

// For returns the server for one test: a refused call fails the test t.
func (s *Server) For(tb testing.TB) *Server {
	of := *s
	of.TB = tb
	return &of
}

// Close ends the server, if Start or Launch started it.
func (s *Server) Close() {
	if s.command != nil {
		_ = s.command.Process.Signal(syscall.SIGTERM)
		_ = s.command.Wait()
		s.command = nil
	}
}

// Ask sends a request to any route, and reads the JSON of the answer into out if out is not nil. A refused request is an *Error.
func (s *Server) Ask(method, path, token string, body, out any) error {
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = bytes.NewReader([]byte(body))
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, s.URL+path, reader)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode < 200 || answer.StatusCode >= 300 {
		refused := &Error{Status: answer.StatusCode}
		_ = json.Unmarshal(text, &refused.Problem)
		return refused
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (s *Server) must(method, path, token string, body, out any) {
	if s.TB != nil {
		s.TB.Helper()
	}
	if err := s.Ask(method, path, token, body, out); err != nil {
		if s.TB == nil {
			panic(err)
		}
		s.TB.Fatalf("%s %s: %v", method, path, err)
	}
}

// NowMs returns the time of the server's clock in epoch milliseconds.
func (s *Server) NowMs() int64 {
	var clock struct {
		NowMs int64 `json:"now_ms"`
	}
	s.must("GET", "/_test/clock", "", nil, &clock)
	return clock.NowMs
}

// SetNow sets the clock.
func (s *Server) SetNow(now time.Time) {
	s.must("PUT", "/_test/clock", "", Row{"now": now.UnixMilli()}, nil)
}

// Advance moves the clock forward. The server does everything that is due by the new time.
func (s *Server) Advance(by time.Duration) {
	s.must("POST", "/_test/clock/advance", "", Row{"ms": by.Milliseconds()}, nil)
}

// Rows sends rows of tables, or deletes rows.
func (s *Server) Rows(rows Rows) { s.must("POST", "/_test/rows", "", rows, nil) }

// Captures sends a capture (JSON lines, a Kafka record a line) and returns the outcomes of all records.
func (s *Server) Captures(lines string) map[string]int {
	var taken struct {
		Totals map[string]int `json:"totals"`
	}
	s.must("POST", "/_test/captures", "", lines, &taken)
	return taken.Totals
}

// Events sends client events of a user and publishes their effects. An event without event_time gets the present time.
func (s *Server) Events(user string, events ...Row) {
	for _, event := range events {
		if _, given := event["event_time"]; !given {
			event["event_time"] = s.NowMs()
		}
	}
	s.must("POST", "/api/v1/events", s.Token(user), Row{"events": events}, nil)
	s.Settle()
}

// Feed returns the first page of a user's feed as ids of posts.
func (s *Server) Feed(user string) []string {
	var page struct {
		Posts []string `json:"posts"`
	}
	s.Get("/api/v1/feed?limit=100", user, &page)
	return page.Posts
}

// Trending returns the ids of the posts that trend in "1h", "6h", "24h" or "7d".
func (s *Server) Trending(window string) []string {
	var page struct {
		Posts []struct {
			ID string `json:"post_id"`
		} `json:"posts"`
	}
	s.must("GET", "/api/v1/feed/trending?limit=200&window="+window, "", nil, &page)
	ids := make([]string, 0, len(page.Posts))
	for _, post := range page.Posts {
		ids = append(ids, post.ID)
	}
	return ids
}

// Suggestions returns the ids of the users whom nova suggests to a user.
func (s *Server) Suggestions(user string) []string {
	var page struct {
		Users []struct {
			ID string `json:"user_id"`
		} `json:"users"`
	}
	s.Get("/api/v1/discover/suggested-users?limit=100", user, &page)
	ids := make([]string, 0, len(page.Users))
	for _, suggested := range page.Users {
		ids = append(ids, suggested.ID)
	}
	return ids
}

// Get sends a GET to any route as a user, and reads the JSON of the answer.
func (s *Server) Get(path, user string, out any) { s.must("GET", path, s.Token(user), nil, out) }

// Token makes a token for a user, which is valid for an hour of the server's clock.
func (s *Server) Token(sub string) string { return s.TokenOf(Row{"sub": sub}) }

// TokenOf makes a token by POST /_test/token from sub, role, ttl and broken.
func (s *Server) TokenOf(asked Row) string {
	var made struct {
		Token string `json:"token"`
	}
	s.must("POST", "/_test/token", "", asked, &made)
	return made.Token
}

// Settle waits until everything that was accepted is applied and published.
func (s *Server) Settle() { s.must("POST", "/_test/settle", "", nil, nil) }

// Snapshot keeps a snapshot of the server, to which ResetTo returns.
func (s *Server) Snapshot(name string) { s.must("POST", "/_test/snapshot", "", Row{"name": name}, nil) }

// Reset brings the server back to its seed.
func (s *Server) Reset() { s.must("POST", "/_test/reset", "", nil, nil) }

// ResetTo brings the server back to a snapshot.
func (s *Server) ResetTo(name string) { s.must("POST", "/_test/reset", "", Row{"name": name}, nil) }

// Log returns the log of the server: records with outcomes, pages with the reasons of their posts.
func (s *Server) Log(since uint64) []Row {
	var log struct {
		Entries []Row `json:"entries"`
	}
	s.must("GET", fmt.Sprintf("/_test/log?limit=10000&since=%d", since), "", nil, &log)
	return log.Entries
}

// Fault sets faults, such as {"slow_commit_ms": 200} or {"source_lag_ms": 600000}. A fault that the call leaves out ends.
// {"clickhouse": Row{"status": 503}} needs a server that was started with "--clickhouse". Other values of
// "clickhouse" are {"code": 241, "times": 3}, {"refuses": true} and {"slow_ms": 500}.
func (s *Server) Fault(faults Row) { s.must("POST", "/_test/fault", "", faults, nil) }
