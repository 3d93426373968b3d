package ratelimit

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"sidecar.internal/clients/go/sidecarv1"
)

// quotaExceeded is the type of a refusal's problem document, registered by the fields' draft.
const quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// ipv6PrefixBits is the smallest part of the address space that goes to one customer (RFC 6177).
const ipv6PrefixBits = 64

// Middleware returns what puts the rules before a handler. A request that passes reaches the handler, and its answer says
// what is left in RateLimit and RateLimit-Policy. One that is refused is answered with 429, one whose limit failed closed
// with 503, both with Retry-After and a problem document (RFC 9457). A key's error and a mistake are a 500.
//
// A key that reads the body must put it back (r.Body = ...), within a bound of its own.
func Middleware(
	limits sidecarv1.RateLimitServiceClient, options Options, rules ...Rule[*http.Request],
) (func(http.Handler) http.Handler, error) {
	guard, err := newGuard(limits, options, rules)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answers, stoppedBy, err := guard.judge(r.Context(), r)
			switch {
			case err != nil && r.Context().Err() != nil: // the client has gone
			case err != nil:
				guard.options.Logger.Error("the rate limits of a request cannot be asked", "error", err)
				answerProblem(w, problem{Type: "about:blank", Title: "Internal Server Error", Status: http.StatusInternalServerError})
			default:
				setFields(w.Header(), answers, stoppedBy)
				if stoppedBy != nil {
					answerProblem(w, problemOf(stoppedBy))
					return
				}
				next.ServeHTTP(w, r)
			}
		})
	}, nil
}

// AddressKey is a key: the client's address as the server sees it, of IPv6 the /64 that it is in, since its owner could use
// another address for each request. Behind a proxy that is the proxy's own; make a key from what the proxy sends, if nobody
// else can send it.
func AddressKey(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil { // a Unix socket
		return "local", nil
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host, nil
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String(), nil
	}
	prefix, err := address.Prefix(ipv6PrefixBits)
	return prefix.String(), err
}

// setFields adds the fields; those of lists may stand in an answer more than once.
func setFields(header http.Header, answers []Answer, stoppedBy *Answer) {
	if policy := rateLimitPolicy(answers); policy != "" {
		header.Add(fieldRateLimitPolicy, policy)
	}
	if limit := rateLimit(answers, stoppedBy); limit != "" {
		header.Add(fieldRateLimit, limit)
	}
	if stoppedBy != nil && stoppedBy.RetryAfter > 0 {
		header.Set(fieldRetryAfter, strconv.FormatInt(wholeSeconds(stoppedBy.RetryAfter), 10))
	}
}

type problem struct {
	Type             string   `json:"type"`
	Title            string   `json:"title"`
	ViolatedPolicies []string `json:"violated-policies,omitempty"`
	Status           int      `json:"status"`
	Detail           string   `json:"detail,omitempty"`
}

func problemOf(stoppedBy *Answer) problem {
	if stoppedBy.Ruling == FailedClosed {
		return problem{
			Type: "about:blank", Title: "Service Unavailable", Status: http.StatusServiceUnavailable,
			Detail: "The rate limit of this resource cannot be asked at present.",
		}
	}
	refused := problem{
		Type: quotaExceeded, Title: "Quota Exceeded", Status: http.StatusTooManyRequests,
		Detail: "Too many requests; Retry-After says when to come again.",
	}
	if stoppedBy.RetryAfter == 0 {
		refused.Detail = "This is not allowed at present."
	}
	if !stoppedBy.hidden {
		refused.ViolatedPolicies = []string{stoppedBy.Rule}
	}
	return refused
}

func answerProblem(w http.ResponseWriter, document problem) {
	body, err := json.Marshal(document)
	if err != nil { // strings and a number: it cannot be
		panic(err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(document.Status)
	_, _ = w.Write(body) // who has hung up reads no refusal
}
