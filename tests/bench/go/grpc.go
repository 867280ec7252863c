//go:build !gonmfw

package main

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func init() {
	peers["grpc-go"] = peer{serveGRPC, connectGRPC}
}

// BytesValue has the wire format of Payload in bench.proto, so no code has to be generated.

func handleGRPC(sleep bool) grpc.MethodHandler {
	return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(wrapperspb.BytesValue)
		if err := decode(request); err != nil {
			return nil, err
		}
		if sleep {
			time.Sleep(nap)
		}
		return request, nil
	}
}

func serveGRPC(string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "nmfw.bench.Bench",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Echo", Handler: handleGRPC(false)},
			{MethodName: "Sleep", Handler: handleGRPC(true)},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "Download", Handler: handleDownload, ServerStreams: true},
			{StreamName: "Upload", Handler: handleUpload, ClientStreams: true},
			{StreamName: "Chat", Handler: handleChat, ServerStreams: true, ClientStreams: true},
		},
	}, struct{}{})
	go server.Serve(listener)
	return listener.Addr().String(), nil
}

type grpcClient struct{ conn *grpc.ClientConn }

func connectGRPC(address string) (client, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpcClient{conn}, err
}

func (c grpcClient) call(body []byte, sleep bool) (int, error) {
	method := "/nmfw.bench.Bench/Echo"
	if sleep {
		method = "/nmfw.bench.Bench/Sleep"
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer := new(wrapperspb.BytesValue)
	err := c.conn.Invoke(ctx, method, wrapperspb.Bytes(body), answer)
	return len(answer.GetValue()), err
}
