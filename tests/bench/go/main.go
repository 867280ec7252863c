// Peers of the benchmark suite that are written in Go. Like the suite's own program it is started as
// `serve PEER URL` and `call PEER ADDRESS --clients N`, says that it is ready, and speaks JSON, a
// line at a time; it ends when its input does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"
)

// nap is how long a handler sleeps, where one does.
const nap = 10 * time.Millisecond

// timeout is what calls get, as those of nmfw do.
const timeout = 5 * time.Second

// client makes calls on a connection of its own.
type client interface {
	// call gives the number of bytes that came back. With sleep, the handler is to sleep first.
	call(body []byte, sleep bool) (int, error)
}

// streamer is a client that has streams, too. What it does ends when the context does; it gives the
// number of messages that have arrived.
type streamer interface {
	// download takes messages of that size.
	download(over context.Context, size int) (int, error)
	// upload sends messages, and counts those that the server has got.
	upload(over context.Context, body []byte) (int, error)
	// chat sends messages, and counts those that come back.
	chat(over context.Context, body []byte) (int, error)
}

// peer is a way to make calls.
type peer struct {
	// serve gives the address for clients.
	serve   func(url string) (string, error)
	connect func(address string) (client, error)
}

// peers by name, which add themselves. Go nmfw needs an old nats.go, and so is built by itself, with
// the tag gonmfw; nRPC is added with the tag nrpc. Both are built by hand, as README.md says.
var peers = map[string]peer{}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: serve PEER URL, or call PEER ADDRESS [--clients N]")
	}
	p, ok := peers[args[1]]
	if !ok {
		return fmt.Errorf("%s is not built in", args[1])
	}
	lines := bufio.NewScanner(os.Stdin)
	if args[0] == "serve" {
		address, err := p.serve(args[2])
		if err != nil {
			return err
		}
		fmt.Println("ready", address)
		for lines.Scan() {
		}
		return nil
	}
	count := 1
	if len(args) > 4 && args[3] == "--clients" {
		var err error
		if count, err = strconv.Atoi(args[4]); err != nil {
			return err
		}
	}
	var clients []client
	for range count {
		c, err := p.connect(args[2])
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	fmt.Println("ready")
	for lines.Scan() {
		var j job
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			return err
		}
		out, err := json.Marshal(drive(clients, j))
		if err != nil {
			return err
		}
		fmt.Println(string(out))
	}
	return nil
}
