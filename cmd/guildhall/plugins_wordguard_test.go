package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
)

const wordguard = "../../plugins/examples/wordguard"

// needPython skips where the Python of the system cannot run the example.
func needPython(t testing.TB) {
	t.Helper()
	if out, err := exec.Command("/usr/bin/python3", "-c", "import grpc, google.protobuf, cryptography").CombinedOutput(); err != nil {
		t.Skipf("needs the packages python3, python3-grpcio, python3-protobuf and python3-cryptography of the system (%v %s)", err, out)
	}
}

// wordguardFiles are what the example's bundle has, without its manifest.
func wordguardFiles(t testing.TB) map[string][]byte {
	t.Helper()
	packed, err := bundle.Pack(wordguard)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Read(packed)
	if err != nil {
		t.Fatal(err)
	}
	return b.Files
}

// signedFolder is a plugin's folder as a bundle.
func signedFolder(t testing.TB, dir string) []byte {
	t.Helper()
	packed, err := bundle.Pack(dir)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := bundle.Sign(packed, publisher())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestWordguard(t *testing.T) {
	needPython(t)
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	tasks := "/v1/projects/" + project + "/tasks"
	before := ann.post(tasks, m{"title": "Darn it"}).want(201).str("id")

	w.addPlugin(signedFolder(t, wordguard))
	install := m{
		"plugin_id": "wordguard",
		"grants": []string{"hook:task.will_create", "hook:task.will_change", "hook:comment.will_create", "hook:comment.will_change",
			"hook:task.will_create:slow", "hook:task.will_change:slow", "hook:comment.will_create:slow", "hook:comment.will_change:slow", "action:test_text", "action:test_text:anybody"},
		"settings": m{
			"words": []m{{"word": "darn"}, {"word": "ＤＡＲＮ"}, {"word": "馬鹿"}, {"word": "heck", "replacement": "oh darn"}},
		},
	}
	bad := ann.post("/v1/plugin-installations", install)
	for range 3 { // Python may take its time to start on a machine that has much to do
		if bad.status == 409 && bad.str("code") == "plugin_does_not_start" {
			bad = ann.post("/v1/plugin-installations", install)
		}
	}
	bad.want(422)
	for n, pointer := range []string{"/settings/words/1/word", "/settings/words/2/language", "/settings/words/3/replacement"} {
		if got := bad.str(fmt.Sprintf("errors.%d.pointer", n)); got != pointer {
			t.Errorf("error %d is at %q, want %q: %s", n, got, pointer, bad.body)
		}
	}
	install["settings"] = m{"words": []m{{"word": "darn"}, {"word": "hell", "replacement": "heck"}, {"word": "馬鹿", "language": "ja", "action": "amend"}}}
	installation := "/v1/plugin-installations/" + ann.post("/v1/plugin-installations", install).want(201).str("id")

	no := ann.post(tasks, m{"title": "What the DARN"}).want(422)
	if no.str("code") != "plugin_refused" || no.str("plugin") != "wordguard" || no.str("detail") != "This is not said here: “darn”. Please put it another way." {
		t.Errorf("refused with %s", no.body)
	}
	made := ann.post(tasks, m{"title": "What the Hell", "description": "darned これは馬鹿です"}).want(201)
	if made.str("title") != "What the heck" || made.str("description") != "darned これは•••です" {
		t.Errorf("not masked: %s", made.body)
	}
	task := "/v1/tasks/" + made.str("id")
	ann.patch(task, m{"description": "a ｄａｒｎ shame"}).want(422).code("plugin_refused")
	if got := ann.patch(task, m{"title": "shell, hell"}).want(200); got.str("title") != "shell, heck" {
		t.Errorf("not masked: %s", got.body)
	}

	// What stood there before may stay; what a bulk change adds may not.
	ids := []string{before, made.str("id")}
	bulk := ann.post("/v1/tasks/bulk", m{"task_ids": ids, "set": m{"priority": "high"}}).want(200)
	if bulk.num("results.0.status") != 200 || bulk.num("results.1.status") != 200 {
		t.Errorf("bulk: %s", bulk.body)
	}
	bulk = ann.post("/v1/tasks/bulk", m{"task_ids": ids, "set": m{"labels_add": []string{"darn"}}}).want(200)
	for _, n := range []string{"0", "1"} {
		if bulk.num("results."+n+".status") != 422 || bulk.str("results."+n+".error.code") != "plugin_refused" {
			t.Errorf("bulk: %s", bulk.body)
		}
	}
	bulk = ann.post("/v1/tasks/bulk", m{"task_ids": ids, "set": m{"labels_add": []string{"hell"}}}).want(200)
	if got := ann.get(task).want(200); bulk.num("results.0.status") != 200 || got.str("labels.0") != "heck" {
		t.Errorf("bulk: %s\n%s", bulk.body, got.body)
	}

	ann.post(task+"/comments", m{"body": "darn!"}).want(422).code("plugin_refused")
	comment := ann.post(task+"/comments", m{"body": "oh hell"}).want(201)
	if comment.str("body") != "oh heck" {
		t.Errorf("not masked: %s", comment.body)
	}
	ann.patch("/v1/comments/"+comment.str("id"), m{"body": "_darn_"}).want(422).code("plugin_refused")

	for text, outcome := range map[string]string{"fine": "allowed", "hell": "amended", "hell, darn": "refused"} {
		got := ann.post(installation+"/actions/test_text", m{"input": m{"text": text}}).want(200)
		if got.str("output.outcome") != outcome {
			t.Errorf("%q: %s", text, got.body)
		}
	}

	// Settings are looked at when they change, and count at once.
	ann.patch(installation, m{"settings": m{"message": "No {word}."}}).want(422)
	ann.patch(installation, m{"settings": m{"action": "amend", "mask": "***"}}).want(200)
	if got := ann.post(task+"/comments", m{"body": "darn!"}).want(201); got.str("body") != "***!" {
		t.Errorf("not masked: %s", got.body)
	}
}

// A plugin in Python hears events and calls the host; and where it hangs, it costs its deadline
// and no more, and what it was asked about is allowed or refused as the
// organisation agreed.
func TestPythonPlugin(t *testing.T) {
	needPython(t)
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")

	files := wordguardFiles(t)
	raw, err := os.ReadFile("testdata/pyprobe/main.py")
	if err != nil {
		t.Fatal(err)
	}
	files["main.py"] = raw
	w.addPlugin(packBundle(t, m{
		"id": "pyprobe", "version": "1.0.0", "api": "1", "name": "Python", "description": "Never answers.", "publisher": "Tests",
		"runtime": m{"interpreter": "python3", "main": "main.py"},
		"hooks": []m{
			{"hook": "task.will_create", "on_failure": "allow", "why": "To hang.", "deadline_ms": 100},
			{"hook": "comment.will_create", "on_failure": "refuse", "why": "To hang.", "deadline_ms": 100},
		},
		"events":      []string{"task.created"},
		"actions":     []m{{"name": "talk", "title": "Talk", "description": "Calls the host.", "on": []string{"task"}, "input": m{"type": "object"}}},
		"permissions": []m{{"permission": "tasks.read", "why": "To read a task."}},
	}, files))
	installation := "/v1/plugin-installations/" + ann.post("/v1/plugin-installations", m{
		"plugin_id": "pyprobe", "grants": []string{"tasks.read", "event:task.created", "hook:task.will_create", "hook:comment.will_create", "hook:comment.will_create:refuse",
			"action:talk", "action:talk:anybody"},
	}).want(201).str("id")

	task := ann.post("/v1/projects/"+project+"/tasks", m{"title": "Open"}).want(201).str("id")
	no := ann.post("/v1/tasks/"+task+"/comments", m{"body": "Closed"}).want(503)
	if no.str("code") != "plugin_unavailable" || no.str("plugin") != "pyprobe" {
		t.Errorf("refused with %s", no.body)
	}
	w.settle()
	got := ann.post(installation+"/actions/talk", m{"input": m{}, "subject": m{"type": "task", "id": task}}).want(200)
	if got.num("output.status") != 200 || got.str("output.title") != "Open" || got.str("output.heard") != "task.created" {
		t.Errorf("talked: %s", got.body)
	}
}

// BenchmarkWordguard is the time of a hook in Python on top of making a comment.
func BenchmarkWordguard(b *testing.B) {
	needPython(b)
	w := newWorld(b)
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	comments := "/v1/tasks/" + ann.post("/v1/projects/"+project+"/tasks", m{"title": "T"}).want(201).str("id") + "/comments"
	comment := func(b *testing.B) {
		for b.Loop() {
			ann.post(comments, m{"body": "a text of a few words"}).want(201)
		}
	}
	b.Run("without", comment)
	w.addPlugin(signedFolder(b, wordguard))
	ann.post("/v1/plugin-installations", m{"plugin_id": "wordguard", "settings": m{"words": []m{{"word": "darn"}}},
		"grants": []string{"hook:task.will_create", "hook:task.will_change", "hook:comment.will_create", "hook:comment.will_change",
			"hook:task.will_create:slow", "hook:task.will_change:slow", "hook:comment.will_create:slow", "hook:comment.will_change:slow", "action:test_text", "action:test_text:anybody"}}).want(201)
	b.Run("with", comment)
}
