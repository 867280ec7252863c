// The benchmark suite's peers in Go. Like the suite's own program, this one is started as `serve PEER URL`
// and `call PEER ADDRESS --clients N`, prints that it is ready, exchanges lines of JSON, and ends with its
// input.
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

// nap is the duration of a sleeping handler.
const nap = 10 * time.Millisecond

// timeout is the timeout of calls, the same as nmfw's.
const timeout = 5 * time.Second

// client makes calls on a separate connection.
type client interface {
	// call returns the size of the answer. With sleep, the handler sleeps first.
	call(body []byte, sleep bool) (int, error)
}

// streamer is a client that also supports streams. Its methods end with the context, and return the number
// of messages that have arrived.
type streamer interface {
	// download receives messages of this size.
	download(over context.Context, size int) (int, error)
	// upload sends messages, and counts those that the server has received.
	upload(over context.Context, body []byte) (int, error)
	// chat sends messages, and counts the returned ones.
	chat(over context.Context, body []byte) (int, error)
}

// peer is an implementation of calls.
type peer struct {
	// serve returns the address for clients.
	serve   func(url string) (string, error)
	connect func(address string) (client, error)
}

// peers contains the peers by name; each file adds its own. Go nmfw needs an old nats.go and is therefore
// built separately, with the tag gonmfw; the tag nrpc adds nRPC. README.md describes these builds.
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
