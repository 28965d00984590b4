// The app of Go. The file `behaviour` of its release says what is wrong with it; see tests/servers/server.py.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// An idle connection is kept so long after SIGTERM, because a request may be on its way.
const linger = 2 * time.Second

var stopping atomic.Bool

func main() {
	text, _ := os.ReadFile("behaviour")
	behaviour := strings.TrimSpace(string(text))
	switch behaviour {
	case "crash":
		panic("this release crashes")
	case "late":
		time.Sleep(time.Second)
		panic("this release crashes late")
	case "hang":
		time.Sleep(time.Hour)
	}
	identity := fmt.Sprintf(`{"generation": %s, "instance": %s, "pid": %d}`,
		os.Getenv("DEPLOYD_GENERATION"), os.Getenv("DEPLOYD_INSTANCE"), os.Getpid())
	download := strings.Repeat("x", 4_000_000)
	handler := func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		if behaviour == "errors" {
			http.Error(w, "this release answers 500", http.StatusInternalServerError)
			return
		}
		switch r.URL.Path {
		case "/slow":
			seconds, _ := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64)
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		case "/upload":
			count, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, `{"received": %d}`, count)
			return
		case "/download":
			io.WriteString(w, download)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, identity)
	}
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	listeners := make([]net.Listener, count) // of the app, and of its probe if that has one
	for number := range listeners {
		listener, err := net.FileListener(os.NewFile(uintptr(3+number), ""))
		if err != nil {
			panic(err)
		}
		listeners[number] = listener
	}
	server := &http.Server{Handler: http.HandlerFunc(handler)}
	stopped := make(chan struct{})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		stopping.Store(true)
		for _, listener := range listeners {
			listener.Close()
		}
		time.Sleep(linger)
		server.Shutdown(context.Background()) // waits for requests
		close(stopped)
	}()
	notify, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		panic(err)
	}
	notify.Write([]byte("READY=1"))
	for _, listener := range listeners {
		go server.Serve(listener)
	}
	<-stopped
}
