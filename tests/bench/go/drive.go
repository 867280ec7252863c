package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// job is the task of a client.
type job struct {
	What    string `json:"what"`
	Callers int    `json:"callers"`
	Payload int    `json:"payload"`
	Millis  int64  `json:"millis"`
}

// outcome is the result of a job.
type outcome struct {
	Done    int      `json:"done"`
	Seconds float64  `json:"seconds"`
	P50     *float64 `json:"p50_us"`
	P99     *float64 `json:"p99_us"`
	Errors  int      `json:"errors"`
	Error   *string  `json:"error"`
}

// drive lets each caller make sequential calls until the time is over.
func drive(clients []client, j job) outcome {
	switch j.What {
	case "unary", "sleep":
	case "download", "upload", "chat":
		return stream(clients, j)
	default:
		text := j.What + " is not part of what peers in Go do"
		return outcome{Errors: 1, Error: &text}
	}
	body := bytes.Repeat([]byte("x"), j.Payload)
	var (
		lock   sync.Mutex
		all    []time.Duration
		last   time.Time
		out    outcome
		group  sync.WaitGroup
		failed = func(err error) {
			lock.Lock()
			defer lock.Unlock()
			out.Errors++
			if out.Error == nil {
				text := err.Error()
				out.Error = &text
			}
		}
	)
	began := time.Now()
	end := began.Add(time.Duration(j.Millis) * time.Millisecond)
	for number := range max(j.Callers, 1) {
		c := clients[number%len(clients)]
		group.Go(func() {
			var mine []time.Duration
			now := time.Now()
			for now.Before(end) {
				size, err := c.call(body, j.What == "sleep")
				ended := time.Now()
				switch {
				case err != nil:
					failed(err)
					time.Sleep(10 * time.Millisecond)
				case size != len(body):
					failed(fmt.Errorf("an answer of %d bytes", size))
				default:
					mine = append(mine, ended.Sub(now))
				}
				now = ended
			}
			lock.Lock()
			defer lock.Unlock()
			all = append(all, mine...)
			if now.After(last) {
				last = now
			}
		})
	}
	group.Wait()
	out.Done = len(all)
	out.Seconds = last.Sub(began).Seconds()
	if len(all) > 0 {
		slices.Sort(all)
		at := func(quantile float64) *float64 {
			micros := float64(all[int(quantile*float64(len(all)-1))].Nanoseconds()) / 1e3
			return &micros
		}
		out.P50, out.P99 = at(0.5), at(0.99)
	}
	return out
}

// stream lets each caller keep a stream busy until the time is over.
func stream(clients []client, j job) outcome {
	body := bytes.Repeat([]byte("x"), j.Payload)
	var (
		lock  sync.Mutex
		out   outcome
		group sync.WaitGroup
	)
	began := time.Now()
	over, cancel := context.WithTimeout(context.Background(), time.Duration(j.Millis)*time.Millisecond)
	defer cancel()
	for number := range max(j.Callers, 1) {
		group.Go(func() {
			count, err := 0, fmt.Errorf("streams are not supported")
			if s, ok := clients[number%len(clients)].(streamer); ok {
				count, err = one(over, s, j.What, body)
			}
			ended := time.Since(began).Seconds()
			lock.Lock()
			defer lock.Unlock()
			out.Done += count
			out.Seconds = max(out.Seconds, ended)
			if err != nil {
				out.Errors++
				if out.Error == nil {
					text := err.Error()
					out.Error = &text
				}
			}
		})
	}
	group.Wait()
	return out
}

func one(over context.Context, s streamer, what string, body []byte) (int, error) {
	switch what {
	case "upload":
		return s.upload(over, body)
	case "chat":
		return s.chat(over, body)
	default:
		return s.download(over, len(body))
	}
}
