package main

import (
	"fmt"
	"strings"
)

// The alphabet of GSM 03.38: what takes one septet, and what takes two. With
// anything else in it, a message is written in UCS-2.
const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmTwice = "\f^{}\\[~]|€"
)

// alphabet is a way to write messages: how much fits into one that stands alone,
// and into a part of a longer one, which has a header.
type alphabet struct {
	alone, part int
	size        func(rune) int
	dots        string
}

func gsm() alphabet {
	return alphabet{160, 153, func(c rune) int {
		if strings.ContainsRune(gsmTwice, c) {
			return 2
		}
		return 1
	}, "..."}
}

func ucs2() alphabet {
	return alphabet{70, 67, func(c rune) int {
		if c > 0xffff {
			return 2 // a surrogate pair
		}
		return 1
	}, "…"}
}

// alphabetOf is the smallest in which a text can be written.
func alphabetOf(text string) alphabet {
	for _, c := range text {
		if !strings.ContainsRune(gsmBasic, c) && !strings.ContainsRune(gsmTwice, c) {
			return ucs2()
		}
	}
	return gsm()
}

// segments counts the parts of a message. What takes two places is not torn.
func (a alphabet) segments(text string) int {
	total := 0
	for _, c := range text {
		total += a.size(c)
	}
	if total <= a.alone {
		return 1
	}
	parts, used := 1, 0
	for _, c := range text {
		n := a.size(c)
		if used+n > a.part {
			parts, used = parts+1, 0
		}
		used += n
	}
	return parts
}

// fit makes a message of a text and a tail, such as an address, that is never
// cut. A text that is too long is cut, if that is not refused.
func fit(text, tail string, most int, refuse bool) (string, error) {
	a := alphabetOf(text + tail)
	n := a.segments(text + tail)
	if n <= most {
		return text + tail, nil
	}
	if refuse {
		return "", fmt.Errorf("the message has %d parts, at most %d are allowed", n, most)
	}
	runes := []rune(text)
	low, high := 0, len(runes) // how much stays: low fits, high does not
	if a.segments(a.dots+tail) > most {
		return "", fmt.Errorf("its address alone has more than %d parts", most)
	}
	for low+1 < high {
		if middle := (low + high) / 2; a.segments(string(runes[:middle])+a.dots+tail) <= most {
			low = middle
		} else {
			high = middle
		}
	}
	return strings.TrimRight(string(runes[:low]), " ") + a.dots + tail, nil
}
