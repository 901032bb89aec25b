package bundle

import (
	"fmt"
	"strings"
)

// Kind says what is wrong with a bundle.
type Kind string

// The kinds of errors.
const (
	NotABundle   Kind = "not_a_bundle"  // no tar.gz, or damaged
	TooLarge     Kind = "too_large"     // more than a bundle may hold
	BadPath      Kind = "bad_path"      // a name that could land outside, or be mistaken
	BadEntry     Kind = "bad_entry"     // something that is no plain file
	BadManifest  Kind = "bad_manifest"  // wraps a *ManifestError
	BadHashes    Kind = "bad_hashes"    // files and hashes.json do not belong together
	BadSignature Kind = "bad_signature" // signature.json does not belong to hashes.json
	BadBinary    Kind = "bad_binary"    // a program of another platform, or none
	NoBinary     Kind = "no_binary"     // no program for the platform
	BadFolder    Kind = "bad_folder"    // a folder that cannot be packed
	BadKey       Kind = "bad_key"       // a key that cannot be read, or should not be used
)

// Error is what is wrong with a bundle, a folder or a key, and what to do.
type Error struct {
	Kind    Kind
	File    string // which file of the bundle; empty for all of it
	Problem string
	Do      string
	Err     error // what caused it, if anything
}

// Error is one or two sentences.
func (e *Error) Error() string {
	text := e.Problem
	if e.File != "" {
		text = fmt.Sprintf("%q: %s", e.File, text)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Do != "" {
		text += "; " + e.Do
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FieldError is what is wrong with one field of a document.
type FieldError struct {
	Pointer string `json:"pointer"` // a JSON pointer, "" for the whole document
	Message string `json:"message"`
}

// ManifestError lists everything that is wrong with a manifest, in the order
// of the pointers.
type ManifestError struct {
	Fields []FieldError
}

// Error has a line for each field.
func (e *ManifestError) Error() string {
	lines := make([]string, 0, len(e.Fields))
	for _, f := range e.Fields {
		where := f.Pointer
		if where == "" {
			where = "the manifest"
		}
		lines = append(lines, where+": "+f.Message)
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return "\n  " + strings.Join(lines, "\n  ")
}
