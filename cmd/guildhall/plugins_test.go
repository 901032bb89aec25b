package main

import (
	"strings"
	"testing"
)

// A plugin is installed with consent, and asked about single and bulk changes
// alike.
func TestPluginHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("ACME")
	project := ann.post("/v1/projects", m{"name": "P"}).want(201).str("id")
	w.installProbe(ann, m{"refuse": "forbidden"})
	tasks := "/v1/projects/" + project + "/tasks"

	no := ann.post(tasks, m{"title": "a forbidden thing"}).want(422)
	if no.str("code") != "plugin_refused" || no.str("detail") != "The word forbidden is not used here." || no.str("plugin") != "probe" {
		t.Errorf("refused with %s", no.body)
	}
	made := ann.post(tasks, m{"title": "label: paint", "labels": []string{"red"}}).want(201)
	if made.str("title") != "paint" || !strings.Contains(string(made.body), `"probed"`) {
		t.Errorf("not amended: %s", made.body)
	}
	task := made.str("id")
	ann.patch("/v1/tasks/"+task, m{"title": "forbidden"}).want(422)
	ann.put("/v1/tasks/"+task, m{"title": "forbidden"}).want(422)
	if got := ann.patch("/v1/tasks/"+task, m{"title": "label: other"}).want(200); got.str("title") != "other" {
		t.Errorf("not amended: %s", got.body)
	}
	// An amendment of what cannot be amended is ignored, since the organisation
	// agreed to allow on failure.
	ann.post(tasks, m{"title": "number: 8"}).want(201)
	// A hook reads; it cannot write.
	if got := ann.post(tasks, m{"title": "write: it"}).want(422); !strings.Contains(got.str("detail"), "must not change anything") {
		t.Errorf("a hook wrote: %s", got.body)
	}

	second := ann.post(tasks, m{"title": "fine"}).want(201).str("id")
	w.app.features.plugins.Settle(t.Context())
	id := ann.get("/v1/plugin-installations").want(200).str("data.0.id")
	ann.patch("/v1/plugin-installations/"+id, m{"settings": m{"refuse": "fine"}}).want(200)
	bulk := ann.post("/v1/tasks/bulk", m{"task_ids": []string{task, second}, "set": m{"priority": "high"}}).want(200)
	if bulk.num("results.0.status") != 200 || bulk.num("results.1.status") != 422 || bulk.str("results.1.error.code") != "plugin_refused" {
		t.Errorf("bulk: %s", bulk.body)
	}

	comment := ann.post("/v1/tasks/"+task+"/comments", m{"body": "that is fine"}).want(422)
	if comment.str("code") != "plugin_refused" {
		t.Errorf("comment: %s", comment.body)
	}
	// Suspended, it is not asked any more; with the next call already.
	ann.patch("/v1/plugin-installations/"+id, m{"status": "suspended"}).want(200)
	ann.post("/v1/tasks/"+task+"/comments", m{"body": "that is fine"}).want(201)
	ann.delete("/v1/plugin-installations/" + id).want(204)
}
