//go:build !gonmfw

package main

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

func init() {
	peers["go-micro"] = peer{serveMicro, connectMicro}
}

func serveMicro(url string) (string, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return "", err
	}
	service, err := micro.AddService(nc, micro.Config{Name: "bench", Version: "0.0.1"})
	if err != nil {
		return "", err
	}
	group := service.AddGroup("bench.go-micro")
	err = group.AddEndpoint("echo", micro.HandlerFunc(func(request micro.Request) {
		request.Respond(request.Data())
	}))
	if err != nil {
		return "", err
	}
	err = group.AddEndpoint("sleep", micro.HandlerFunc(func(request micro.Request) {
		time.Sleep(nap)
		request.Respond(request.Data())
	}))
	if err != nil {
		return "", err
	}
	return url, nc.Flush()
}

type microClient struct{ nc *nats.Conn }

func connectMicro(url string) (client, error) {
	nc, err := nats.Connect(url)
	return microClient{nc}, err
}

func (c microClient) call(body []byte, sleep bool) (int, error) {
	subject := "bench.go-micro.echo"
	if sleep {
		subject = "bench.go-micro.sleep"
	}
	answer, err := c.nc.Request(subject, body, timeout)
	if err != nil {
		return 0, err
	}
	return len(answer.Data), nil
}
