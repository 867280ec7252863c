//go:build gonmfw || nrpc

package main

// marked gives the body as text, with an `s` in front in place of its first byte if the handler is
// to sleep.
func marked(body []byte, sleep bool) string {
	if !sleep || len(body) == 0 {
		return string(body)
	}
	return "s" + string(body[1:])
}
