package mail

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"
	"unicode"
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

// mostQuoted is how much of a name a letter shows.
const mostQuoted = 64

// Harmless is a name as a letter to a stranger shows it: short, and with nothing
// that a mail program would make a link of.
func Harmless(name string) string {
	var b strings.Builder
	runes := []rune(name)
	n := 0
	for i, r := range runes {
		if n++; n > mostQuoted {
			b.WriteRune('…')
			break
		}
		switch {
		case strings.ContainsRune("/\\:@／＠<>“”\"", r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r):
			b.WriteRune(' ')
		case strings.ContainsRune(".。．｡․", r) && i+1 < len(runes) && !unicode.IsSpace(runes[i+1]):
			b.WriteString(". ")
		default:
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
