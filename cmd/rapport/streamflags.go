package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"rapport/aggregator/export/stream"
	"rapport/api"
	"rapport/internal/guard"
	"rapport/store"
)

// streamFlags tell where the log is passed on to.
type streamFlags struct {
	Stream        []string `sep:"none" placeholder:"NAME=URL" help:"Pass the log on, to https://host/path or kinesis://stream-name?region=REGION; behind a # what to send, as in rapport stream --help. May be given several times; in the environment, separated by spaces."`
	StreamSecret  string   `secret:"" placeholder:"NAME=SECRET,…" help:"What the requests of a stream to http or https are signed with."`
	OutboundAllow bound    `placeholder:"CIDR,…" help:"Networks beside the internet that streams and rules may reach over http and https, such as 10.20.0.0/16. Default: none, not even loopback."`
}

// streamPlan is a stream that is to be sent.
type streamPlan struct {
	stream.Config
	secret string
}

// plans reads the flags.
func (f *streamFlags) plans() ([]streamPlan, error) {
	secrets, err := f.secrets()
	if err != nil {
		return nil, err
	}
	var plans []streamPlan
	names := make(map[string]bool)
	for _, text := range strings.Fields(strings.Join(f.Stream, " ")) {
		config, err := stream.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("--stream: %w", err)
		}
		if names[config.Name] {
			return nil, fmt.Errorf("--stream: there are two streams of the name %s", config.Name)
		}
		names[config.Name] = true
		secret, hasSecret := secrets[config.Name]
		switch {
		case config.IsHTTP() && !hasSecret:
			return nil, fmt.Errorf("the stream %s needs a secret that signs its requests: write %s=SECRET into %s", config.Name, config.Name, variable("stream-secret"))
		case !config.IsHTTP() && hasSecret:
			return nil, fmt.Errorf("the stream %s has no use for a secret: requests to Kinesis are signed by AWS's credentials of the environment", config.Name)
		}
		plans = append(plans, streamPlan{config, secret})
	}
	for name := range secrets {
		if !names[name] {
			return nil, fmt.Errorf("--stream-secret (%s) has a secret of a stream that --stream does not name", variable("stream-secret"))
		}
	}
	return plans, nil
}

// secrets are those of the streams by name. Its errors tell none of them.
func (f *streamFlags) secrets() (map[string]string, error) {
	texts, err := list("stream-secret", f.StreamSecret)
	if err != nil {
		return nil, err
	}
	secrets := make(map[string]string, len(texts))
	for _, text := range texts {
		name, secret, found := strings.Cut(text, "=")
		if !found || name == "" || secret == "" {
			return nil, fmt.Errorf("--stream-secret (%s) must be NAME=SECRET, or several of them with commas between", variable("stream-secret"))
		}
		if _, twice := secrets[name]; twice {
			return nil, fmt.Errorf("--stream-secret (%s) has two secrets of one stream", variable("stream-secret"))
		}
		secrets[name] = secret
	}
	return secrets, nil
}

// checkStreams tells what is wrong with the flags.
func (f *streamFlags) checkStreams() error {
	if _, err := f.plans(); err != nil {
		return err
	}
	_, err := f.outbound()
	return err
}

// outbound is what keeps requests on the internet.
func (f *streamFlags) outbound() (*guard.Guard, error) {
	allowed, err := f.outboundNetworks()
	if err != nil {
		return nil, err
	}
	return guard.New(allowed), nil
}

// outboundNetworks are those that may be reached beside the internet.
func (f *streamFlags) outboundNetworks() ([]netip.Prefix, error) {
	allowed, err := parseRanges(string(f.OutboundAllow))
	if err != nil {
		return nil, errors.New("--outbound-allow must be networks or addresses such as 10.20.0.0/16,127.0.0.1")
	}
	return allowed, nil
}

// followers makes the followers of the streams.
func (f *streamFlags) followers(db *store.DB, watch *store.Watch, metrics *api.Metrics, logger *slog.Logger) ([]*stream.Follower, error) {
	plans, err := f.plans()
	if err != nil || len(plans) == 0 {
		return nil, err
	}
	outbound, err := f.outbound()
	if err != nil {
		return nil, err
	}
	told := stream.NewMetrics()
	if err := metrics.Register(told); err != nil {
		return nil, err
	}
	followers := make([]*stream.Follower, len(plans))
	for i, plan := range plans {
		sink, err := stream.Open(context.Background(), plan.Config, plan.secret, outbound)
		if err != nil {
			return nil, err
		}
		if host := plan.URL.Hostname(); plan.URL.Scheme == "http" && !isLoopback(host) {
			logger.Warn("what a stream sends can be read on its way: use https", "stream", plan.Name, "host", net.JoinHostPort(host, plan.URL.Port()))
		}
		followers[i] = stream.NewFollower(stream.Options{
			DB: db, Watch: watch, Config: plan.Config, Sink: sink, Metrics: told, Logger: logger,
		})
	}
	return followers, nil
}
