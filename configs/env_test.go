package configs

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEnvironment(t *testing.T) {
	c := mustLoad(t, "[proxy]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n",
		"SALLYPORT_PROXY_LISTEN=127.0.0.1:2", "SALLYPORT_PROXY_CA_EXPORT_DIR=/export", "SALLYPORT_PROXY_TUNNEL_PORTS=443, 8443",
		"SALLYPORT_PROXY_ALLOW_NETWORKS=10.0.0.0/8,fd00::/8", "SALLYPORT_PROXY_MAX_CONNECTIONS=7", "SALLYPORT_PROXY_REPLAY_LIMIT=2MiB",
		"SALLYPORT_RETRY_BUDGET=0.5", "SALLYPORT_VAULT_AUTH_METHOD=approle", "SALLYPORT_VAULT_AUTH_REVOKE_ON_EXIT=true",
		"SALLYPORT_LIMITS_RATE=10/s,300/min", "SALLYPORT_LIMITS_MAX_WAIT=3s", "SALLYPORT_PROXY_HOSTS=",
		"SALLYPORT_CONFIG=x", "SALLYPORT_STATE_DIR=x", "SALLYPORT_CALLER_TOKEN=hunter2", "SALLYPORT_SERVICE_HOST=10.1.2.3", "SALLYPORT_PORT_3128_TCP_ADDR=x", "OTHER=x")
	if c.Proxy.Listen != "127.0.0.1:2" || c.Proxy.CA.ExportDir != "/export" || !slices.Equal(c.Proxy.TunnelPorts, []int{443, 8443}) || len(c.Proxy.AllowNetworks) != 2 || c.Proxy.MaxConnections != 7 || c.Proxy.ReplayLimit != 2<<20 {
		t.Errorf("proxy = %+v", c.Proxy)
	}
	if c.Retry.Budget != 0.5 || c.Vault.Auth.Method != "approle" || !c.Vault.Auth.RevokeOnExit || len(c.Limits.Rates) != 2 || c.Limits.MaxWait != 3*time.Second || c.Log.Level != "warn" {
		t.Errorf("config = %+v", c)
	}
	if len(c.EnvUsed) != 12 || !slices.IsSorted(c.EnvUsed) || !slices.Contains(c.EnvUsed, "SALLYPORT_PROXY_LISTEN") {
		t.Errorf("EnvUsed = %q", c.EnvUsed)
	}
}

func TestEnvironmentFaults(t *testing.T) {
	for _, tt := range []struct{ variable, want string }{
		{"SALLYPORT_PROXY_LISEN=x", "SALLYPORT_PROXY_LISEN: is an environment variable that sets no key; did you mean SALLYPORT_PROXY_LISTEN?"},
		{"SALLYPORT_WHATEVER=x", "SALLYPORT_WHATEVER: is an environment variable that sets no key"},
		{"SALLYPORT_CALLER_NAME=x", "SALLYPORT_CALLER_NAME: is an environment variable that sets no key"},
		{"SALLYPORT_PROXY_MAX_CONNECTIONS=many", `SALLYPORT_PROXY_MAX_CONNECTIONS: "many" is not a whole number`},
		{"SALLYPORT_VAULT_AUTH_REVOKE_ON_EXIT=maybe", `SALLYPORT_VAULT_AUTH_REVOKE_ON_EXIT: "maybe" is not true or false`},
		{"SALLYPORT_PROXY_TUNNEL_PORTS=443,https", `SALLYPORT_PROXY_TUNNEL_PORTS: "443,https" is not a list of whole numbers, separated by commas`},
		{"SALLYPORT_LOG_LEVEL=loud", `log.level: "loud" is not known; use debug, info, warn or error (set by SALLYPORT_LOG_LEVEL)`},
		{"SALLYPORT_LIMITS_SHARED=redis://x", "limits.shared: is not built yet; leave it out (set by SALLYPORT_LIMITS_SHARED)"},
		{"VAULT_SKIP_VERIFY=1", "VAULT_SKIP_VERIFY: is refused: Vault's certificate is always verified; unset it and use vault.ca_file or VAULT_CACERT"},
		{"VAULT_SKIP_VERIFY=perhaps", "VAULT_SKIP_VERIFY: is refused: Vault's certificate is always verified; unset it and use vault.ca_file or VAULT_CACERT"},
	} {
		if got := faultsOf(t, "", tt.variable); got != tt.want {
			t.Errorf("%s: %s; want %s", tt.variable, got, tt.want)
		}
	}
}

func TestVaultEnvironment(t *testing.T) {
	const vault = "[store]\nbackend = \"vault\"\n"
	env := []string{"VAULT_ADDR=https://env.internal:8200", "VAULT_NAMESPACE=team", "VAULT_CACERT=/ca.pem", "VAULT_TOKEN=hunter2", "VAULT_SKIP_VERIFY=false"}
	c := mustLoad(t, vault, env...)
	if c.Vault.Address != "https://env.internal:8200" || c.Vault.Namespace != "team" || c.Vault.CAFile != "/ca.pem" {
		t.Errorf("vault = %+v", c.Vault)
	}
	if want := []string{"VAULT_ADDR", "VAULT_CACERT", "VAULT_NAMESPACE", "VAULT_TOKEN"}; !slices.Equal(c.EnvUsed, want) {
		t.Errorf("EnvUsed = %q; want %q", c.EnvUsed, want)
	}
	c = mustLoad(t, vault+"[vault]\naddress = \"https://file.internal:8200\"\nnamespace = \"\"\n[vault.auth]\ntoken_file = \"/token\"\n", append(env, "SALLYPORT_VAULT_CA_FILE=/own.pem")...)
	if c.Vault.Address != "https://file.internal:8200" || c.Vault.Namespace != "" || c.Vault.CAFile != "/own.pem" {
		t.Errorf("Vault's variables come before the file or ours: %+v", c.Vault)
	}
	if want := []string{"SALLYPORT_VAULT_CA_FILE"}; !slices.Equal(c.EnvUsed, want) {
		t.Errorf("EnvUsed = %q; want %q", c.EnvUsed, want)
	}
	if c = mustLoad(t, "", env...); c.Vault.Address != "" || len(c.EnvUsed) != 0 {
		t.Errorf("Vault's variables count with the file store: %+v, %q", c.Vault, c.EnvUsed)
	}
	if got := faultsOf(t, vault, "VAULT_ADDR=vault.internal"); !strings.Contains(got, "vault.address: ") || !strings.Contains(got, "(set by VAULT_ADDR)") {
		t.Error(got)
	}
}
