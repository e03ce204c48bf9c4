// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
)

// AdminHandler serves the account to other processes:
//
//	GET    /account        all records as JSON lines, which ReadRecords reads
//	GET    /account?id=…   those of one webhook-id
//	DELETE /account        Reset
//	GET    /snapshot       the totals, a Snapshot in JSON
//	GET    /ca.pem         the certificate to trust
//	GET    /healthz        200 as long as the receiver serves
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /account", func(w http.ResponseWriter, r *http.Request) {
		var records []Record
		if query := r.URL.Query(); query.Has("id") {
			records = s.ByID(query.Get("id"))
		} else {
			records = s.Requests()
		}
		w.Header().Set("Content-Type", "application/jsonl")
		encoder := json.NewEncoder(w)
		for i := range records {
			if err := encoder.Encode(&records[i]); err != nil {
				s.log.Warn("the account could not be written", "error", err)
				return
			}
		}
	})
	mux.HandleFunc("DELETE /account", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /snapshot", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(s.Snapshot()); err != nil {
			s.log.Warn("the snapshot could not be written", "error", err)
		}
	})
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		if _, err := w.Write(s.CA()); err != nil {
			s.log.Warn("the certificate could not be written", "error", err)
		}
	})
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// adminServer serves the account on a listener of its own.
type adminServer struct {
	url  string
	http *http.Server
}

func startAdmin(address string, handler http.Handler, log *slog.Logger) (*adminServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the admin address: %w", err)
	}
	a := &adminServer{
		url:  "http://" + listener.Addr().String(),
		http: &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout},
	}
	go func() {
		if err := a.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin address stopped serving", "error", err)
		}
	}()
	return a, nil
}

func (a *adminServer) close() error {
	return a.http.Close()
}
