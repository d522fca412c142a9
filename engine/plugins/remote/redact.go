package remote

import (
	"encoding/json"
	"strings"
)

// Shorter pieces of stdin are words that occur anywhere; hiding them would make the output unreadable.
const shortestSecret = 8

// newRedactor returns a function that takes what was given on stdin out of a text that is about to be shown: every
// line of it and, if it is JSON, every string in it. Secrets reach machines on stdin, and a command may echo them.
func newRedactor(stdin string) func(string) string {
	var pairs []string
	hide := func(secret string) {
		if secret = strings.TrimSpace(secret); len(secret) >= shortestSecret {
			pairs = append(pairs, secret, "[secret]")
		}
	}
	hideLines := func(text string) {
		for line := range strings.Lines(text) {
			hide(line)
		}
	}
	hideLines(stdin)
	var document any
	if json.Unmarshal([]byte(stdin), &document) == nil {
		eachString(document, hideLines)
	}
	return strings.NewReplacer(pairs...).Replace
}

func eachString(value any, do func(string)) {
	switch value := value.(type) {
	case string:
		do(value)
		// Documents are nested in strings: a file of passwords is JSON inside JSON.
		var inner any
		if json.Unmarshal([]byte(value), &inner) == nil {
			eachString(inner, do)
		}
	case []any:
		for _, item := range value {
			eachString(item, do)
		}
	case map[string]any:
		for _, item := range value {
			eachString(item, do)
		}
	}
}
