package webhooks

import (
	"testing"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// Examples that are sent again do not wait for each other.
func TestReplayedExampleHasASubjectOfItsOwn(t *testing.T) {
	t.Parallel()
	event, task := id.New(), id.New()
	example := resend{Delivery: Delivery{EventID: event}, Example: []byte("{}")}
	if got, want := example.subject(), "example:"+event.String(); got != want {
		t.Errorf("an example has the subject %s, want %s", got, want)
	}
	happened := resend{Delivery: Delivery{EventID: event}, SubjectType: "task", SubjectID: &task}
	if got, want := happened.subject(), "task:"+task.String(); got != want {
		t.Errorf("an event has the subject %s, want %s", got, want)
	}
}
