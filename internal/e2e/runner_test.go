package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testserver"
)

// run and env give a client all it needs; the gateway serves one that takes no proxy.
func TestRunners(t *testing.T) {
	w := newWorld(t, open)
	t.Run("run", func(t *testing.T) {
		out, errs, exit := w.Run(t, "run", "--", "curl", "-sSf", "https://"+w.api.Addr+"/x")
		if exit != 0 || !strings.Contains(out, `"Method":"GET"`) {
			t.Errorf("exit %d\n%s%s", exit, out, errs)
		}
		if g := w.api.One(t); g.Header.Get("Authorization") != "Bearer "+apiToken {
			t.Error("the upstream did not get the credential")
		}
	})
	t.Run("run gives the exit code", func(t *testing.T) {
		if _, _, exit := w.Run(t, "run", "--", "sh", "-c", "exit 7"); exit != 7 {
			t.Errorf("exit %d, want 7", exit)
		}
	})
	t.Run("env", func(t *testing.T) {
		out, errs, exit := w.Run(t, "env")
		if exit != 0 {
			t.Fatalf("exit %d\n%s", exit, errs)
		}
		cmd := exec.Command("sh", "-c", out+"\ncurl -sSf https://"+w.api.Addr+"/x")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, b)
		}
		if g := w.api.One(t); g.Header.Get("Authorization") != "Bearer "+apiToken {
			t.Error("the upstream did not get the credential")
		}
	})
	t.Run("gateway", func(t *testing.T) {
		token := "Authorization: Bearer " + w.Token(t, "default")
		_, errs, exit := testserver.Curl(t, nil, "-f", "-H", token, "http://"+w.Proxy+"/gateway/api/x?q=1")
		if exit != 0 {
			t.Fatalf("exit %d %s", exit, errs)
		}
		if g := w.api.One(t); g.Header.Get("Authorization") != "Bearer "+apiToken || g.Target != "/x?q=1" || g.Host != w.api.Addr {
			t.Errorf("the upstream got %s from Host %s, or no credential", g.Target, g.Host)
		}
		out, _, _ := testserver.Curl(t, nil, "-o", os.DevNull, "-w", "%{http_code}", "http://"+w.Proxy+"/gateway/api/x")
		if out != "401" {
			t.Errorf("without a token: %s, want 401", out)
		}
		w.api.Nothing(t, "the gateway without a token")
	})
	t.Run("decide tells what happens", func(t *testing.T) {
		for url, want := range map[string]string{
			"https://" + w.api.Addr + "/x": "intercept", "https://example.test/": "tunnel",
		} {
			status, body := w.Call(t, http.MethodGet, "/api/v1/decision?caller=default&method=GET&url="+url, nil)
			if status != http.StatusOK || !strings.Contains(body, `"action":"`+want+`"`) {
				t.Errorf("%s: status %d %s, want %s", url, status, body, want)
			}
		}
	})
}
