package access

import (
	"slices"
	"testing"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
)

func TestKeyOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Support":    "support",
		"Sales (EU)": "sales_eu",
		"2nd line":   "nd_line",
		"经理":         "role",
		" - ":        "role",
		"aaaaaaaaaa bbbbbbbbbb cccccccccc ddddddd eee": "aaaaaaaaaa_bbbbbbbbbb_cccccccccc_ddddddd",
	} {
		if got := keyOf(name); got != want {
			t.Errorf("keyOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestCheckKnown(t *testing.T) {
	t.Parallel()
	c, err := authz.NewCatalogue([]authz.Permission{{Key: "a.read", From: authz.Guest}, {Key: "b.write", From: authz.Admin}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkKnown(c, []string{"b.write", "a.read", "b.write"})
	if err != nil || !slices.Equal(got, []string{"a.read", "b.write"}) {
		t.Errorf("checkKnown gives %v, %v", got, err)
	}
	if got, err := checkKnown(c, nil); err != nil || got == nil {
		t.Errorf("checkKnown of nothing gives %v, %v", got, err)
	}
	_, err = checkKnown(c, []string{"a.read", "c.read"})
	if f := fault.As(err); f == nil || f.Fields[0].Pointer != "/permissions/1" {
		t.Errorf("checkKnown of an unknown key gives %v", err)
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	x := Explanation{Role: "guest", Permission: "a.manage"}
	for least, want := range map[string]string{
		authz.Owner:  "The role guest does not hold a.manage; of the built-in roles only owner does.",
		authz.Member: "The role guest does not hold a.manage; of the built-in roles member does, and each above it.",
	} {
		if got := reason(x, least); got != want {
			t.Errorf("reason is %q, want %q", got, want)
		}
	}
	x.Allowed, x.Rule = true, []string{"guest", "a.manage"}
	if got := reason(x, authz.Guest); got != "The role guest holds a.manage." {
		t.Errorf("reason is %q", got)
	}
}
