package api

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/page"
)

// ListParams are the parameters of every list; inputs embed it.
type ListParams struct {
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many rows a page holds."`
	Cursor  string `query:"cursor" maxLength:"4096" doc:"next_cursor of the page before. It belongs to one organisation, filter and order."`
	Page    int    `query:"page" minimum:"1" maximum:"10000" doc:"Page number from 1, for shallow paging instead of cursor."`
	Include string `query:"include" enum:"total" doc:"total adds the number of matching rows."`
}

// WantTotal reports whether the caller asked for the total.
func (p ListParams) WantTotal() bool { return p.Include == "total" }

// Offset is how many rows a page number skips.
func (p ListParams) Offset() int {
	if p.Page <= 1 {
		return 0
	}
	return (p.Page - 1) * p.Limit
}

// Position reads the cursor into dst and reports whether there was one. A bad
// cursor, or a cursor together with page, is 400 bad_request.
func (p ListParams) Position(ctx context.Context, dst any) (bool, error) {
	if p.Cursor == "" {
		return false, nil
	}
	if p.Page != 0 {
		return false, fault.New(fault.BadRequest, "bad_request", "Use either page or cursor, not both.")
	}
	c := callOf(ctx)
	if err := c.kernel.Cursors.Decode(c.listName(), p.Cursor, dst); err != nil {
		return false, fault.New(fault.BadRequest, "bad_request", "The cursor does not belong to this list. Start again without one.").Because(err)
	}
	return true, nil
}

// Page makes the envelope of rows that were read with limit+1: the row too
// many says that there is a next page and is cut off. key gives the position
// of a row in the order of the list.
func Page[T any](ctx context.Context, p ListParams, rows []T, key func(T) any) (page.Page[T], error) {
	out := page.Page[T]{Data: rows}
	if len(rows) > p.Limit {
		out.Data = rows[:p.Limit]
		next, err := NextCursor(ctx, key(out.Data[p.Limit-1]))
		if err != nil {
			return out, err
		}
		out.NextCursor = &next
	}
	return out, nil
}

// NextCursor signs a position of the list that is being answered.
func NextCursor(ctx context.Context, position any) (string, error) {
	c := callOf(ctx)
	return c.kernel.Cursors.Encode(c.listName(), position)
}

// listName binds a cursor to the organisation, the operation and every
// parameter that selects or orders rows.
func (c *call) listName() string {
	q := c.url.Query()
	for _, free := range []string{"cursor", "after", "limit", "page", "include"} {
		q.Del(free)
	}
	org := ""
	if c.caller != nil {
		org = c.caller.Scope.Organization.String()
	}
	return org + " " + c.op.ID + " " + c.url.Path + "?" + q.Encode()
}

// nextLink is the Link header of RFC 8288 for a page that has a next one.
func (c *call) nextLink(next string) string {
	q := c.url.Query()
	q.Set("cursor", next)
	q.Del("page")
	u := url.URL{Path: c.url.Path, RawQuery: q.Encode()}
	return "<" + u.String() + `>; rel="next"`
}

// Sort is one key of a sort parameter.
type Sort struct {
	Field string
	Desc  bool
}

// ParseSort reads "-priority,due_date" and refuses fields that are not allowed.
func ParseSort(s string, allowed ...string) ([]Sort, error) {
	if s == "" {
		return nil, nil
	}
	var keys []Sort
	for _, part := range strings.Split(s, ",") {
		name, desc := strings.CutPrefix(part, "-")
		if !slices.Contains(allowed, name) || slices.ContainsFunc(keys, func(k Sort) bool { return k.Field == name }) {
			return nil, fault.Invalidf("query.sort", "sort takes each of %s once, with - before it for descending order, not %s",
				strings.Join(allowed, ", "), strconv.Quote(clip(part, 60)))
		}
		keys = append(keys, Sort{Field: name, Desc: desc})
	}
	return keys, nil
}
