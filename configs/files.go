package configs

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/file"
)

// resolve gives a path of the file as seen from the file's folder. One that the
// environment sets is the process' own.
func (r *report) resolve(key, path string) string {
	if _, env := r.env[key]; env || path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.file), path)
}

// operatorFile is a file that somebody else provides.
type operatorFile struct {
	key, path string
	secret    bool // who reads it has something
	maybe     bool // it may come later
	filled    bool // something must be in it
}

func operatorFiles(f *form) []operatorFile {
	files := []operatorFile{
		{key: "proxy.ca.cert_file", path: f.Proxy.CA.CertFile},
		{key: "proxy.ca.key_file", path: f.Proxy.CA.KeyFile, secret: true},
		{key: "admin.token_file", path: f.Admin.TokenFile, secret: true},
		{key: "notify.secret_file", path: f.Notify.SecretFile, secret: true, filled: true},
	}
	if f.Store.Backend == "file" {
		files = append(files, operatorFile{key: "store.key_file", path: f.Store.KeyFile, secret: true, maybe: true})
	}
	if f.usesVault() {
		files = append(files, vaultFiles(&f.Vault)...)
	}
	for i, c := range f.Callers {
		files = append(files, operatorFile{key: join(index("caller", i), "token_file"), path: c.TokenFile, secret: true})
	}
	return files
}

// vaultFiles but for ca_file are read at each login, so they may come later; the
// login warns of secrets that everybody can read.
func vaultFiles(v *Vault) []operatorFile {
	return []operatorFile{
		{key: "vault.ca_file", path: v.CAFile},
		{key: "vault.client_cert_file", path: v.ClientCertFile, maybe: true},
		{key: "vault.client_key_file", path: v.ClientKeyFile, maybe: true},
		{key: "vault.auth.token_file", path: v.Auth.TokenFile, maybe: true},
		{key: "vault.auth.role_id_file", path: v.Auth.RoleIDFile, maybe: true},
		{key: "vault.auth.secret_id_file", path: v.Auth.SecretIDFile, maybe: true},
		{key: "vault.auth.jwt_file", path: v.Auth.JWTFile, maybe: true},
		{key: "vault.auth.password_file", path: v.Auth.PasswordFile, maybe: true},
	}
}

// files judges what the daemon reads when it starts. They are looked at and, but
// for regular ones that must not be empty, not read: a pipe can be read only once.
func (r *report) files(f *form) {
	for _, o := range operatorFiles(f) {
		if o.path == "" {
			continue
		}
		info, err := os.Stat(o.path)
		switch {
		case os.IsNotExist(err) && o.maybe:
		case err != nil:
			r.add(o.key, "%v", err)
		case info.IsDir():
			r.add(o.key, "%s is a folder; a file is needed", o.path)
		case info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0:
			r.add(o.key, "%s is writable by everybody (mode %04o); run chmod o-w on it", o.path, info.Mode().Perm())
		case o.filled && info.Mode().IsRegular() && r.empty(o):
		case o.secret && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0:
			r.warnings = append(r.warnings, r.display(o.key)+": "+o.path+" is readable by everybody; run chmod o-r on it")
		}
	}
}

// empty tells a file that cannot be read, or that holds nothing but the end of a line.
func (r *report) empty(o operatorFile) bool {
	b, _, err := file.ReadOperator(o.path)
	switch {
	case err != nil:
		r.add(o.key, "%v", err)
	case strings.TrimRight(string(b), "\r\n") == "":
		r.add(o.key, "%s is empty; it must hold the key that signs what is sent", o.path)
	default:
		return false
	}
	return true
}
