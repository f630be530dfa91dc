package testserver

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Browser is one page of a headless Chromium with a fresh profile, driven by the DevTools protocol.
type Browser struct {
	*Process
	tb   testing.TB
	conn *websocket.Conn

	mu      sync.Mutex
	next    int
	waiting map[int]chan cdpAnswer
	seen    []string // addresses that the page has asked for, in their order
}

type cdpAnswer struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// StartChromium runs Debian's Chromium. It ends with the test.
func StartChromium(tb testing.TB) *Browser {
	tb.Helper()
	program := Find(tb, "chromium")
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-port=0",
		"--user-data-dir="+dir, "about:blank")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	b := &Browser{tb: tb, waiting: map[int]chan cdpAnswer{}}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // after the process has ended
	b.Process = Start(tb, cmd)
	b.attach(dir)
	Took(tb, "Chromium "+Version(program, "--version"))
	return b
}

// attach connects to the page.
func (b *Browser) attach(dir string) {
	b.tb.Helper()
	port := b.port(filepath.Join(dir, "DevToolsActivePort"))
	var pages []struct{ Type, WebSocketDebuggerURL string }
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := direct.Get("http://127.0.0.1:" + port + "/json/list")
		if err == nil {
			_ = json.NewDecoder(resp.Body).Decode(&pages)
			_ = resp.Body.Close()
		}
		if len(pages) > 0 {
			break
		}
	}
	if len(pages) == 0 {
		b.tb.Fatalf("the browser has no page:\n%s", b.Log())
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, pages[0].WebSocketDebuggerURL, &websocket.DialOptions{HTTPClient: direct})
	if err != nil {
		b.tb.Fatal(err)
	}
	conn.SetReadLimit(32 << 20)
	b.conn = conn
	read := make(chan struct{})
	go func() { defer close(read); b.read() }()
	b.tb.Cleanup(func() { _ = conn.CloseNow(); <-read })
	b.Do("Page.enable", nil)
	b.Do("Network.enable", nil)
}

// port waits for the browser to say where its DevTools listen.
func (b *Browser) port(file string) string {
	b.tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\n") {
			port, _, _ := strings.Cut(string(text), "\n")
			return port
		}
		select {
		case <-b.Exited:
			b.tb.Fatalf("the browser ended:\n%s", b.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
	b.tb.Fatalf("the browser does not listen:\n%s", b.Log())
	return ""
}

func (b *Browser) read() {
	for {
		_, data, err := b.conn.Read(context.Background())
		if err != nil {
			return
		}
		var a cdpAnswer
		if json.Unmarshal(data, &a) != nil {
			continue
		}
		b.mu.Lock()
		if to := b.waiting[a.ID]; to != nil && a.ID != 0 {
			to <- a
			delete(b.waiting, a.ID)
		}
		if a.Method == "Network.requestWillBeSent" {
			var p struct{ Request struct{ URL string } }
			_ = json.Unmarshal(a.Params, &p)
			b.seen = append(b.seen, p.Request.URL)
		}
		b.mu.Unlock()
	}
}

// Do sends one command of the protocol and gives its result.
func (b *Browser) Do(method string, params map[string]any) json.RawMessage {
	b.tb.Helper()
	answer := make(chan cdpAnswer, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.waiting[id] = answer
	b.mu.Unlock()
	data, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if err != nil {
		b.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if err := b.conn.Write(ctx, websocket.MessageText, data); err != nil {
		b.tb.Fatalf("%s: %v\n%s", method, err, b.Log())
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			b.tb.Fatalf("%s: %s", method, a.Error.Message)
		}
		return a.Result
	case <-ctx.Done():
		b.tb.Fatalf("%s: no answer\n%s", method, b.Log())
		return nil
	}
}

// Open goes to an address.
func (b *Browser) Open(address string) {
	b.tb.Helper()
	b.Do("Page.navigate", map[string]any{"url": address})
}

// Eval gives the string that an expression of JavaScript has in the page; "" while the page is another.
func (b *Browser) Eval(expression string) string {
	b.tb.Helper()
	var r struct{ Result struct{ Value any } }
	_ = json.Unmarshal(b.Do("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}), &r)
	if r.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(r.Result.Value)
}

// Wait waits until an element is on the page, by its selector.
func (b *Browser) Wait(selector string) {
	b.tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if b.Eval(`document.readyState === "complete" && document.querySelector(`+quoteJS(selector)+`) !== null ? "yes" : ""`) == "yes" {
			return
		}
	}
	b.tb.Fatalf("%s is not on the page %s:\n%s", selector, b.Eval("location.href"), b.Text())
}

// Type puts text into a field as the keyboard would.
func (b *Browser) Type(selector, text string) {
	b.tb.Helper()
	b.Wait(selector)
	b.Eval(`document.querySelector(` + quoteJS(selector) + `).focus()`)
	b.Do("Input.insertText", map[string]any{"text": text})
}

// Click clicks where an element is.
func (b *Browser) Click(selector string) {
	b.tb.Helper()
	b.Wait(selector)
	var at struct{ X, Y float64 }
	_ = json.Unmarshal([]byte(b.Eval(`(() => { const r = document.querySelector(`+quoteJS(selector)+`).getBoundingClientRect(); return JSON.stringify({x: r.x + r.width / 2, y: r.y + r.height / 2}); })()`)), &at)
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.Do("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1})
	}
}

// Text is what a person reads on the page.
func (b *Browser) Text() string {
	b.tb.Helper()
	return b.Eval("document.body.innerText")
}

// Requests gives the addresses that the page has asked for.
func (b *Browser) Requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.seen...)
}

func quoteJS(s string) string {
	q, _ := json.Marshal(s) // a string
	return string(q)
}
