//go:build gonmfw || nrpc

package main

// marked returns the body as text. Its first byte is replaced by an `s` if the handler should sleep.
func marked(body []byte, sleep bool) string {
	if !sleep || len(body) == 0 {
		return string(body)
	}
	return "s" + string(body[1:])
}
