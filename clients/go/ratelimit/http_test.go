package ratelimit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sidecar "sidecar.internal/clients/go"
	"sidecar.internal/clients/go/ratelimit"
	"sidecar.internal/clients/go/sidecarv1"
)

type httpRule = ratelimit.Rule[*http.Request]

var byAddress = httpRule{
	Policy: "auth", Name: "caller", Key: ratelimit.AddressKey, OnFailure: ratelimit.FailClosed, Window: time.Minute,
}

// quiet keeps warnings that a test provokes out of its output.
var quiet = ratelimit.Options{Logger: slog.New(slog.DiscardHandler)}

// hello answers every request, and counts them.
type hello struct{ calls int }

func (h *hello) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h.calls++
	w.Header().Set("X-Own", "kept")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "hello")
}

// ask returns the answer to a request, and whether the handler saw it.
func ask(t *testing.T, limits sidecarv1.RateLimitServiceClient, options ratelimit.Options, rules ...httpRule) (*http.Response, bool) {
	t.Helper()
	limit, err := ratelimit.Middleware(limits, options, rules...)
	if err != nil {
		t.Fatal(err)
	}
	handler, recorder := &hello{}, httptest.NewRecorder()
	limit(handler).ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/login", http.NoBody))
	return recorder.Result(), handler.calls == 1
}

// problem returns the members of a problem document.
func problem(t *testing.T, answer *http.Response) map[string]any {
	t.Helper()
	equal(t, "content type", "application/problem+json", answer.Header.Get("Content-Type"))
	var members map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&members); err != nil {
		t.Fatal(err)
	}
	return members
}

// What is allowed reaches the handler, and its answer says what is left.
func TestAnAnswerSaysWhatIsLeft(t *testing.T) {
	played, limits := playing(t, allowed(9))
	answer, seen := ask(t, limits, quiet, byAddress)
	equal(t, "seen", true, seen)
	equal(t, "status", http.StatusCreated, answer.StatusCode)
	equal(t, "own field", "kept", answer.Header.Get("X-Own"))
	equal(t, "policy", `"caller";q=10;w=60`, answer.Header.Get("RateLimit-Policy"))
	equal(t, "limit", `"caller";r=9;t=66`, answer.Header.Get("RateLimit"))
	equal(t, "retry", "", answer.Header.Get("Retry-After"))
	equal(t, "key", "192.0.2.1", played.received[0].GetKey())
	equal(t, "cost", 1, played.received[0].GetCost())
}

// A rule's tier goes along; an error of it ends the request as one of a key does.
func TestARuleSaysTheTier(t *testing.T) {
	played, limits := playing(t, allowed(9))
	tiered := byAddress
	tiered.Tier = func(*http.Request) (string, error) { return "pro", nil }
	_, seen := ask(t, limits, quiet, tiered)
	equal(t, "seen", true, seen)
	equal(t, "tier", "pro", played.received[0].GetTier())

	tiered.Tier = func(*http.Request) (string, error) { return "", errors.New("no account") }
	answer, seen := ask(t, limits, quiet, tiered)
	equal(t, "seen", false, seen)
	equal(t, "status", http.StatusInternalServerError, answer.StatusCode)
}

// What is refused is a 429 that says when to come again, in whole seconds, rounded up.
func TestARefusalSaysWhenToComeAgain(t *testing.T) {
	_, limits := playing(t, refused(57_600*time.Millisecond))
	answer, seen := ask(t, limits, quiet, byAddress)
	equal(t, "seen", false, seen)
	equal(t, "status", http.StatusTooManyRequests, answer.StatusCode)
	equal(t, "retry", "58", answer.Header.Get("Retry-After"))
	equal(t, "policy", `"caller";q=10;w=60`, answer.Header.Get("RateLimit-Policy"))
	equal(t, "limit", `"caller";r=0;t=58`, answer.Header.Get("RateLimit"))
	members := problem(t, answer)
	equal(t, "type", "https://iana.org/assignments/http-problem-types#quota-exceeded", members["type"])
	equal(t, "policies", "[caller]", fmt.Sprint(members["violated-policies"]))
	equal(t, "status member", "429", fmt.Sprint(members["status"]))
}

// Several limits are shown by their names; the first refusal ends it, and shows only itself.
func TestSeveralLimits(t *testing.T) {
	all := func(*http.Request) (string, error) { return "all", nil }
	everybody := httpRule{Policy: "auth", Name: `every"body`, Key: all, OnFailure: ratelimit.FailOpen}
	last := httpRule{Policy: "api", Key: all, OnFailure: ratelimit.FailOpen}
	played, limits := playing(t, allowed(9), allowed(8), allowed(7), allowed(9), refused(2*time.Second))

	passed, _ := ask(t, limits, quiet, byAddress, everybody, last)
	equal(t, "policy", `"caller";q=10;w=60, "every\"body";q=10, "api";q=10`, passed.Header.Get("RateLimit-Policy"))
	equal(t, "limit", `"caller";r=9;t=66, "every\"body";r=8;t=66, "api";r=7;t=66`, passed.Header.Get("RateLimit"))

	stopped, _ := ask(t, limits, quiet, byAddress, everybody, last)
	equal(t, "status", http.StatusTooManyRequests, stopped.StatusCode)
	equal(t, "limit", `"every\"body";r=0;t=2`, stopped.Header.Get("RateLimit"))
	equal(t, "checks", 5, len(played.received))
}

// A hidden limit shows in nothing; a refusal says when to come again, and not which limit it was.
func TestAHiddenLimit(t *testing.T) {
	hidden := byAddress
	hidden.Hidden = true
	_, limits := playing(t, allowed(9), refused(2*time.Second))
	for _, expected := range []int{http.StatusCreated, http.StatusTooManyRequests} {
		answer, _ := ask(t, limits, quiet, hidden)
		equal(t, "status", expected, answer.StatusCode)
		equal(t, "policy", "", answer.Header.Get("RateLimit-Policy"))
		equal(t, "limit", "", answer.Header.Get("RateLimit"))
		body, _ := io.ReadAll(answer.Body)
		equal(t, "told", false, strings.Contains(string(body), "caller"))
	}
}

// A limit that cannot be asked is open or closed; the wait is what the sidecar asks for, or a second.
func TestFailures(t *testing.T) {
	for _, failure := range []struct {
		step  step
		retry string
	}{
		{fails(codes.Unavailable, 2500*time.Millisecond), "3"},
		{fails(codes.ResourceExhausted, 0), "1"},
		{fails(codes.DeadlineExceeded, 0), "1"},
		{fails(codes.Unknown, 0), "1"},
	} {
		_, limits := playing(t, failure.step, failure.step)
		closed, seen := ask(t, limits, quiet, byAddress)
		equal(t, "seen", false, seen)
		equal(t, "status", http.StatusServiceUnavailable, closed.StatusCode)
		equal(t, "retry", failure.retry, closed.Header.Get("Retry-After"))
		equal(t, "type", "about:blank", problem(t, closed)["type"])

		open := byAddress
		open.OnFailure = ratelimit.FailOpen
		passed, seen := ask(t, limits, quiet, open)
		equal(t, "seen", true, seen)
		equal(t, "limit", "", passed.Header.Get("RateLimit"))
	}
}

// A limit of nothing refuses, and names no time: waiting does not help.
func TestALimitOfNothing(t *testing.T) {
	nothing := must(status.New(codes.InvalidArgument, "above").WithDetails(
		&errdetails.ErrorInfo{Reason: "COST_ABOVE_LIMIT", Domain: "sidecar.v1", Metadata: map[string]string{"limit": "0"}}))
	_, limits := playing(t, step{err: nothing.Err()}, refused(0))
	for _, quota := range []string{"0", "10"} {
		answer, seen := ask(t, limits, quiet, byAddress)
		equal(t, "seen", false, seen)
		equal(t, "status", http.StatusTooManyRequests, answer.StatusCode)
		equal(t, "policy", `"caller";q=`+quota+`;w=60`, answer.Header.Get("RateLimit-Policy"))
		equal(t, "limit", `"caller";r=0`, answer.Header.Get("RateLimit"))
		equal(t, "retry", "", answer.Header.Get("Retry-After"))
	}
}

// A mistake does not fail open: a misspelt policy would be no limit at all, and nobody would know.
func TestAMistakeDoesNotFailOpen(t *testing.T) {
	open := byAddress
	open.OnFailure = ratelimit.FailOpen
	for _, code := range []codes.Code{codes.NotFound, codes.InvalidArgument} {
		_, limits := playing(t, fails(code, 0))
		answer, seen := ask(t, limits, quiet, open)
		equal(t, "seen", false, seen)
		equal(t, "status", http.StatusInternalServerError, answer.StatusCode)
	}
}

// A rule that does not concern the request is not asked; a key's error ends the request.
func TestKeysMaySkipAndFail(t *testing.T) {
	played, limits := playing(t)
	skipping, failing := byAddress, byAddress
	skipping.Key = func(*http.Request) (string, error) { return "", fmt.Errorf("none: %w", ratelimit.Skip) }
	failing.Key = func(*http.Request) (string, error) { return "", errors.New("no key") }
	skipped, _ := ask(t, limits, quiet, skipping)
	failed, _ := ask(t, limits, quiet, failing)
	equal(t, "skipped", http.StatusCreated, skipped.StatusCode)
	equal(t, "failed", http.StatusInternalServerError, failed.StatusCode)
	equal(t, "checks", 0, len(played.received))
}

// A client that has gone gets no answer, and is no failure of the limit.
func TestAClientThatHasGone(t *testing.T) {
	_, limits := playing(t)
	var heard []ratelimit.Answer
	options := ratelimit.Options{Observe: func(answer ratelimit.Answer) { heard = append(heard, answer) }, Logger: quiet.Logger}
	limit := must(ratelimit.Middleware(limits, options, byAddress))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	handler, recorder := &hello{}, httptest.NewRecorder()
	limit(handler).ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
	equal(t, "seen", 0, handler.calls)
	equal(t, "answered", 0, recorder.Body.Len())
	equal(t, "heard", 0, len(heard))
}

// The observer hears of every answer, the log of an outage once; neither hears the key.
func TestObserverAndLog(t *testing.T) {
	_, limits := playing(t, fails(codes.Unavailable, 0), fails(codes.Unavailable, 0), allowed(9), refused(time.Second))
	var heard []string
	var log bytes.Buffer
	options := ratelimit.Options{
		Observe: func(answer ratelimit.Answer) { heard = append(heard, answer.Rule+" "+answer.Ruling.String()) },
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
	}
	open := byAddress
	open.OnFailure = ratelimit.FailOpen
	limit := must(ratelimit.Middleware(limits, options, open))
	for range 4 {
		limit(&hello{}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	}
	expected := "caller failed_open,caller failed_open,caller allowed,caller refused"
	equal(t, "heard", expected, strings.Join(heard, ","))
	equal(t, "warnings", 1, strings.Count(log.String(), "a rate limit cannot be asked"))
	equal(t, "ends", 1, strings.Count(log.String(), "a rate limit is asked again"))
	equal(t, "keys", 0, strings.Count(log.String(), "192.0.2.1"))
}

// An address is what one customer has; of IPv6 that is a whole network.
func TestAddressKey(t *testing.T) {
	for remote, expected := range map[string]string{
		"192.0.2.7:1":              "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:1": "2001:db8:1:2::/64",
		"[::ffff:192.0.2.7]:1":     "192.0.2.7",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"@":                        "local",
	} {
		equal(t, remote, expected, must(ratelimit.AddressKey(&http.Request{RemoteAddr: remote})))
	}
}

// Rules that can never work are refused when they are made.
func TestRulesAreChecked(t *testing.T) {
	_, limits := playing(t)
	for says, change := range map[string]func(*httpRule){
		"has no policy":         func(r *httpRule) { r.Policy = "" },
		"not printable ASCII":   func(r *httpRule) { r.Name = "zwölf" },
		"has no key":            func(r *httpRule) { r.Key = nil },
		"does not say what":     func(r *httpRule) { r.OnFailure = 0 },
		"has a negative window": func(r *httpRule) { r.Window = -1 },
	} {
		wrong := byAddress
		change(&wrong)
		_, err := ratelimit.Middleware(limits, quiet, wrong)
		equal(t, says, true, err != nil && strings.Contains(err.Error(), says))
	}
	_, err := ratelimit.Middleware(limits, quiet)
	equal(t, "none", true, err != nil)
	_, err = ratelimit.Middleware(limits, quiet, byAddress, byAddress)
	equal(t, "twice", true, err != nil)
}

// On a real sidecar with the policies of examples/hospital: the eleventh login of a minute is refused, another caller is not.
func TestTheEleventhLoginOnARealSidecar(t *testing.T) {
	address := os.Getenv("SIDECAR_ADDRESS")
	if address == "" {
		t.Skip("SIDECAR_ADDRESS names no running sidecar")
	}
	connection := must(sidecar.Dial(address))
	defer func() { _ = connection.Close() }()
	run := time.Now().UnixNano()
	byUser := httpRule{Policy: "auth", Name: "logins", OnFailure: ratelimit.FailClosed, Key: func(r *http.Request) (string, error) {
		return fmt.Sprintf("go:%d:%s", run, r.Header.Get("X-User")), nil
	}}
	options := ratelimit.Options{Timeout: 10 * time.Second}
	limit := must(ratelimit.Middleware(sidecarv1.NewRateLimitServiceClient(connection), options, byUser))
	server := httptest.NewServer(limit(&hello{}))
	defer server.Close()
	login := func(user string) *http.Response {
		request := must(http.NewRequest(http.MethodPost, server.URL, http.NoBody))
		request.Header.Set("X-User", user)
		answer := must(server.Client().Do(request))
		_ = answer.Body.Close()
		return answer
	}
	for number := range 10 {
		answer := login("ada")
		equal(t, "status", http.StatusCreated, answer.StatusCode)
		equal(t, "left", true, strings.HasPrefix(answer.Header.Get("RateLimit"), fmt.Sprintf(`"logins";r=%d;t=`, 9-number)))
	}
	eleventh := login("ada")
	equal(t, "status", http.StatusTooManyRequests, eleventh.StatusCode)
	// The window is counted in ten parts, and a slot comes free at most one part late.
	if wait := must(strconv.Atoi(eleventh.Header.Get("Retry-After"))); wait < 1 || wait > 66 {
		t.Errorf("Retry-After: expected at most 66, got %d", wait)
	}
	equal(t, "another's status", http.StatusCreated, login("grace").StatusCode)
}
