package ratelimit

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sidecar.internal/clients/go/sidecarv1"
)

// failureWait is how long a caller is sent away when the sidecar itself does not say: it is back from a restart within
// about a second.
const failureWait = time.Second

// Ruling is what one rule says of one request.
type Ruling int

const (
	// Allowed: the cost was taken.
	Allowed Ruling = iota
	// Refused: there is not enough left; this rule took nothing.
	Refused
	// FailedOpen: the limit could not be asked, and the rule lets the request through.
	FailedOpen
	// FailedClosed: the limit could not be asked, and the rule does not.
	FailedClosed
)

// String returns the ruling as a metric's label.
func (r Ruling) String() string {
	names := [...]string{"allowed", "refused", "failed_open", "failed_closed"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("Ruling(%d)", int(r))
	}
	return names[r]
}

// Answer is what came of asking one rule. It does not hold the key: answers go to logs and metrics.
type Answer struct {
	// Rule is the rule's name.
	Rule string
	// Ruling is what the rule says.
	Ruling Ruling
	// Limit and Remaining are the sidecar's; zero when the limit failed.
	Limit, Remaining uint64
	// RetryAfter is how long a request that did not pass should wait; zero: it will never pass.
	RetryAfter time.Duration
	// ResetAfter is how long it takes until the whole allowance is back.
	ResetAfter time.Duration
	// Err is why the limit failed, if it did.
	Err error

	window time.Duration
	hidden bool
}

// passes says whether the rule lets the request through.
func (a *Answer) passes() bool {
	return a.Ruling == Allowed || a.Ruling == FailedOpen
}

// decided says whether the limit was asked.
func (a *Answer) decided() bool {
	return a.Ruling == Allowed || a.Ruling == Refused
}

// decision returns the answer of a rule whose limit was asked.
func decision[S any](rule Rule[S], response *sidecarv1.CheckResponse) Answer {
	ruling := Refused
	if response.GetAllowed() {
		ruling = Allowed
	}
	return Answer{
		Rule: rule.label(), Ruling: ruling, window: rule.Window, hidden: rule.Hidden,
		Limit: response.GetLimit(), Remaining: response.GetRemaining(),
		RetryAfter: response.GetRetryAfter().AsDuration(), ResetAfter: response.GetResetAfter().AsDuration(),
	}
}

// failure returns the answer of a rule whose limit could not be asked, or the error if that was the rule's own mistake.
func failure[S any](rule Rule[S], err error) (Answer, error) {
	failed := status.Convert(err)
	if allowsNothing(failed) {
		// It may come by an operator's hand while the application runs, to stop something at once: no failure, no mistake.
		return decision(rule, &sidecarv1.CheckResponse{}), nil
	}
	if failed.Code() == codes.InvalidArgument || failed.Code() == codes.NotFound {
		return Answer{}, fmt.Errorf("ratelimit: rule %q: %w", rule.label(), err)
	}
	answer := Answer{
		Rule: rule.label(), Ruling: FailedClosed, RetryAfter: failureWait, Err: err, window: rule.Window, hidden: rule.Hidden,
	}
	if rule.OnFailure == FailOpen {
		answer.Ruling = FailedOpen
	}
	for _, detail := range failed.Details() {
		if retry, is := detail.(*errdetails.RetryInfo); is && retry.GetRetryDelay().AsDuration() > 0 {
			answer.RetryAfter = retry.GetRetryDelay().AsDuration()
		}
	}
	return answer, nil
}

// allowsNothing says whether the cost is above the limit because the limit is 0.
func allowsNothing(failed *status.Status) bool {
	for _, detail := range failed.Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is && info.GetReason() == "COST_ABOVE_LIMIT" {
			return info.GetMetadata()["limit"] == "0"
		}
	}
	return false
}
