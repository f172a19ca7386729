package main

import (
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.org/worldclock/zones"
)

//go:embed index.html
var index []byte

// handler serves the page, /time?zone=ZONE and /roots. The clock is now.
func handler(now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(index)
	})
	mux.HandleFunc("/time", func(w http.ResponseWriter, r *http.Request) {
		text, err := zones.In(r.URL.Query().Get("zone"), now())
		if errors.Is(err, zones.ErrUnknown) {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, text)
	})
	mux.HandleFunc("/roots", func(w http.ResponseWriter, _ *http.Request) {
		count, err := roots()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, count > 0)
	})
	return mux
}

// roots counts the certificates that this machine trusts.
func roots() (int, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return 0, err
	}
	//lint:ignore SA1019 the pool of the system is the one that this is about
	return len(pool.Subjects()), nil
}
