//go:build !gonmfw

package main

import (
	"context"
	"time"

	"github.com/livekit/psrpc"
	psclient "github.com/livekit/psrpc/pkg/client"
	"github.com/livekit/psrpc/pkg/info"
	"github.com/livekit/psrpc/pkg/rand"
	psserver "github.com/livekit/psrpc/pkg/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func init() {
	peers["psrpc"] = peer{servePsrpc, connectPsrpc}
}

// The code that its generator emits for methods of type QUEUE, its fastest kind.
func definition(id string) *info.ServiceDefinition {
	definition := &info.ServiceDefinition{Name: "Bench", ID: id}
	definition.RegisterMethod("Echo", false, false, false, true)
	definition.RegisterMethod("Sleep", false, false, false, true)
	return definition
}

func psrpcBus(url string) (psrpc.MessageBus, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	return psrpc.NewNatsMessageBus(nc), nil
}

func servePsrpc(url string) (string, error) {
	bus, err := psrpcBus(url)
	if err != nil {
		return "", err
	}
	server := psserver.NewRPCServer(definition(rand.NewServerID()), bus)
	echo := func(_ context.Context, request *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
		return request, nil
	}
	err = psserver.RegisterHandler(server, "Echo", nil, echo, nil)
	if err != nil {
		return "", err
	}
	sleep := func(_ context.Context, request *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
		time.Sleep(nap)
		return request, nil
	}
	return url, psserver.RegisterHandler(server, "Sleep", nil, sleep, nil)
}

type psrpcClient struct{ rpc *psclient.RPCClient }

func connectPsrpc(url string) (client, error) {
	bus, err := psrpcBus(url)
	if err != nil {
		return nil, err
	}
	rpc, err := psclient.NewRPCClient(definition(rand.NewClientID()), bus, psrpc.WithClientTimeout(timeout))
	return psrpcClient{rpc}, err
}

func (c psrpcClient) call(body []byte, sleep bool) (int, error) {
	method := "Echo"
	if sleep {
		method = "Sleep"
	}
	answer, err := psclient.RequestSingle[*wrapperspb.BytesValue](
		context.Background(), c.rpc, method, nil, wrapperspb.Bytes(body))
	if err != nil {
		return 0, err
	}
	return len(answer.GetValue()), nil
}
