// Login and consent pages as a person sees them, for a browser. With PAGES=1 they take the place of the interactions
// that finish by themselves. Everybody may log in, with the password "correct horse".
const password = 'correct horse';

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const page = (title, body) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title></head><body><h1>${title}</h1>${body}</body></html>`;

const login = (uid, wrong) => page('Sign in', `${wrong ? '<p id="wrong">That is not the password.</p>' : ''}
<form method="post" action="/interaction/${uid}" id="login">
<label>Name <input name="account" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button type="submit" id="sign-in">Sign in</button>
</form>`);

const consent = (uid, client, scopes) => page('Allow access', `<p><b id="client">${escape(client)}</b> wants to use your account: <span id="scopes">${escape(scopes)}</span></p>
<form method="post" action="/interaction/${uid}" id="consent">
<button type="submit" name="answer" value="allow" id="allow">Allow</button>
<button type="submit" name="answer" value="deny" id="deny">Deny</button>
</form>`);

const read = async (req) => {
  let body = '';
  for await (const chunk of req) if ((body += chunk).length > 1e5) throw new Error('too long');
  return new URLSearchParams(body);
};

const html = (res, text) => res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(text);

// shown answers GET with a page, and gives what its form was answered with: {account}, {allow: true|false}, or nothing yet.
export async function shown(req, res, { uid, prompt, params }) {
  if (req.method !== 'POST') {
    html(res, prompt.name === 'login' ? login(uid) : consent(uid, params.client_id, params.scope ?? ''));
    return undefined;
  }
  const form = await read(req);
  if (prompt.name !== 'login') return { allow: form.get('answer') === 'allow' };
  if (form.get('password') === password && form.get('account')) return { account: form.get('account') };
  html(res, login(uid, true));
  return undefined;
}
