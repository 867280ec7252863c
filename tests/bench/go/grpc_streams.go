//go:build !gonmfw

package main

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// UInt32Value has the wire format of DownloadRequest, and UInt64Value that of Total.

// handleDownload sends messages until the caller ends the stream.
func handleDownload(_ any, stream grpc.ServerStream) error {
	request := new(wrapperspb.UInt32Value)
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	message := wrapperspb.Bytes(make([]byte, request.GetValue()))
	for {
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

// handleUpload counts the received messages.
func handleUpload(_ any, stream grpc.ServerStream) error {
	for count := uint64(0); ; count++ {
		err := stream.RecvMsg(new(wrapperspb.BytesValue))
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(wrapperspb.UInt64(count))
		}
		if err != nil {
			return err
		}
	}
}

// handleChat returns each message as it arrives.
func handleChat(_ any, stream grpc.ServerStream) error {
	for {
		message := new(wrapperspb.BytesValue)
		err := stream.RecvMsg(message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

// open starts a stream, which ends with the context at the latest.
func (c grpcClient) open(ctx context.Context, desc grpc.StreamDesc) (grpc.ClientStream, error) {
	return c.conn.NewStream(ctx, &desc, "/nmfw.bench.Bench/"+desc.StreamName)
}

func (c grpcClient) download(over context.Context, size int) (int, error) {
	// Cancelled after the last message, because the server never ends the stream.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := c.open(ctx, grpc.StreamDesc{StreamName: "Download", ServerStreams: true})
	if err != nil {
		return 0, err
	}
	if err := stream.SendMsg(wrapperspb.UInt32(uint32(size))); err != nil {
		return 0, err
	}
	if err := stream.CloseSend(); err != nil {
		return 0, err
	}
	count := 0
	for over.Err() == nil {
		if err := stream.RecvMsg(new(wrapperspb.BytesValue)); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// send sends messages until the time is over, and then closes its side.
func send(over context.Context, stream grpc.ClientStream, body []byte) error {
	message := wrapperspb.Bytes(body)
	for over.Err() == nil {
		err := stream.SendMsg(message)
		if errors.Is(err, io.EOF) {
			// The server has ended the stream; receiving returns the reason.
			return nil
		}
		if err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func (c grpcClient) upload(over context.Context, body []byte) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := c.open(ctx, grpc.StreamDesc{StreamName: "Upload", ClientStreams: true})
	if err != nil {
		return 0, err
	}
	if err := send(over, stream, body); err != nil {
		return 0, err
	}
	total := new(wrapperspb.UInt64Value)
	err = stream.RecvMsg(total)
	return int(total.GetValue()), err
}

func (c grpcClient) chat(over context.Context, body []byte) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	desc := grpc.StreamDesc{StreamName: "Chat", ServerStreams: true, ClientStreams: true}
	stream, err := c.open(ctx, desc)
	if err != nil {
		return 0, err
	}
	sent := make(chan error, 1)
	go func() { sent <- send(over, stream, body) }()
	count := 0
	for over.Err() == nil {
		if err := stream.RecvMsg(new(wrapperspb.BytesValue)); err != nil {
			return count, err
		}
		count++
	}
	cancel()
	// An interrupted sender is not an error.
	<-sent
	return count, nil
}
