package comments

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

var (
	ann = id.MustParse("0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07")
	ben = id.MustParse("0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c08")
)

func TestMentioned(t *testing.T) {
	t.Parallel()
	link := func(name string, who id.ID) string { return fmt.Sprintf("@[%s](user:%s)", name, who) }
	for _, c := range []struct {
		body string
		want []id.ID
	}{
		{"nobody at all, ann@example.test, @ann", nil},
		{"hello " + link("Ann", ann), []id.ID{ann}},
		{link("Ben", ben) + link("Ann", ann), []id.ID{ben, ann}},
		{link("Ann", ann) + " and again " + link("Anna", ann), []id.ID{ann}},
		{strings.ToUpper("0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"), nil},
		{"@[Ann](user:" + strings.ToUpper(ann.String()) + ")", []id.ID{ann}},
		{"[Ann](user:" + ann.String() + ")", nil},
		{"@[](user:" + ann.String() + ")", nil},
		{"@[Ann](task:" + ann.String() + ")", nil},
		{"@[Ann](user:" + ann.String()[:35] + ")", nil},
		{"@[An\nn](user:" + ann.String() + ")", nil},
	} {
		if got := mentioned(c.body); !slices.Equal(got, c.want) {
			t.Errorf("mentioned(%q) = %v, want %v", c.body, got, c.want)
		}
	}
}

// Whatever the text, mentions are few and each stands once.
func TestMentionedIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "n")
		var b strings.Builder
		for range n {
			who := id.ID{15: rapid.Byte().Draw(t, "who")}
			b.WriteString(rapid.StringN(0, 10, -1).Draw(t, "text"))
			fmt.Fprintf(&b, "@[x](user:%s)", who)
		}
		got := mentioned(b.String())
		if len(got) > maxMentions {
			t.Fatalf("%d mentions", len(got))
		}
		for i, who := range got {
			if slices.Contains(got[:i], who) {
				t.Fatalf("%s stands twice", who)
			}
		}
	})
}

func TestWhoMayChangeAComment(t *testing.T) {
	t.Parallel()
	author, other := tenant.Actor{Kind: tenant.User, ID: ann}, tenant.Actor{Kind: tenant.User, ID: ben}
	key := tenant.Actor{Kind: tenant.Key, ID: ann} // kinds share no space of ids
	for _, c := range []struct {
		role         work.Role
		archived     bool
		who          tenant.Actor
		edit, remove string // the fault's code, "" if allowed
	}{
		{work.Contributor, false, author, "", ""},
		{work.Lead, false, author, "", ""},
		{work.Viewer, false, author, "permission_denied", "permission_denied"},
		{work.Contributor, true, author, "project_archived", "project_archived"},
		{work.Contributor, false, other, "permission_denied", "permission_denied"},
		{work.Contributor, false, key, "permission_denied", "permission_denied"},
		{work.Lead, false, other, "permission_denied", ""},
		{work.Lead, true, other, "project_archived", "project_archived"},
	} {
		h := held{Comment{CreatedBy: event.ActorRef{Type: "user", ID: &ann}}, work.Access{Role: c.role, Archived: c.archived}}
		if got := code(h.editable(c.who)); got != c.edit {
			t.Errorf("%+v edits: %q", c, got)
		}
		if got := code(h.deletable(c.who)); got != c.remove {
			t.Errorf("%+v deletes: %q", c, got)
		}
	}
}

func code(err error) string {
	if f := fault.As(err); f != nil {
		return f.Code
	}
	return ""
}
