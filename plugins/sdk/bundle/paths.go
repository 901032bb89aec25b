package bundle

import (
	"path"
	"strings"
)

// The files that every bundle has, and the one that a signed bundle has.
const (
	manifestFile  = "manifest.json"
	hashesFile    = "hashes.json"
	signatureFile = "signature.json"

	// Extension is how a bundle's file name ends.
	Extension = ".ghplugin"
)

const mostPath = 200

// reserved reports whether a name at the top is the bundle's own.
func reserved(name string) bool {
	switch strings.ToLower(name) {
	case manifestFile, hashesFile, signatureFile:
		return true
	}
	return false
}

// badPath says what is wrong with a file's name; "" if nothing is. Only names
// that mean the same file on every system pass.
func badPath(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > mostPath:
		return "is longer than 200 characters"
	case strings.HasPrefix(name, "/"):
		return "is not relative"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`\:*?"<>|`, r) }):
		return `has a character other than printable ASCII without \ : * ? " < > |`
	case path.Clean(name) != name || name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return "is not a clean relative path"
	}
	for _, part := range strings.Split(name, "/") {
		if strings.Trim(part, " ") != part || strings.HasSuffix(part, ".") {
			return "has a part that begins or ends with a blank, or ends with a point"
		}
	}
	return ""
}

// names holds the names of one archive against each other.
type names map[string]bool // in lower case; true for a file, false for a folder

// add says what is wrong with one name more.
func (n names) add(name string) string {
	if why := badPath(name); why != "" {
		return why
	}
	fold := strings.ToLower(name)
	if _, taken := n[fold]; taken {
		return "is there twice, or differs from another name only in the case of letters"
	}
	n[fold] = true
	for dir := path.Dir(fold); dir != "."; dir = path.Dir(dir) {
		if n[dir] {
			return "lies in a folder that is a file"
		}
		n[dir] = false
	}
	return ""
}
