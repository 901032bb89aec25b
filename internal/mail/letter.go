package mail

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	texttemplate "text/template"
)

// Letter is what a mail to a person says, in both forms.
type Letter struct {
	Subject string
	Lines   []string
	Button  string // what the link or the code is for
	URL     string // "" for none
	Code    string // to be copied where there is no link, "" for none
	After   string
	Sender  string // whose name stands below
}

//go:embed letter.txt.tmpl letter.html.tmpl
var letterFiles embed.FS

// Letters writes letters. It is safe for concurrent use.
type Letters struct {
	text *texttemplate.Template
	html *htmltemplate.Template
}

// NewLetters reads the templates.
func NewLetters() (*Letters, error) {
	text, err := texttemplate.ParseFS(letterFiles, "letter.txt.tmpl")
	if err != nil {
		return nil, fmt.Errorf("mail: NewLetters: %w", err)
	}
	html, err := htmltemplate.ParseFS(letterFiles, "letter.html.tmpl")
	if err != nil {
		return nil, fmt.Errorf("mail: NewLetters: %w", err)
	}
	return &Letters{text: text, html: html}, nil
}

// Write makes the message to one address. The id makes its Message-ID, so that
// a repeat can be told by who receives it.
func (w *Letters) Write(l Letter, to, id string) (Message, error) {
	var text, html bytes.Buffer
	if err := w.text.Execute(&text, l); err != nil {
		return Message{}, fmt.Errorf("mail: write a letter: %w", err)
	}
	if err := w.html.Execute(&html, l); err != nil {
		return Message{}, fmt.Errorf("mail: write a letter: %w", err)
	}
	return Message{
		To: to, Subject: l.Subject, Text: text.String(), HTML: html.String(), ID: id,
		Headers: map[string]string{"Auto-Submitted": "auto-generated"},
	}, nil
}
