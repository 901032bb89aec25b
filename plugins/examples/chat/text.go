package main

import (
	"strings"
	"unicode"
)

// The chats that are known.
const (
	slack      = "slack"
	mattermost = "mattermost"
	discord    = "discord"
)

// How much of a text is posted, in characters.
const (
	maxTitle = 200
	maxText  = 600
)

// longest is what the chat takes of a message.
func longest(style string) int {
	if style == discord {
		return 2000
	}
	return 4000
}

// escape makes somebody's text plain in a chat: nothing in it is markup, a link
// with another name than its address, or a mention. It stays on one line, so that
// it cannot begin a quotation, a list or a heading.
func escape(style, text string, most int) string {
	text = clip(strings.Join(strings.FieldsFunc(text, func(c rune) bool {
		return unicode.IsSpace(c) || unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c)
	}), " "), most)
	var out strings.Builder
	for _, c := range text {
		switch {
		case c == '@': // whoever is named, nobody is called
			out.WriteString("@\u200b")
		case style != mattermost && style != discord: // Slack knows no backslash
			switch c {
			case '&':
				out.WriteString("&amp;")
			case '<':
				out.WriteString("&lt;")
			case '>':
				out.WriteString("&gt;")
			case '*', '_', '~', '`': // markup only where a word begins or ends
				out.WriteString("\u200b")
				out.WriteRune(c)
				out.WriteString("\u200b")
			default:
				out.WriteRune(c)
			}
		case strings.ContainsRune("\\`*_~|<>[]()#!", c):
			out.WriteRune('\\')
			out.WriteRune(c)
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}

func bold(style, text string) string {
	if style == mattermost || style == discord {
		return "**" + text + "**"
	}
	return "*" + text + "*"
}

func clip(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
