package ratelimit

import (
	"fmt"
	"strings"
	"time"
)

// The fields of draft-ietf-httpapi-ratelimit-headers-11, lists of structured fields (RFC 9651), and Retry-After (RFC 9110,
// section 10.2.3). All know whole seconds only; a fraction is rounded up, for who comes too early is refused again.
const (
	fieldRateLimit       = "RateLimit"
	fieldRateLimitPolicy = "RateLimit-Policy"
	fieldRetryAfter      = "Retry-After"
)

// maxInteger is the largest integer of a structured field (RFC 9651, section 3.3.1); a sidecar's limit may be larger.
const maxInteger = 999_999_999_999_999

// rateLimitPolicy returns the value of RateLimit-Policy, "" if no answer is to be shown.
func rateLimitPolicy(answers []Answer) string {
	var items []string
	for _, answer := range answers {
		if !answer.decided() || answer.hidden {
			continue
		}
		item := fmt.Sprintf("%s;q=%d", text(answer.Rule), min(answer.Limit, maxInteger))
		if answer.window > 0 {
			item += fmt.Sprintf(";w=%d", wholeSeconds(answer.window))
		}
		items = append(items, item)
	}
	return strings.Join(items, ", ")
}

// rateLimit returns the value of RateLimit, "" if no answer is to be shown. A refusal shows only the limit that refuses, for
// as long as it does: Retry-After stands beside it, and must not end before a window that is shown.
func rateLimit(answers []Answer, stoppedBy *Answer) string {
	var items []string
	for index := range answers {
		answer := &answers[index]
		if !answer.decided() || answer.hidden || (stoppedBy != nil && answer != stoppedBy) {
			continue
		}
		item := fmt.Sprintf("%s;r=%d", text(answer.Rule), min(answer.Remaining, maxInteger))
		switch {
		case answer.Ruling == Allowed:
			item += fmt.Sprintf(";t=%d", wholeSeconds(answer.ResetAfter))
		case answer.RetryAfter > 0:
			item += fmt.Sprintf(";t=%d", wholeSeconds(answer.RetryAfter))
		}
		items = append(items, item)
	}
	return strings.Join(items, ", ")
}

// wholeSeconds rounds up.
func wholeSeconds(span time.Duration) int64 {
	return int64((max(span, 0) + time.Second - 1) / time.Second)
}

// isName says whether a structured field's string can hold the text, which has at least a character.
func isName(name string) bool {
	for _, character := range name {
		if character < 0x20 || character > 0x7e {
			return false
		}
	}
	return name != ""
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func text(name string) string {
	return `"` + escapes.Replace(name) + `"`
}
