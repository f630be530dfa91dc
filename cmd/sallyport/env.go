package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/secret"
)

func newEnvCommand(c *cli) *cobra.Command {
	var caller, shell string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the variables that run sets",
		Long: `Print the variables that run sets, for example for eval "$(sallyport env)".
They hold the caller's token.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.json && !cmd.Flags().Changed("shell") {
				shell = "json"
			}
			return c.env(cmd.Context(), caller, shell)
		},
	}
	cmd.Flags().StringVar(&caller, "caller", "", callerUsage)
	cmd.Flags().StringVar(&shell, "shell", "sh", "`SHELL` to print for: sh, fish or json")
	return cmd
}

const callerUsage = "the `CALLER` to be (default the only one, or the one named default)"

func (c *cli) env(_ context.Context, caller, shell string) error {
	write, ok := shells[shell]
	if !ok {
		return asUsage(unknown("shell", shell, slices.Sorted(maps.Keys(shells))))
	}
	vars, err := c.runnerVariables(caller)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(c.stdout, write(vars))
	return err
}

// runner is what the variables of a program tell it.
type runner struct {
	proxy   string       // host:port of the proxy
	caller  string       // with token; empty: the proxy asks for none
	token   secret.Value // [A-Za-z0-9_-] only: some clients do not decode the URL's userinfo
	noProxy string

	bundle, truststore, wgetrc string // files

	javaProxy   string // host:port where Java is asked for no token; empty: proxy
	javaOptions string // what the user's JAVA_TOOL_OPTIONS says already
}

// variables that make a client send its traffic through the proxy and trust the
// local CA. Each is there because some client reads no other.
func (r runner) variables() []variable {
	vars := []variable{
		{"HTTP_PROXY", r.url()}, {"http_proxy", r.url()},
		{"HTTPS_PROXY", r.url()}, {"https_proxy", r.url()},
		{"ALL_PROXY", r.url()}, {"all_proxy", r.url()},
		{"NO_PROXY", r.noProxy}, {"no_proxy", r.noProxy},
	}
	for _, name := range []string{
		"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO",
		"NODE_EXTRA_CA_CERTS", "npm_config_cafile", "PIP_CERT", "CARGO_HTTP_CAINFO",
	} {
		vars = append(vars, variable{name, r.bundle})
	}
	return append(vars,
		variable{"NODE_USE_ENV_PROXY", "1"},
		variable{"JAVA_TOOL_OPTIONS", r.java()},
		variable{"WGETRC", r.wgetrc},
	)
}

func (r runner) url() string {
	if r.caller == "" {
		return "http://" + r.proxy
	}
	return "http://" + r.caller + ":" + reveal(r.token) + "@" + r.proxy
}

// java gives JAVA_TOOL_OPTIONS. The token is not in it: every JVM prints the
// variable on standard error. A Java client authenticates by itself, for which
// Basic must be allowed on CONNECT, or uses a listener that asks for no token.
func (r runner) java() string {
	proxy := r.proxy
	if r.javaProxy != "" {
		proxy = r.javaProxy
	}
	host, port, _ := net.SplitHostPort(proxy) // it was split before
	options := r.javaOptions
	for _, o := range []string{
		"-Dhttp.proxyHost=" + host, "-Dhttp.proxyPort=" + port,
		"-Dhttps.proxyHost=" + host, "-Dhttps.proxyPort=" + port,
		"-Djdk.http.auth.tunneling.disabledSchemes=",
		"-Djavax.net.ssl.trustStore=" + r.truststore,
		"-Djavax.net.ssl.trustStorePassword=changeit",
		"-Djavax.net.ssl.trustStoreType=PKCS12",
	} {
		options = addOption(options, javaQuote(o))
	}
	return options
}
