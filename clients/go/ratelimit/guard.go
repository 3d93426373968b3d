package ratelimit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"sidecar.internal/clients/go/sidecarv1"
)

// defaultTimeout is that of the Python client: a limit that takes longer is no help to anyone who waits.
const defaultTimeout = time.Second

// Options are the same for all rules. The zero value is ready for use.
type Options struct {
	// Timeout bounds each check, which is never repeated. 0: a second.
	Timeout time.Duration
	// Observe, if it is set, is told each answer of a rule: enough for a counter by rule and ruling. It must be safe for
	// concurrent use.
	Observe func(Answer)
	// Logger is told when a rule begins to fail and when it is asked again. nil: slog's default.
	Logger *slog.Logger
}

// guard asks the rules of a request.
type guard[S any] struct {
	limits  sidecarv1.RateLimitServiceClient
	rules   []Rule[S]
	options Options
	failing []atomic.Bool // by the rule's index
}

func newGuard[S any](limits sidecarv1.RateLimitServiceClient, options Options, rules []Rule[S]) (*guard[S], error) {
	if err := check(rules); err != nil {
		return nil, err
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &guard[S]{
		limits: limits, rules: slices.Clone(rules), options: options, failing: make([]atomic.Bool, len(rules)),
	}, nil
}

// judge asks the rules until one does not let the subject through, and returns the answers; stoppedBy is the last of
// them if it does not. The error is a key's or a tier's, a mistake's, or that the request itself is over.
func (g *guard[S]) judge(ctx context.Context, subject S) (answers []Answer, stoppedBy *Answer, err error) {
	for index, rule := range g.rules {
		key, err := rule.Key(subject)
		if errors.Is(err, Skip) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		tier, err := rule.tier(subject)
		if err != nil {
			return nil, nil, err
		}
		answer, err := g.ask(ctx, rule, key, tier)
		if err != nil {
			return nil, nil, err
		}
		g.tell(index, answer)
		answers = append(answers, answer)
		if !answer.passes() {
			return answers, &answers[len(answers)-1], nil
		}
	}
	return answers, nil, nil
}

func (g *guard[S]) ask(ctx context.Context, rule Rule[S], key, tier string) (Answer, error) {
	asking, cancel := context.WithTimeout(ctx, g.options.Timeout)
	defer cancel()
	cost := rule.cost()
	request := &sidecarv1.CheckRequest{Policy: rule.Policy, Key: key, Cost: &cost, Tier: tier}
	response, err := g.limits.Check(asking, request)
	switch {
	case err == nil:
		return decision(rule, response), nil
	case ctx.Err() != nil: // not the limit failed: its caller has gone
		return Answer{}, ctx.Err()
	default:
		return failure(rule, err)
	}
}

// tell tells the observer of an answer, and the log when a rule begins to fail and when it is asked again. The log is for
// people: a line for each request would drown what they look for.
func (g *guard[S]) tell(index int, answer Answer) {
	failing := !answer.decided()
	if g.failing[index].CompareAndSwap(!failing, failing) {
		if failing {
			g.options.Logger.Warn("a rate limit cannot be asked", "rule", answer.Rule, "ruling", answer.Ruling, "error", answer.Err)
		} else {
			g.options.Logger.Info("a rate limit is asked again", "rule", answer.Rule)
		}
	}
	if g.options.Observe != nil {
		g.options.Observe(answer)
	}
}
