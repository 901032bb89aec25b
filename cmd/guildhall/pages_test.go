package main

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var mailedLink = regexp.MustCompile(`http://guildhall\.test(/\S*)`)

// TestEveryMailedLinkOpens makes the product write each kind of mail that it
// knows and follows the links.
func TestEveryMailedLinkOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, bob := w.person("Ann"), w.person("Bob")
	w.nobody().post("/v1/auth/register", m{"username": "Ann", "email": ann.email, "password": testPassword}).want(201)
	org := ann.organization("Acme")
	org.post("/v1/invitations", m{"email": bob.email, "role": "member"}).want(201)
	w.nobody().post("/v1/auth/password-reset", m{"email": bob.email}).want(200)
	w.settle() // before the new password makes the link pointless
	bob.post("/v1/users/me/password", m{"current_password": testPassword, "password": testPassword + " staple"}).want(204)
	ann.patch("/v1/users/me", m{"email": "new." + ann.email, "current_password": testPassword}).want(200)
	w.settle()
	for _, mail := range w.mails("new." + ann.email) {
		if found := linkToken.FindStringSubmatch(mail.Text); found != nil {
			w.nobody().post("/v1/auth/confirm-email", m{"token": found[1]}).want(200)
		}
	}
	w.settle()

	met := map[string]bool{}
	subjects := map[string]bool{}
	for _, mail := range w.mails("") {
		subjects[mail.Subject] = true
		links := mailedLink.FindAllStringSubmatch(mail.Text, -1)
		if len(links) == 0 {
			t.Errorf("the mail %q has no link: %s", mail.Subject, mail.Text)
		}
		for _, link := range links {
			path, token, _ := strings.Cut(link[1], "#token=")
			if met[path] = true; strings.Contains(path, "token") || token != "" && url.PathEscape(token) != token {
				t.Errorf("the mail %q has a link that tells the server the token: %s", mail.Subject, link[0])
			}
			r, err := w.nobody().try("GET", path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.want(200); r.header("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(string(r.body), "<h1>") {
				t.Errorf("GET %s of the mail %q is no page: %s", path, mail.Subject, r.header("Content-Type"))
			}
		}
	}
	for _, path := range []string{"/confirm-email", "/reset-password", "/login", "/forgot-password", "/invitations/accept"} {
		if !met[path] {
			t.Errorf("no mail leads to %s", path)
		}
	}
	for _, subject := range []string{
		"Confirm your e-mail address", "Choose a new password", "You already have an account", "Your password was changed",
		"Your e-mail address was changed", "Invitation to Acme",
	} {
		if !subjects[subject] {
			t.Errorf("no mail %q was sent", subject)
		}
	}
	r, err := w.nobody().try("POST", "/reset-password", m{})
	if err != nil {
		t.Fatal(err)
	}
	if r.want(405).code("method_not_allowed"); !strings.Contains(r.header("Allow"), "GET") {
		t.Errorf("POST /reset-password: Allow is %q", r.header("Allow"))
	}
}
