// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command receiver runs the reference receiver of webhooks on its own. Once it listens it writes one line of JSON with
// its addresses to stdout; its log goes to stderr. It ends at SIGINT or SIGTERM, after it has answered what it can.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/webhookdelivery/operator/hack/receiver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

// addresses is the line on stdout.
type addresses struct {
	URL      string `json:"url"`
	AdminURL string `json:"admin_url,omitempty"`
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	options, caFile, err := parse(args, stderr)
	if err != nil {
		return err
	}
	server, err := receiver.Start(options)
	if err != nil {
		return err
	}
	if err := announce(server, caFile, stdout); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// announce writes the certificate to trust before the addresses, so that who reads the addresses finds it.
func announce(server *receiver.Server, caFile string, stdout io.Writer) error {
	if caFile != "" {
		err := os.WriteFile(caFile, server.CA(), 0o600) //nolint:gosec // whoever runs the program names the file
		if err != nil {
			return fmt.Errorf("the certificate to trust: %w", err)
		}
	}
	if err := json.NewEncoder(stdout).Encode(addresses{server.URL(), server.AdminURL()}); err != nil {
		return fmt.Errorf("the addresses: %w", err)
	}
	return nil
}

// parse reads the flags. They are the options of the receiver, but for secrets, which come from files: a command line
// is readable by everyone on the machine.
func parse(args []string, stderr io.Writer) (o receiver.Options, caFile string, err error) {
	f := flag.NewFlagSet("receiver", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8443", "address to receive on; port 0 takes a free one")
	f.StringVar(&o.AdminListen, "admin-listen", "", "address to serve the account on; empty for none")
	f.BoolVar(&o.Plain, "plain", false, "serve HTTP, not HTTPS")
	f.StringVar(&caFile, "ca-out", "", "file to write the certificate authority to, for the sender to trust")
	f.Func("host", "name or address in the certificate; may be repeated (default loopback and *.receiver.test)",
		func(host string) error { o.Hosts = append(o.Hosts, host); return nil })
	f.Func("secret-file", "file with a secret to accept; may be repeated; without one nothing is verified",
		func(name string) error {
			secret, err := os.ReadFile(name)
			o.Secrets = append(o.Secrets, strings.TrimSuffix(string(secret), "\n"))
			return err
		})
	f.BoolVar(&o.SkipSignature, "skip-signature", false, "verify x-webhook-secret only")
	f.IntVar(&o.Otherwise.FailFirst, "fail-first", 0, "fail the first N requests of each delivery")
	f.IntVar(&o.Otherwise.Status, "status", 0, "status to answer; with --fail-first only to the first N")
	f.BoolVar(&o.Otherwise.Hang, "hang", false, "never answer; with --fail-first only the first N")
	f.StringVar(&o.Otherwise.RetryAfter, "retry-after", "", "Retry-After header of failures")
	f.DurationVar(&o.Otherwise.Delay, "delay", 0, "time before each answer")
	f.DurationVar(&o.SuspectAfter, "suspect-after", 4*time.Minute,
		"time after a task's first refused request until it is suspected to be missed; 0 for never")
	f.StringVar(&o.FetchURL, "fetch-url", "/fetch", "where the result of a missed task would be fetched")
	quiet := f.Bool("quiet", false, "log warnings only")
	if err := f.Parse(args); err != nil {
		return o, "", err
	}
	if f.NArg() > 0 {
		return o, "", fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if caFile != "" && o.Plain {
		return o, "", errors.New("-ca-out: without HTTPS there is no certificate")
	}
	level := slog.LevelInfo
	if *quiet {
		level = slog.LevelWarn
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return o, caFile, nil
}
