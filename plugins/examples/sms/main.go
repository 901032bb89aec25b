// Command sms is a plugin that sends notifications as text messages, through
// Twilio or a service with the same API.
//
//	notification.send/sms ──► POST Messages.json ──► the service ──► telephone
//	sms_delivered, sms_failed ◄── inbound "status", signed ◄────┘
//
// The service has no way to send a message once only: a request that got no
// answer may have sent it, and is not repeated by the plugin itself. Guildhall
// decides whether it asks again.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{
		Provides:      map[string]sdk.Provider{"notification.send/sms": sdk.Provide(notify)},
		Actions:       map[string]func(context.Context, *sdk.Call, *sdk.Action) (sdk.Result, error){"send_test": sendTest},
		Inbound:       map[string]func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error){"status": hearStatus},
		CheckSettings: check,
	})
}

// settings are what the organisation set.
type settings struct {
	AccountSID  string `json:"account_sid"`
	AuthToken   string `json:"auth_token"`
	From        string `json:"from"`
	BaseURL     string `json:"base_url"`
	PublicURL   string `json:"public_url"`
	MaxSegments int    `json:"max_segments"`
	TooLong     string `json:"too_long"`
}

func settingsOf(c *sdk.Call) (settings, error) {
	s := settings{MaxSegments: 3, BaseURL: "https://api.twilio.com", TooLong: "truncate"}
	if err := c.Settings(&s); err != nil {
		return s, sdk.Final(err)
	}
	return s, nil
}

// notification is the input of the point notification.send.
type notification struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	URL     string `json:"url"`
}

// receipt is its output.
type receipt struct {
	ExternalID string `json:"external_id"`
}

// notify sends a notification.
func notify(ctx context.Context, c *sdk.Call, n notification) (receipt, error) {
	s, err := settingsOf(c)
	if err != nil {
		return receipt{}, err
	}
	to, err := number(n.To)
	if err != nil {
		return receipt{}, sdk.Final(err)
	}
	text := strings.TrimSpace(n.Text)
	if text == "" {
		return receipt{}, sdk.Finalf("the message is empty")
	}
	if n.Subject != "" {
		text = n.Subject + ": " + text
	}
	tail := ""
	if n.URL != "" {
		tail = " " + n.URL
	}
	text, err = fit(text, tail, s.MaxSegments, s.TooLong == "refuse")
	if err != nil {
		return receipt{}, sdk.Final(err)
	}
	sid, err := send(ctx, c, s, to, text)
	return receipt{sid}, err
}

// sendTest is the action of that name.
func sendTest(ctx context.Context, c *sdk.Call, a *sdk.Action) (sdk.Result, error) {
	var in struct {
		To string `json:"to"`
	}
	if err := a.Decode(&in); err != nil {
		return sdk.Result{}, sdk.Final(err)
	}
	r, err := notify(ctx, c, notification{To: in.To, Text: "This is a test message from Guildhall."})
	if sdk.IsFinal(err) {
		return sdk.Result{Refusal: err.Error()}, nil
	}
	if err != nil {
		return sdk.Result{}, err
	}
	return sdk.Result{Message: "The service took the message as " + r.ExternalID + ".", Output: r}, nil
}

// hearStatus takes the service's word of what became of a message. It may come
// twice, and in another order than it happened.
func hearStatus(ctx context.Context, c *sdk.Call, r *sdk.Request) (*sdk.Response, error) {
	s, err := settingsOf(c)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(r.Body))
	if err != nil || s.PublicURL == "" || !signed(s.AuthToken, s.PublicURL, form, r.Header.Get("X-Twilio-Signature")) {
		return &sdk.Response{Status: http.StatusForbidden, Body: []byte("this is not signed as it should be")}, nil
	}
	sid, to := form.Get("MessageSid"), masked(form.Get("To"))
	if sid == "" || form.Get("AccountSid") != s.AccountSID {
		return &sdk.Response{Status: http.StatusBadRequest, Body: []byte("this is about no message of this account")}, nil
	}
	switch form.Get("MessageStatus") {
	case "delivered":
		_, err = c.Emit(ctx, "sms_delivered", map[string]string{"sid": sid, "to": to}, sdk.Once(sid+" delivered"))
	case "undelivered", "failed":
		_, err = c.Emit(ctx, "sms_failed", map[string]string{"sid": sid, "to": to, "code": form.Get("ErrorCode")}, sdk.Once(sid+" failed"))
	}
	return &sdk.Response{}, err
}

// masked leaves the middle of a number out: the log is for many eyes.
func masked(number string) string {
	if len(number) < 7 {
		return "…"
	}
	return number[:3] + "…" + number[len(number)-2:]
}

// check says what the schema of the settings cannot.
func check(_ context.Context, c *sdk.Call) (bad []sdk.SettingsError, err error) {
	s, err := settingsOf(c)
	if err != nil {
		return nil, err
	}
	say := func(pointer, format string, args ...any) {
		bad = append(bad, sdk.SettingsError{Pointer: pointer, Message: fmt.Sprintf(format, args...)})
	}
	if !isAddress(s.BaseURL) {
		say("/base_url", "is not an address such as https://api.twilio.com")
	}
	if s.PublicURL != "" && (!isAddress(s.PublicURL) || !strings.HasSuffix(s.PublicURL, "/inbound/status")) {
		say("/public_url", "is not the address of this installation's inbound entry: https://…/v1/plugin-installations/…/inbound/status")
	}
	if _, err := number(s.From); err != nil && !isName(s.From) {
		say("/from", "is neither a number such as +4930123456 nor a name of up to 11 letters, digits and blanks")
	}
	return bad, nil
}

func isAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}
