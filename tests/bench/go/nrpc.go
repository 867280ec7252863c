//go:build nrpc && !gonmfw

package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-rpc/nrpc/examples/helloworld/helloworld"
)

// nRPC's own generated example takes and returns a string, so it can be used as an echo; for a request that
// begins with an `s`, the handler sleeps.

func init() {
	peers["nrpc"] = peer{serveNrpc, connectNrpc}
}

type greeter struct{}

func (greeter) SayHello(_ context.Context, request *helloworld.HelloRequest) (*helloworld.HelloReply, error) {
	if request.Name != "" && request.Name[0] == 's' {
		time.Sleep(nap)
	}
	return &helloworld.HelloReply{Message: request.Name}, nil
}

func serveNrpc(url string) (string, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return "", err
	}
	handler := helloworld.NewGreeterHandler(context.Background(), nc, greeter{})
	if _, err := nc.QueueSubscribe(handler.Subject(), "q", handler.Handler); err != nil {
		return "", err
	}
	return url, nc.Flush()
}

type nrpcClient struct{ greeter *helloworld.GreeterClient }

func connectNrpc(url string) (client, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	return nrpcClient{helloworld.NewGreeterClient(nc)}, nil
}

func (c nrpcClient) call(body []byte, sleep bool) (int, error) {
	answer, err := c.greeter.SayHello(&helloworld.HelloRequest{Name: marked(body, sleep)})
	if err != nil {
		return 0, err
	}
	return len(answer.Message), nil
}
