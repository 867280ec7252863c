//go:build gonmfw

package main

import (
	"context"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/ripienaar/nmfw/example/service"
	"github.com/sirupsen/logrus"
)

// The Go project's own generated example. Its `Expression` takes and returns a string, so it can be used as an
// echo; for a request that begins with an `s`, the handler sleeps.

func init() {
	peers["go-nmfw"] = peer{serveNmfw, connectNmfw}
}

func serveNmfw(url string) (string, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return "", err
	}
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	quiet.SetLevel(logrus.ErrorLevel)
	calc := &service.CalcService{
		Name:    "calc",
		Version: "0.0.1",
		Log:     logrus.NewEntry(quiet),
		ExpressionHandler: func(_ context.Context, request service.ExpressionRequest) (*service.CalcResponse, error) {
			if request.Expression != "" && request.Expression[0] == 's' {
				time.Sleep(nap)
			}
			return &service.CalcResponse{Operation: request.Expression}, nil
		},
	}
	go calc.Start(context.Background(), nc)
	// The service does not report when it is ready.
	c, err := connectNmfw(url)
	for range 100 {
		if err != nil {
			return "", err
		}
		if _, refused := c.call([]byte("x"), false); refused == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return url, nil
}

type nmfwClient struct{ calc *service.CalcClient }

func connectNmfw(url string) (client, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	return nmfwClient{service.NewCalcClient(nc, timeout)}, nil
}

func (c nmfwClient) call(body []byte, sleep bool) (int, error) {
	answer, err := c.calc.Expression(context.Background(), service.ExpressionRequest{Expression: marked(body, sleep)})
	if err != nil {
		return 0, err
	}
	return len(answer.Operation), nil
}
