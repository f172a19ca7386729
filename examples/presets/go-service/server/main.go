// Command server answers over HTTP what time it is elsewhere, and whom it trusts.
//
//	server [-listen ADDRESS]   serves, on port 8080 by default
//	server ZONE…               prints one fixed moment in each zone, whether it trusts anybody, and who it is
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"syscall"
	"time"

	"example.org/worldclock/zones"
)

func main() {
	address := flag.String("listen", ":8080", "address to listen on")
	flag.Parse()
	var err error
	if flag.NArg() > 0 {
		err = report(flag.Args())
	} else {
		err = serve(*address)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers until it is asked to end, and then finishes what it has begun.
func serve(address string) error {
	server := &http.Server{Addr: address, Handler: handler(time.Now), ReadHeaderTimeout: 5 * time.Second}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	done := make(chan error, 1)
	go func() {
		<-asked.Done()
		patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- server.Shutdown(patience)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

// report prints what the image has to have for this program to be right.
func report(names []string) error {
	moment := time.Date(2024, time.July, 1, 12, 0, 0, 0, time.UTC)
	for _, zone := range names {
		text, err := zones.In(zone, moment)
		if err != nil {
			return err
		}
		fmt.Println(zone, text)
	}
	count, err := roots()
	if err != nil {
		return err
	}
	fmt.Println("trusts somebody:", count > 0)
	me, err := user.Current()
	if err != nil {
		return err
	}
	fmt.Println("runs as:", me.Username, me.HomeDir)
	scratch, err := os.CreateTemp("", "worldclock")
	if err != nil {
		return err
	}
	defer os.Remove(scratch.Name())
	return scratch.Close()
}
