package orders

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

type mailArgs struct {
	OrderID      id.ID  `json:"order_id"`
	FulfilmentID *id.ID `json:"fulfilment_id,omitempty"` // the parcel that was sent; nil for the confirmation
}

var mailJob = jobs.Define[mailArgs]("orders.mail")

//go:embed mail.txt.tmpl mail.html.tmpl
var mailFiles embed.FS

// letters writes the mails to customers.
type letters struct {
	text *texttemplate.Template
	html *htmltemplate.Template
}

func newLetters() (*letters, error) {
	text, err := texttemplate.ParseFS(mailFiles, "mail.txt.tmpl")
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	html, err := htmltemplate.ParseFS(mailFiles, "mail.html.tmpl")
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	return &letters{text, html}, nil
}

// words are what mails say in one language.
type words struct {
	Confirmed, ConfirmedLine, Shipped, ShippedLine        string // with the number, then the shop
	Item, Subtotal, Discount, Shipping, Tax, Total, Track string
}

// wordsOf are those of a locale's language, else English.
func wordsOf(locale string) words {
	if language, _, _ := strings.Cut(strings.ReplaceAll(locale, "_", "-"), "-"); language == "de" {
		return words{
			Confirmed: "Ihre Bestellung %d bei %s", ConfirmedLine: "Vielen Dank für Ihre Bestellung. Wir haben sie erhalten.",
			Shipped: "Ihre Bestellung %d bei %s ist unterwegs", ShippedLine: "Ein Paket mit dem Folgenden ist unterwegs zu Ihnen.",
			Item: "Artikel", Subtotal: "Zwischensumme", Discount: "Rabatt", Shipping: "Versand", Tax: "Steuer", Total: "Gesamt", Track: "Sendung verfolgen",
		}
	}
	return words{
		Confirmed: "Your order %d at %s", ConfirmedLine: "Thank you for your order. We have received it.",
		Shipped: "Your order %d at %s is on its way", ShippedLine: "A parcel with the following is on its way to you.",
		Item: "Item", Subtotal: "Subtotal", Discount: "Discount", Shipping: "Shipping", Tax: "Tax", Total: "Total", Track: "Track the parcel",
	}
}

type mailLine struct{ Quantity, Title, Amount string }

// letter is what the templates are given. Nothing in it comes from who ordered:
// else an order would be a way to send words of one's own to strangers.
type letter struct {
	Language, Subject, Line string
	Lines, Sums             []mailLine
	Button, URL, Shop       string
}

const selectForMail = `select o.locale, g.name as shop from orders o join organizations g on g.tenant_id = o.tenant_id where o.tenant_id = $1 and o.id = $2`

// sendMail sends the confirmation of an order, or tells of a parcel. The
// Message-ID names what it is about, so that a repeat can be told.
func (f *Feature) sendMail(ctx context.Context, db *tenant.DB, s tenant.Scope, a mailArgs) error {
	v := db.View(s)
	o, err := tenant.One[Order](ctx, v, selectOrder, s.Organization, a.OrderID)
	if errors.Is(err, tenant.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.Number == nil {
		return nil
	}
	type about struct {
		Locale string `db:"locale"`
		Shop   string `db:"shop"`
	}
	to, err := tenant.One[about](ctx, v, selectForMail, s.Organization, a.OrderID)
	if err != nil {
		return err
	}
	var parcel *Fulfilment
	messageID := "order-" + a.OrderID.String()
	if a.FulfilmentID != nil {
		p, err := tenant.One[Fulfilment](ctx, v, selectFulfilment, s.Organization, a.OrderID, *a.FulfilmentID)
		if err != nil {
			return err
		}
		parcel, messageID = &p, "fulfilment-"+p.ID.String()
	}
	m, err := f.letters.compose(o, parcel, to.Locale, to.Shop)
	if err != nil {
		return jobs.Cancel(err)
	}
	m.ID = messageID
	if err := f.Mail.Send(ctx, m); err != nil {
		if !mail.Temporary(err) {
			return jobs.Cancel(err)
		}
		return err
	}
	return nil
}

func (l *letters) compose(o Order, parcel *Fulfilment, locale, shop string) (mail.Message, error) {
	w, shop := wordsOf(locale), oneLine(shop)
	data := letter{Language: "en", Subject: fmt.Sprintf(w.Confirmed, *o.Number, shop), Line: w.ConfirmedLine, Shop: shop}
	if w.Item == "Artikel" {
		data.Language = "de"
	}
	if parcel != nil {
		data.Subject, data.Line = fmt.Sprintf(w.Shipped, *o.Number, shop), w.ShippedLine
		for _, x := range parcel.Lines {
			data.Lines = append(data.Lines, mailLine{Quantity: fmt.Sprint(x.Quantity), Title: oneLine(x.Title)})
		}
		data.Button, data.URL = w.Track, parcel.TrackingURL
	} else {
		for _, x := range o.Lines {
			title := x.Title
			if x.VariantTitle != "" {
				title += " (" + x.VariantTitle + ")"
			}
			data.Lines = append(data.Lines, mailLine{fmt.Sprint(x.Quantity), oneLine(title), x.Subtotal.String()})
		}
		t := o.Totals
		data.Sums = []mailLine{{Title: w.Subtotal, Amount: t.Subtotal.String()}}
		if t.Discount.Amount > 0 {
			data.Sums = append(data.Sums, mailLine{Title: w.Discount, Amount: "-" + t.Discount.String()})
		}
		data.Sums = append(data.Sums, mailLine{Title: w.Shipping, Amount: t.Shipping.String()}, mailLine{Title: w.Tax, Amount: t.Tax.String()}, mailLine{Title: w.Total, Amount: t.Total.String()})
	}
	var text, html bytes.Buffer
	if err := l.text.Execute(&text, data); err != nil {
		return mail.Message{}, fmt.Errorf("orders: write a mail: %w", err)
	}
	if err := l.html.Execute(&html, data); err != nil {
		return mail.Message{}, fmt.Errorf("orders: write a mail: %w", err)
	}
	return mail.Message{To: o.Email, Subject: data.Subject, Text: text.String(), HTML: html.String(), Headers: map[string]string{"Auto-Submitted": "auto-generated"}}, nil
}

// oneLine keeps a name from becoming more than one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
