// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command visitor is what hack/e2e runs in the cluster: it makes requests as a workload would, works as a Job's
// container, and kills processes of its node.
//
//	visitor wait          until it is asked to end
//	visitor get           makes the request that stdin describes, and describes the response on stdout
//	visitor kill ID       sends SIGKILL to the processes of a container
//	visitor exit CODE     ends at once
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/webhookdelivery/operator/hack/e2e/visitor/visit"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "visitor:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 1 && args[0] == "wait":
		<-ctx.Done()
		return 0, nil
	case len(args) == 1 && args[0] == "get":
		err = get(ctx)
	case len(args) == 2 && args[0] == "kill":
		err = kill("/proc", args[1])
	case len(args) == 2 && args[0] == "exit":
		return strconv.Atoi(args[1])
	default:
		err = errors.New("want wait, get, kill ID or exit CODE")
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func get(ctx context.Context) error {
	var request visit.Request
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	response, err := request.Do(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(response)
}
