package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// triggerFlags are what trigger is asked for.
type triggerFlags struct {
	forwardTo string
	endpoint  string
	secret    string
	list      bool
}

func triggerCommand(s *shell) *cobra.Command {
	var f triggerFlags
	cmd := &cobra.Command{
		Use:   "trigger TYPE",
		Short: "Send an example of an event to an application under development",
		Long: "Sends an example of an event of the type, signed, to where you say:\n\n" +
			"  by default      to each guildhall listen that runs on this machine with the same GUILDHALL_URL and GUILDHALL_API_KEY\n" +
			"  --forward-to    to an address of yours, directly\n" +
			"  --endpoint      through the instance, to a webhook endpoint of the organisation; needs webhooks.manage\n\n" +
			"Nothing happens in the organisation: the example has no sequence, and the header webhook-test.\n\n" +
			"The status is 0 when the receiver took it (2xx), 1 when it did not, and 2 when nothing was sent.",
		Example: "  guildhall trigger --list\n" +
			"  guildhall trigger task.created\n" +
			"  guildhall trigger task.created --forward-to http://127.0.0.1:3000/hook\n" +
			"  guildhall trigger task.created --endpoint 0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07 || echo refused",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := s.newTrigger(f, args)
			if err != nil {
				return exitError{exitNotSent, err}
			}
			return t.run(cmd.Context(), args)
		},
	}
	cmd.Flags().BoolVar(&f.list, "list", false, "list the types of events")
	cmd.Flags().StringVar(&f.forwardTo, "forward-to", "", "send it to this address, such as http://127.0.0.1:3000/hook")
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "", "have the instance send it to the webhook endpoint with this id")
	cmd.Flags().StringVar(&f.secret, "secret", "", "with --forward-to: sign with this whsec_… instead of the secret that is kept for the key")
	return endsWith2(cmd)
}

// trigger is one run of the command.
type trigger struct {
	triggerFlags
	remote *remote
	folder folder
	out    io.Writer
	client *http.Client // to a listen
}

func (s *shell) newTrigger(f triggerFlags, args []string) (*trigger, error) {
	switch {
	case !f.list && len(args) != 1:
		return nil, errors.New("name one type: guildhall trigger task.created sends one; guildhall trigger --list lists them")
	case f.list && (len(args) > 0 || f.forwardTo != "" || f.endpoint != ""):
		return nil, errors.New("--list stands alone")
	case f.forwardTo != "" && f.endpoint != "":
		return nil, errors.New("give --forward-to or --endpoint, not both")
	case f.secret != "" && f.forwardTo == "":
		return nil, errors.New("--secret goes with --forward-to; a listen signs with its own")
	}
	if err := checkForwardTo(f.forwardTo); err != nil {
		return nil, err
	}
	r, err := s.remote()
	if err != nil {
		return nil, err
	}
	t := &trigger{triggerFlags: f, remote: r, out: s.out, client: &http.Client{Transport: &http.Transport{}, Timeout: attemptLimit + grace}}
	if !f.list && f.endpoint == "" {
		t.folder, err = s.folder()
	}
	return t, err
}

func (t *trigger) run(ctx context.Context, args []string) error {
	var err error
	switch {
	case t.list:
		err = t.types(ctx)
	case t.endpoint != "":
		err = t.throughEndpoint(ctx, args[0])
	default:
		var e liveEvent
		if e, err = t.example(ctx, args[0]); err != nil {
			break
		}
		if t.forwardTo != "" {
			err = t.straight(ctx, e)
		} else {
			err = t.toListeners(ctx, e)
		}
	}
	if err == nil || errors.As(err, new(exitError)) {
		return err
	}
	return exitError{exitNotSent, err}
}

// eventType is what the instance says of a type.
type eventType struct {
	Type        string          `json:"type"`
	Description string          `json:"description"`
	Example     json.RawMessage `json:"example"`
}

func (t *trigger) types(ctx context.Context) error {
	all, err := t.remote.eventTypes(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	for _, e := range all {
		fmt.Fprintf(w, "%s\t%s\n", plain(e.Type), plain(e.Description))
	}
	return w.Flush()
}

// eventTypes lists what can happen in an organisation.
func (r *remote) eventTypes(ctx context.Context) (all []eventType, err error) {
	query := url.Values{"limit": {"200"}}
	for {
		var page struct {
			Data       []eventType `json:"data"`
			NextCursor *string     `json:"next_cursor"`
		}
		if err := r.call(ctx, http.MethodGet, "/v1/event-types?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextCursor == nil {
			return all, nil
		}
		query.Set("cursor", *page.NextCursor)
	}
}

// example is an event of the type as the instance describes it, with an id and
// a time of its own, so that a receiver that tells repeats by the id takes it.
func (t *trigger) example(ctx context.Context, kind string) (liveEvent, error) {
	var answer eventType
	err := t.remote.call(ctx, http.MethodGet, "/v1/event-types/"+url.PathEscape(kind), nil, &answer)
	var p *problem
	if errors.As(err, &p) && (p.status == http.StatusNotFound || p.status == http.StatusUnprocessableEntity) {
		return liveEvent{}, fmt.Errorf("there is no event type %q; guildhall trigger --list lists them", kind)
	}
	if err != nil {
		return liveEvent{}, err
	}
	e, err := readEvent(answer.Example)
	if err != nil {
		return e, fmt.Errorf("the example of %s: %w", kind, err)
	}
	e.ID, e.Timestamp, e.Sequence, e.example = id.New(), time.Now().UTC().Truncate(time.Microsecond), nil, true
	e.raw, err = json.Marshal(e.Event)
	return e, err
}

// straight sends the example to an address.
func (t *trigger) straight(ctx context.Context, e liveEvent) error {
	secret, err := t.folder.signingSecret(t.remote, t.secret)
	if err != nil {
		return err
	}
	a := newForwarder(t.forwardTo, secret, t.remote.URL, nil).once(ctx, e, 1)
	return t.report(e, t.forwardTo, a)
}

// toListeners hands the example to each listen of the same key.
func (t *trigger) toListeners(ctx context.Context, e liveEvent) error {
	all := t.folder.listeners(ctx, t.client)
	mine := slices.DeleteFunc(slices.Clone(all), func(l listener) bool { return l.Account != t.remote.account() })
	if len(mine) == 0 {
		others := ""
		if len(all) > 0 {
			others = fmt.Sprintf(" (%d with another GUILDHALL_URL or GUILDHALL_API_KEY)", len(all))
		}
		return fmt.Errorf("no guildhall listen runs here%s. Any of these sends it:\n"+
			"  guildhall listen --forward-to http://127.0.0.1:3000/hook     in another terminal, then this again\n"+
			"  guildhall trigger %[2]s --forward-to http://127.0.0.1:3000/hook\n"+
			"  guildhall trigger %[2]s --endpoint ID                        through the instance, to a webhook endpoint", others, e.Type)
	}
	var failed error
	for _, l := range mine {
		h, err := l.hand(ctx, t.client, e.raw)
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
		case h.ForwardTo == "":
			fmt.Fprintf(t.out, "%s %s was printed by guildhall listen, which forwards nowhere\n", e.Type, e.ID)
		default:
			a := attempt{h.Status, plain(h.Error), time.Duration(h.Millis) * time.Millisecond}
			failed = errors.Join(failed, t.report(e, plain(h.ForwardTo), a))
		}
	}
	return failed
}

func (t *trigger) report(e liveEvent, to string, a attempt) error {
	if !a.delivered() {
		return exitError{exitRefused, fmt.Errorf("%s %s -> %s: %s", e.Type, e.ID, to, a)}
	}
	_, err := fmt.Fprintf(t.out, "%s %s -> %s: %s\n", e.Type, e.ID, to, a)
	return err
}

// verdictWithin is how long trigger waits to hear what an endpoint answered.
const verdictWithin = 35 * time.Second

// throughEndpoint has the instance send an example to an endpoint and waits for
// what became of it.
func (t *trigger) throughEndpoint(ctx context.Context, kind string) error {
	var accepted struct {
		DeliveryID string `json:"delivery_id"`
	}
	path := "/v1/webhook-endpoints/" + url.PathEscape(t.endpoint) + "/test"
	if err := t.remote.call(ctx, http.MethodPost, path, map[string]string{"event_type": kind}, &accepted); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s -> endpoint %s: delivery %s\n", kind, t.endpoint, accepted.DeliveryID)
	ctx, cancel := context.WithTimeout(ctx, verdictWithin)
	defer cancel()
	for {
		var d delivery
		err := t.remote.call(ctx, http.MethodGet, "/v1/webhook-deliveries/"+url.PathEscape(accepted.DeliveryID), nil, &d)
		var p *problem
		switch {
		case errors.As(err, &p) && p.Permission != "":
			_, err = fmt.Fprintln(t.out, "What became of it, a key with", plain(p.Permission), "may see.")
			return err
		case err == nil && d.Status == "delivered":
			_, err = fmt.Fprintf(t.out, "delivered: %s\n", d.answer())
			return err
		case err == nil && d.Status != "pending":
			return exitError{exitRefused, fmt.Errorf("%s: %s", plain(d.Status), d.answer())}
		case err != nil && (!errors.As(err, &p) || !p.passing()) && ctx.Err() == nil:
			return err
		}
		if sleep(ctx, pollEvery/2) != nil {
			return exitError{exitRefused, fmt.Errorf("the endpoint has not answered yet; GET /v1/webhook-deliveries/%s tells later", accepted.DeliveryID)}
		}
	}
}

// delivery is what is read of a delivery.
type delivery struct {
	Status     string  `json:"status"`
	Reason     *string `json:"reason"`
	LastStatus *int    `json:"last_status_code"`
}

func (d delivery) answer() string {
	switch {
	case d.Reason != nil:
		return plain(*d.Reason)
	case d.LastStatus != nil:
		return fmt.Sprintf("the endpoint answered %d", *d.LastStatus)
	}
	return "no answer"
}
