// Package ratelimit puts the sidecar's rate limits before the routes of an HTTP server or the methods of a gRPC server:
//
//	limits := sidecarv1.NewRateLimitServiceClient(connection)
//	limit, err := ratelimit.Middleware(limits, ratelimit.Options{}, ratelimit.Rule[*http.Request]{
//		Policy: "api", Key: ratelimit.AddressKey, OnFailure: ratelimit.FailOpen,
//	})
//	...
//	http.ListenAndServe(address, limit(routes))
//
// A rule is a limit with what the sidecar cannot know: whose allowance a request takes from, and what to do when the
// limit cannot be asked. Rules are asked one after the other, each charged as it is asked: the first that does not let
// the request through ends it, and what the ones before have taken stays taken. So the one that costs nobody else
// anything comes first.
//
// A limit fails when there is no answer: the sidecar or its store cannot be reached, is overloaded or too slow, or is at
// fault. A policy that is not configured and a key that the sidecar refuses are mistakes and no failures; they end the
// request whatever OnFailure says. If a misspelt policy failed open, nobody would notice that the limit is not there.
package ratelimit

import (
	"errors"
	"fmt"
	"time"
)

// Skip is what a key returns when its rule does not concern the request.
var Skip = errors.New("the rule does not concern this request") // no error, as fs.SkipDir is none

// OnFailure says what becomes of a request when a limit cannot be asked.
type OnFailure int

// Neither is right for everything, so the zero value is neither, and no rule may have it.
const (
	_ OnFailure = iota
	// FailOpen lets the request through, as if there were no limit.
	FailOpen
	// FailClosed does not, as if the limit were used up.
	FailClosed
)

// Rule is a limit before a route. S is what a key is made from: *http.Request or *Call.
type Rule[S any] struct {
	// Policy is the name of a rate limit in the sidecar's configuration.
	Policy string
	// Key says whose allowance is used, or returns Skip; another error ends the request. Keys are read in Redis by
	// anyone who can read Redis: hash what is personal, and whatever a caller could make longer than 512 bytes.
	Key func(S) (string, error)
	// OnFailure must be given.
	OnFailure OnFailure
	// Name is what clients and observers call the rule. Empty: the policy's name.
	Name string
	// Cost is what a request takes. 0: 1.
	Cost uint32
	// Tier says the caller's tier, one of the policy's; an error ends the request. nil, or an empty tier: the policy's own
	// numbers.
	Tier func(S) (string, error)
	// Window is the policy's, only to be told to clients (w of RateLimit-Policy). 0: it is not told.
	Window time.Duration
	// Hidden keeps answers from saying what is left, where that would tell a stranger what somebody else does. A
	// refusal then says only when to come again.
	Hidden bool
}

func (r Rule[S]) label() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Policy
}

func (r Rule[S]) tier(subject S) (string, error) {
	if r.Tier == nil {
		return "", nil
	}
	return r.Tier(subject)
}

func (r Rule[S]) cost() uint32 {
	return max(r.Cost, 1)
}

// check returns what is wrong with rules that can never work.
func check[S any](rules []Rule[S]) error {
	if len(rules) == 0 {
		return errors.New("ratelimit: there are no rules")
	}
	seen := make(map[string]bool, len(rules))
	for _, rule := range rules {
		switch label := rule.label(); {
		case rule.Policy == "":
			return errors.New("ratelimit: a rule has no policy")
		case !isName(label):
			return fmt.Errorf("ratelimit: the name of rule %q is not printable ASCII", label)
		case seen[label]:
			return fmt.Errorf("ratelimit: two rules are called %q", label)
		case rule.Key == nil:
			return fmt.Errorf("ratelimit: rule %q has no key", label)
		case rule.OnFailure != FailOpen && rule.OnFailure != FailClosed:
			return fmt.Errorf("ratelimit: rule %q does not say what happens when it cannot be asked", label)
		case rule.Window < 0:
			return fmt.Errorf("ratelimit: rule %q has a negative window", label)
		default:
			seen[label] = true
		}
	}
	return nil
}
