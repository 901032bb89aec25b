package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/config"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/obs"
	"github.com/guildhall-dev/guildhall/tenant"
)

func demoCommand(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Fill an empty instance with the demonstration organisation", Args: cobra.NoArgs,
		Long: "Makes an organisation with two people, two projects, forty tasks and comments, and prints how to log in.\n" +
			"It refuses an instance on which somebody has an account. Stop a server that uses the private Postgres first.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg, err := s.config()
			if err != nil {
				return err
			}
			ctx, log := cmd.Context(), obs.New(s.err, cfg.LogFormat, cfg.LogLevel)
			d, err := openDatabase(ctx, cfg, log, func(what string) { fmt.Fprintln(s.err, "guildhall:", what) })
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.close()) }()
			if _, err := d.migrate(ctx, log); err != nil {
				return err
			}
			a, err := newApp(ctx, cfg.WithAddr(cfg.Addr), d, role{serve: true}, log, options{})
			if err != nil {
				return err
			}
			defer a.close()
			wanted, err := a.wantsDemo(ctx)
			if err != nil {
				return err
			}
			if !wanted {
				return errors.New("somebody has an account here already; the demonstration is for an empty instance")
			}
			return a.demo(ctx, s.out)
		},
	}
}

// firstStart fills an empty instance with the demonstration, if wanted.
func (s *shell) firstStart(ctx context.Context, a *app, cfg config.Config) error {
	if !cfg.DemoEnabled() {
		return nil
	}
	wanted, err := a.wantsDemo(ctx)
	if err != nil || !wanted {
		return err
	}
	return a.demo(ctx, s.out)
}

// wantsDemo reports whether nobody has an account yet but the people of a
// demonstration that was cut short before its password was shown.
func (a *app) wantsDemo(ctx context.Context) (bool, error) {
	strangers, err := tenant.Value[bool](ctx, a.db.Global(), `select exists (select from users where email_key <> all($1))`, []string{demoOwner, demoMember})
	if err != nil || strangers {
		return false, err
	}
	_, err = os.Stat(a.demoMark())
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// demoMark is a file that says that the demonstration was shown.
func (a *app) demoMark() string { return filepath.Join(a.cfg.DataDir, "demo-shown") }

const (
	demoOwner  = "owner@demo.test"
	demoMember = "member@demo.test"
)

// demo makes the demonstration through the product's own operations, and
// prints once how to get in. Nobody else ever learns the password.
func (a *app) demo(ctx context.Context, out io.Writer) error {
	password := rand.Text()[:16]
	if _, err := a.demoPerson(ctx, "Demo owner", demoOwner, password); err != nil {
		return err
	}
	member, err := a.demoPerson(ctx, "Demo member", demoMember, password)
	if err != nil {
		return err
	}
	owner, err := a.demoLogin(ctx, demoOwner, password)
	if err != nil {
		return err
	}
	org, err := owner.find(ctx, "/v1/organizations", "slug", "harbour-bikes")
	if err == nil && org == "" {
		org, err = owner.make(ctx, "/v1/organizations", m{"name": "Harbour Bikes", "slug": "harbour-bikes"})
	}
	if err != nil {
		return err
	}
	owner.org = org
	orgID, err := id.Parse(org)
	if err != nil {
		return err
	}
	err = a.db.Write(ctx, tenant.ForSystem(orgID), func(tx *tenant.Tx) error {
		return a.features.organizations.AddMember(ctx, tx, member, "member")
	})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	second, err := a.demoLogin(ctx, demoMember, password)
	if err != nil {
		return err
	}
	second.org = org
	for _, p := range demoProjects {
		if err := p.make(ctx, owner, second, member.String()); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "\n  The demonstration organisation Harbour Bikes is ready. This is shown once.\n\n"+
		"    address   %s\n    e-mail    %s   (or %s)\n    password  %s\n\n", a.cfg.PublicURL, demoOwner, demoMember, password); err != nil {
		return err
	}
	return os.WriteFile(a.demoMark(), nil, 0o600)
}

// demoPerson makes a person of the demonstration, or takes the one that a first
// start left behind.
func (a *app) demoPerson(ctx context.Context, name, email, password string) (id.ID, error) {
	user, err := a.features.identity.CreateUser(ctx, a.db, name, email, password)
	if fault.Is(err, fault.Conflict) {
		user, err = a.features.identity.Unlock(ctx, email, password)
	}
	if err != nil {
		return id.Nil, fmt.Errorf("demo: %w", err)
	}
	return user, nil
}

// m is a JSON object.
type m = map[string]any

// inside calls the product's own handler without a connection.
type inside struct {
	handler http.Handler
	token   string
	org     string
}

func (a *app) demoLogin(ctx context.Context, email, password string) (*inside, error) {
	c := &inside{handler: a.handler()}
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := c.call(ctx, "POST", "/v1/auth/login", m{"email": email, "password": password}, &tokens); err != nil {
		return nil, err
	}
	c.token = tokens.AccessToken
	return c, nil
}

// make posts and returns the new thing's id.
func (c *inside) make(ctx context.Context, path string, body m) (string, error) {
	var made struct {
		ID string `json:"id"`
	}
	return made.ID, c.call(ctx, "POST", path, body, &made)
}

// find returns the id of the row of a list whose field has the value, or "".
func (c *inside) find(ctx context.Context, path, field, value string) (string, error) {
	var list struct {
		Data []m `json:"data"`
	}
	if err := c.call(ctx, "GET", path, nil, &list); err != nil {
		return "", err
	}
	for _, row := range list.Data {
		if row[field] == value {
			found, _ := row["id"].(string)
			return found, nil
		}
	}
	return "", nil
}

func (c *inside) call(ctx context.Context, method, path string, body m, out any) error {
	var in io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, path, in)
	if err != nil {
		return err
	}
	req.RemoteAddr = "127.0.0.1:0"
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.org != "" {
		req.Header.Set("Guildhall-Organization", c.org)
	}
	w := &answer{header: http.Header{}}
	c.handler.ServeHTTP(w, req)
	if w.status >= 300 {
		return fmt.Errorf("demo: %s %s: status %d: %s", method, path, w.status, w.body.Bytes())
	}
	return json.Unmarshal(w.body.Bytes(), out)
}

// answer is a response kept in memory.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *answer) WriteHeader(status int)      { a.status = status }

type demoProject struct {
	name, key, description string
	tasks                  []string
}

// make fills a project; the tasks' states, priorities, labels, people and
// dates take turns, so that every view has something to show.
func (p demoProject) make(ctx context.Context, owner, second *inside, member string) error {
	project, err := owner.find(ctx, "/v1/projects", "key", p.key)
	if err == nil && project == "" {
		project, err = owner.make(ctx, "/v1/projects", m{"name": p.name, "key": p.key, "description": p.description})
	}
	if err != nil {
		return err
	}
	var there struct {
		Total int `json:"total"`
	}
	if err := owner.call(ctx, "GET", "/v1/projects/"+project+"/tasks?include=total", nil, &there); err != nil {
		return err
	}
	states := []string{"backlog", "pending", "in_progress", "review", "done"}
	priorities := []string{"none", "low", "medium", "high", "urgent"}
	labels := [][]string{{"design"}, {"shop", "copy"}, {}, {"supplier"}, {"design", "shop"}}
	today := date.Of(time.Now())
	for i, title := range p.tasks {
		if i < there.Total {
			continue // made by a first start that was cut
		}
		task := m{
			"title": title, "status": states[i%5], "priority": priorities[(i*3)%5], "labels": labels[(i*2)%5],
			"due_date": today.AddDays(i - 4).String(),
		}
		if i%2 == 0 {
			task["assigned_to_id"] = member
		}
		made, err := owner.make(ctx, "/v1/projects/"+project+"/tasks", task)
		if err != nil {
			return err
		}
		if i%4 != 1 {
			continue
		}
		question, err := owner.make(ctx, "/v1/tasks/"+made+"/comments", m{"body": "Is anything still missing before we can start?"})
		if err != nil {
			return err
		}
		if _, err := second.make(ctx, "/v1/tasks/"+made+"/comments", m{"body": "Only the **final numbers**. I will add them here.", "parent_id": question}); err != nil {
			return err
		}
	}
	return nil
}

var demoProjects = []demoProject{
	{"Website relaunch", "WEB", "A faster shop window, and one place for repairs and rentals.", []string{
		"Agree on the pages of the first release", "Collect what customers ask on the phone", "Draw the home page", "Draw the repair booking",
		"Choose the photographs", "Photograph the workshop", "Write the text for rentals", "Write the text for repairs", "Set up the new domain",
		"Move the newsletter list", "Build the booking form", "Send a confirmation by mail", "Show opening hours by season",
		"Translate the main pages", "Check contrast and keyboard use", "Measure how fast the pages load", "Redirect the old addresses",
		"Show the team how to edit pages", "Invite ten customers to try it", "Plan the day of the switch",
	}},
	{"Spring collection", "SPRING", "City bikes, helmets and bags for the new season.", []string{
		"Review last spring's sales", "List the models to keep", "Ask three suppliers for prices", "Order samples of the new helmets",
		"Test the folding bike for a week", "Compare the bag fabrics", "Set the retail prices", "Plan the margins with discounts",
		"Reserve space in the storeroom", "Order the first batch", "Check the delivery against the order", "Assemble the display bikes",
		"Label the spare parts", "Write the product descriptions", "Photograph the bikes by the harbour", "Prepare the launch mail",
		"Brief the shop team", "Decorate the window", "Open with a test ride", "Collect what buyers say",
	}},
}
