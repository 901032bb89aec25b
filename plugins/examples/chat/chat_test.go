package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

type m = map[string]any

const (
	web   = "0198c1f2-7b1e-7c3a-9d52-00000000000a"
	shop  = "0198c1f2-7b1e-7c3a-9d52-00000000000b"
	other = "0198c1f2-7b1e-7c3a-9d52-00000000000c"
)

// start runs the plugin with a chat and rules for two projects.
func start(t *testing.T, f *fake, more m) *plugintest.Host {
	t.Helper()
	settings := m{"url": f.url("one"), "url_2": f.url("two"), "username": "guildhall", "rules": []m{
		{"project_id": web},
		{"project_id": shop, "events": []string{"status"}, "webhook": "url_2", "channel": "#shop", "template": "{key} is {status} now"},
	}}
	for k, v := range more {
		settings[k] = v
	}
	return plugintest.Run(t, plugintest.Options{Settings: settings, API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method+" "+r.URL.Path != "GET /v1/tasks/t1" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"status":404,"code":"not_found"}`)
			return
		}
		fmt.Fprint(w, `{"key":"WEB-1","title":"Paint","status":"pending"}`)
	})})
}

func task(project, status string) m {
	return m{"id": "t1", "project_id": project, "key": "WEB-1", "title": "Paint @channel <!here> *now*", "status": status}
}

func heard(t *testing.T, h *plugintest.Host, events ...sdk.Event) {
	t.Helper()
	if done, err := h.Hear(events...); err != nil || done != len(events) {
		t.Fatalf("heard %d of %d: %v", done, len(events), err)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, nil)
	heard(t, h,
		h.Event("task.created", "t1", task(web, "pending"), nil),
		h.Event("task.updated", "t1", task(web, "in_progress"), m{"status": "pending"}),
		h.Event("task.moved", "t1", task(web, "done"), m{"status": "in_progress", "position": "a"}),
		h.Event("task.updated", "t1", task(web, "done"), m{"title": "Other"}),
		h.Event("comment.created", "c1", m{"id": "c1", "task_id": "t1", "project_id": web, "body": "See [this](https://evil.example) @everyone"}, nil),
		h.Event("comment.created", "c2", m{"id": "c2", "task_id": "gone", "project_id": web, "body": "Hm"}, nil),
		h.Event("task.created", "t2", task(shop, "pending"), nil),
		h.Event("task.updated", "t2", task(shop, "review"), m{"status": "pending"}),
		h.Event("task.created", "t3", task(other, "pending"), nil),
	)
	title := "Paint @\u200bchannel &lt;!here&gt; \u200b*\u200bnow\u200b*\u200b"
	want := []string{
		"one  *WEB-1* " + title + ": new, pending",
		"one  *WEB-1* " + title + ": pending → in progress",
		"one  *WEB-1* " + title + ": in progress → done",
		"one  *WEB-1* Paint: See [this](https://evil.example) @\u200beveryone",
		"one  *Comment* on a task that is gone: Hm",
		"two #shop WEB-1 is review now",
	}
	var got []string
	for _, p := range f.messages() {
		got = append(got, strings.Join([]string{p.hook, p.Channel, p.Text}, " "))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("posted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(h.Denied()) > 0 {
		t.Errorf("denied %q", h.Denied())
	}
}

func TestAnEventIsPostedOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, nil)
	e := h.Event("task.created", "t1", task(web, "pending"), nil)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if _, err := h.Hear(e); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	heard(t, h, e, e)
	if n := len(f.messages()); n != 1 {
		t.Errorf("posted %d times", n)
	}
	// What is known of it is forgotten after some days.
	if len(h.Values()) != 1 {
		t.Errorf("it keeps %v", h.Values())
	}
	if err := h.RunSchedule("tidy"); err != nil || len(h.Values()) != 0 {
		t.Errorf("it keeps %v, %v", h.Values(), err)
	}
}

func TestNotNow(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, nil)
	e := h.Event("task.created", "t1", task(web, "pending"), nil)
	for _, status := range []int{500, 429, 503} {
		f.refuses(0, status)
		if done, err := h.Hear(e); done != 0 || err == nil {
			t.Errorf("after %d: %d, %v", status, done, err)
		}
	}
	heard(t, h, e)
	if n := len(f.messages()); n != 1 {
		t.Errorf("posted %d times", n)
	}

	// The chat says when: the message waits, and the events behind it do not.
	f.refuses(120, 429, 429)
	later := h.Event("task.updated", "t1", task(web, "done"), m{"status": "pending"})
	heard(t, h, later)
	if ran, err := h.RunTasks(time.Now().Add(time.Minute)); ran != 0 || err != nil {
		t.Errorf("too early: %d, %v", ran, err)
	}
	if at := h.Tasks()[0].At; time.Until(at) < 100*time.Second || strings.Contains(string(h.Tasks()[0].Payload), f.URL) {
		t.Errorf("waits as %+v", h.Tasks())
	}
	heard(t, h, later)
	if ran, err := h.RunTasks(h.Tasks()[0].At); ran != 1 || err != nil || len(h.Tasks()) != 1 {
		t.Errorf("refused again: %d, %v, %v", ran, err, h.Tasks())
	}
	if ran, err := h.RunTasks(time.Now().Add(time.Hour)); ran != 1 || err != nil || len(h.Tasks()) != 0 {
		t.Errorf("at last: %d, %v, %v", ran, err, h.Tasks())
	}
	if n := len(f.messages()); n != 2 {
		t.Errorf("posted %d messages", n)
	}
}

func TestNever(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, nil)
	f.gone["one"] = true
	heard(t, h, h.Event("task.created", "t1", task(web, "pending"), nil)) // passed over, and told
	logged := fmt.Sprint(h.Logged())
	if !strings.Contains(logged, "is gone") || strings.Contains(logged, f.URL) {
		t.Errorf("logged %s", logged)
	}
	f.Close()
	if _, err := h.Hear(h.Event("task.updated", "t9", task(shop, "done"), m{"status": "review"})); err == nil || strings.Contains(err.Error(), "/hooks/") {
		t.Errorf("a chat that is away: %v", err)
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, m{"style": "discord"})
	in := m{"to": "#general", "subject": "Due *today*", "text": "@everyone: [pay](https://evil.example)", "url": "https://guildhall.example/t/1"}
	if err := h.Provide("notification.send/chat", in, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	p := f.messages()[0]
	want := "**Due \\*today\\***\n@\u200beveryone: \\[pay\\]\\(https://evil.example\\)\nhttps://guildhall.example/t/1"
	if p.Content != want || p.Text != "" || p.AllowedMentions["parse"] == nil || p.Username != "guildhall" {
		t.Errorf("posted %+v", p)
	}
	var no *plugintest.Refused
	if err := h.Provide("notification.send/chat", m{"to": "#x", "text": " "}, nil); !errors.As(err, &no) {
		t.Errorf("an empty one: %v", err)
	}
	f.refuses(5, 429)
	var call *plugintest.CallError
	if err := h.Provide("notification.send/chat", in, nil); !errors.As(err, &call) || call.Final {
		t.Errorf("not now: %v", err)
	}
	f.gone["one"] = true
	if err := h.Provide("notification.send/chat", in, nil); !errors.As(err, &no) {
		t.Errorf("gone: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, nil)
	for want, settings := range map[string]m{
		"/url":              {"url": "ftp://x"},
		"/url_2":            {"url": f.URL, "url_2": "https://user:pass@x"},
		"/rules/0/webhook":  {"url": f.URL, "rules": []m{{"project_id": "*", "webhook": "url_3"}}},
		"/rules/0/template": {"url": f.URL, "rules": []m{{"project_id": "*", "template": "{key} {secret}"}}},
		"/style":            {"url": f.URL, "style": "irc"},
	} {
		if bad, err := h.CheckSettings(settings); err != nil || len(bad) != 1 || bad[0].Pointer != want {
			t.Errorf("%s: %v, %v", want, bad, err)
		}
	}
	if bad, err := h.CheckSettings(m{"url": f.URL, "rules": []m{{"project_id": "*", "template": "{key}: {text}"}}}); err != nil || len(bad) > 0 {
		t.Errorf("good ones: %v, %v", bad, err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": 0, "1.5": 1500 * time.Millisecond, "99999": time.Hour,
		"Sun, 01 Mar 2026 09:00:30 GMT": 30 * time.Second, "Sun, 01 Mar 2020 09:00:30 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %s", header, got)
		}
	}
}

func TestConform(t *testing.T) {
	t.Parallel()
	plugintest.Conform(t.Context(), plugintest.Load(t, plugintest.Options{}), plugintest.Trial{}).Require(t)
}
