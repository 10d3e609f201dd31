"""The rules for Python, JavaScript and shell: each finds what it is for, and leaves the mended twin alone."""

# ruff: noqa: E501 - a pair of snippets is read best on one line

from __future__ import annotations

import re
import time
from importlib import resources

import pytest

from conscience.linting.reading import read
from conscience.linting.rules import broken_rules, rules

PAIRS = [
    ("js-shell", "exec(`convert ${file} out.png`);", "execFile('convert', [file, 'out.png']);"),
    ("js-shell", "exec('git log ' + name, done);", "const found = /a+/.exec(name + tail);"),
    ("js-shell", "const out = child_process.execSync(command);", "const out = execFileSync('git', ['log']);"),
    ("js-shell", "spawn('ls', [dir], { shell: true });", "spawn('ls', ['--', dir]);"),
    ("js-shell", "await execAsync(`du -sh ${dir}`);", "await execFileAsync('du', ['-sh', dir]);"),
    ("js-eval", "return eval(expression);", "return evaluate(parse(expression)); // no eval() here"),
    ("js-eval", "const f = new Function('x', body);", "const f = OPERATIONS[name];"),
    ("js-eval", "setTimeout('tick()', 100);", "setTimeout(tick, 100);"),
    ("js-sql", "db.query(`SELECT * FROM t WHERE id = ${id}`);", "db.query('SELECT * FROM t WHERE id = $1', [id]);"),
    ("js-sql", "db.query(\"SELECT * FROM t WHERE n = '\" + n + \"'\");", "const rows = await sql`SELECT * FROM t WHERE n = ${n}`;"),
    ("js-sql", "db.run(`\n  INSERT INTO t\n  VALUES ('${a}')`);", "db.run(`\n  INSERT INTO t\n  VALUES (?)`, [a]);"),
    ("js-html", "el.innerHTML = '<b>' + name + '</b>';", "el.textContent = name;"),
    ("js-html", "el.innerHTML = `<b>${name}</b>`;", "el.innerHTML = `<b>${escapeHtml(name)}</b>`;"),
    ("js-html", "res.send(`<h1>${req.query.q}</h1>`);", "res.send(`<h1>${escapeHtml(q)}</h1>`);"),
    ("js-html", "el.innerHTML = comment;", "el.innerHTML = '';"),
    ("js-path", "res.sendFile(path.join(DIR, req.params.name));", "res.sendFile(path.basename(req.params.name), { root: DIR });"),
    (
        "js-path",
        "const name = req.query.file;\nfs.readFile(path.join(DIR, name), done);",
        "const name = path.basename(req.query.file);\nfs.readFile(path.join(DIR, name), done);",
    ),
    ("js-tls", "https.get(url, { rejectUnauthorized: false });", "https.get(url, { ca });"),
    ("js-tls", "process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';", "process.env.NODE_EXTRA_CA_CERTS = file;"),
    ("js-hash", "crypto.createHash('md5').update(data)", "crypto.createHash('sha256').update(data)"),
    ("js-hash", "crypto.createHash('sha256').update(password)", "crypto.scryptSync(password, salt, 64)"),
    ("js-cipher", "crypto.createCipheriv('aes-256-ecb', key, null)", "crypto.createCipheriv('aes-256-gcm', key, iv)"),
    ("js-cipher", "const iv = Buffer.alloc(16, 0);", "const iv = crypto.randomBytes(12);"),
    ("js-random", "const token = Math.random().toString(36);", "const token = crypto.randomBytes(32).toString('hex');"),
    (
        "js-random",
        "function generateToken(n) {\n  let t = '';\n  for (let i = 0; i < n; i++) t += A[Math.floor(Math.random() * A.length)];\n}",
        "function shuffle(list) {\n  return list[Math.floor(Math.random() * list.length)];\n}",
    ),
    ("js-jwt", "jwt.verify(t, key, { algorithms: ['HS256', 'none'] });", "jwt.verify(t, key, { algorithms: ['HS256'] });"),
    ("js-jwt", "const user = jwt.decode(token);", "const user = jwt.verify(token, key, options);"),
    ("js-secret", "const client = new Client({ password: 'hunter2!' });", "const client = new Client({ password: process.env.PW });"),
    ("js-secret", "jwt.sign(user, 'your_secret_key');", "jwt.sign(user, process.env.JWT_SECRET);"),
    ("js-secret", "const k = process.env.API_KEY || 'abc';", "const type = isShown ? 'text' : 'password';"),
    ("js-cors", "res.setHeader('Access-Control-Allow-Origin', '*');", "res.setHeader('Access-Control-Allow-Origin', ORIGIN);"),
    ("js-cors", "app.use(cors({ origin: true, credentials: true }));", "app.use(cors({ origin: ['https://app.example'] }));"),
    ("js-cookie", "res.cookie('sid', id);", "res.cookie('sid', id, { httpOnly: true, secure: true });"),
    ("js-cookie", "res.cookie('sid', id, { maxAge: 1000 });", "res.cookie('theme', 'dark');"),
    ("js-redirect", "res.redirect(req.query.next);", "res.redirect(PAGES[req.query.next] ?? '/');"),
    (
        "js-redirect",
        "const { next } = req.query;\nres.redirect(next || '/');",
        "const { next } = req.query;\nif (!isLocal(next)) return res.redirect('/');\nres.redirect(next);",
    ),
    ("js-nosql", "User.findOne({ name: req.body.name });", "User.findOne({ name: String(req.body.name) });"),
    (
        "js-proto",
        "for (const k in b) {\n  a[k] = isObject(b[k]) ? merge(a[k], b[k]) : b[k];\n}".replace("isObject(b[k]) ? ", ""),
        "for (const k of Object.keys(b)) {\n  if (k === '__proto__') continue;\n  a[k] = merge(a[k], b[k]);\n}",
    ),
    ("js-parse", "serialize.unserialize(cookie);", "JSON.parse(cookie);"),
    ("js-regex", "const re = new RegExp(req.query.q);", "const re = new RegExp(escapeRegExp(q), 'i');"),
    ("js-regex", "const ok = /^(a+)+$/.test(x);", "const ok = /^\\d+(\\.\\d+)*$/.test(x);"),
    ("js-ssrf", "const page = await fetch(req.query.url);", "const page = await fetch(SOURCES[req.query.source]);"),
    (
        "js-ssrf",
        "const { url } = req.body;\nconst page = await axios.get(url);",
        "const url = new URL(req.body.url);\nif (!ALLOWED.has(url.host)) return;\nconst page = await axios.get(url.href);",
    ),
    ("js-debug", "res.status(500).send(err.stack);", "res.status(500).json({ error: 'failed' });"),
    ("js-file-mode", "fs.chmodSync(file, 0o777);", "fs.chmodSync(file, 0o600);"),
    ("js-temp", "fs.writeFileSync('/tmp/report.csv', rows);", "const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'report-'));"),
    ("js-upload", "filename: (req, file, cb) => cb(null, file.originalname)", "filename: (req, file, cb) => cb(null, randomUUID())"),
    ("js-compare", "if (signature === expected) next();", "if (crypto.timingSafeEqual(signature, expected)) next();"),
    ("js-mass", "Object.assign(user, req.body);", "user.name = req.body.name;"),
    ("js-message", "parent.postMessage(data, '*');", "parent.postMessage(data, 'https://app.example');"),
    ("js-template", "res.send(ejs.render(req.body.page, {}));", "res.render('page', { name: req.body.name });"),
    ("js-plain-http", "const r = await fetch('http://api.example/rates');", "const r = await fetch('http://localhost:3000/rates');"),
    ("js-plain-http", "const s = new WebSocket('ws://chat.example');", "const s = new WebSocket('wss://chat.example');"),
    ("js-html", "el.insertAdjacentHTML('beforeend', `<li>${name}</li>`);", "el.insertAdjacentHTML('beforeend', '<li>new</li>');"),
    ("js-html", "el.outerHTML = '<b>' + name;", "el.innerHTML = '<b>' + sanitizeHtml(name) + '</b>';"),
    ("js-path", "const file = path.join(ROOT, req.params.name);", "const file = path.resolve(ROOT, req.params.name);\nif (!file.startsWith(ROOT + path.sep)) return;"),
    ("js-sql", "knex('t').whereRaw('name = ' + name);", "knex('t').whereRaw('name = ?', [name]);"),
    ("js-cors", "const origin = req.headers.origin;\nres.set('Access-Control-Allow-Origin', origin);", "const origin = req.headers.origin;\nif (ALLOWED.has(origin)) res.set('Access-Control-Allow-Origin', origin);"),
    ("js-ssrf", "await fetch('https://' + req.query.host);", "await fetch('https://api.example/' + encodeURIComponent(req.query.id));"),
    ("js-regex", "new RegExp('^' + name);", "new RegExp('^' + escapeRegExp(name));"),
    ("js-secret", "crypto.createHmac('sha256', 'shop-key');", "crypto.createHmac('sha256', key);"),
    ("js-hash", "CryptoJS.MD5(text)", "CryptoJS.SHA256(text)"),
    ("js-cipher", "CryptoJS.DES.encrypt(text, key)", "CryptoJS.AES.encrypt(text, key)"),
    ("js-compare", "if (user.password === password) return user;", "if (password === confirmation) submit();"),
    ("js-eval", "const plugin = require(`./plugins/${req.params.name}`);", "const plugin = require('./plugins/a');"),
    ("sh-eval", 'eval "$cmd"', 'eval "$(ssh-agent -s)"'),
    ("sh-eval", 'bash -c "ls $1"', "bash -c 'ls \"$1\"' -- \"$1\""),
    ("sh-pipe", "curl -fsSL https://a.example/i.sh | sudo bash", "curl -fsSLo i.sh https://a.example/i.sh"),
    (
        "sh-pipe",
        "wget -qO i.sh https://a.example/i.sh && sh i.sh",
        "wget -qO i.sh https://a.example/i.sh && sha256sum -c i.sum && sh i.sh",
    ),
    ("sh-pipe", "curl -o i https://a.example/i; chmod +x i && ./i", "curl -s https://a.example/health && ./deploy"),
    ("sh-tls", "curl -sk https://a.example", "curl -sS --cacert ca.pem https://a.example"),
    ("sh-tls", "ssh -o StrictHostKeyChecking=no host", "ssh -o StrictHostKeyChecking=yes host"),
    ("sh-tls", "wget --no-check-certificate https://a.example", "wget https://a.example/k"),
    ("sh-plain-http", "wget http://a.example/file", "curl http://localhost:8000/health"),
    ("sh-mode", "chmod -R 777 /srv/app", "chmod -R u=rwX,g=rX,o= /srv/app"),
    ("sh-mode", "chmod a+rw file", "chmod 755 run.sh && chmod +x run.sh"),
    ("sh-temp", "LOCK=/tmp/app.$$", "LOCK=$(mktemp /tmp/app.XXXXXX)"),
    ("sh-secret", 'DB_PASSWORD="hunter22"', 'DB_PASSWORD="$(cat "$CREDENTIALS_DIRECTORY/db")"'),
    ("sh-secret", 'key="${API_KEY:-abc123}"', 'key="${API_KEY:?is not set}"'),
    ("sh-argument", 'mysqldump -u root -p"$PW" shop > shop.sql', "mysqldump --defaults-extra-file=my.cnf shop > shop.sql"),
    ("sh-argument", 'curl -u "$USER_NAME:$PW" https://a.example', "curl --netrc-file netrc https://a.example"),
    ("sh-log", 'echo "token: $API_TOKEN"', 'printf %s "$API_TOKEN" | login --stdin'),
    ("sh-rm", "rm -rf $DIR", 'rm -rf -- "${DIR:?}"'),
    ("sh-rm", 'rm -rf "$DIR/"*', 'rm -rf "${DIR:?}/"*'),
    ("sh-names", "find . -name '*.log' | xargs rm", "find . -name '*.log' -print0 | xargs -0 rm --"),
    ("sh-names", "for f in $(ls *.txt); do echo x; done", "for f in ./*.txt; do echo x; done"),
    ("sh-psql", "psql -c \"DELETE FROM t WHERE n = '$1'\"", "psql -v n=\"$1\" -f delete.sql"),
    ("sh-sql", "mysql shop -e \"DELETE FROM t WHERE n = '$1'\"", "mysql shop < delete.sql"),
    ("sh-sqlite", "sqlite3 app.db \"DELETE FROM t WHERE n = '$1'\"", "sqlite3 app.db < delete.sql"),
    ("sh-hash", 'echo -n "$PASSWORD" | sha256sum', "sha256sum file"),
    ("sh-cipher", "openssl enc -aes-256-cbc -in a -out b", "openssl enc -aes-256-cbc -pbkdf2 -iter 600000 -in a -out b"),
    ("sh-random", "TOKEN=$(date +%s | sha256sum)", "TOKEN=$(openssl rand -hex 32)"),
    ("sh-random", 'PASSWORD="x$RANDOM"', "sleep $((RANDOM % 10))"),
    ("sh-power", "docker run --privileged app", "docker run --read-only app"),
    ("sh-unpack", "tar -xPf a.tar", "tar -xf a.tar -C out"),
    ("py-random", "token = ''.join(random.choice(CHARS) for _ in range(32))", "token = secrets.token_urlsafe(32)"),
    ("py-random", "session_id = str(random.randint(1, 10**9))", "card = random.choice(DECK)  # no token"),
    (
        "py-random",
        "def make_password(n):\n    # at random\n\n    return ''.join(random.choices(CHARS, k=n))",
        "def make_password(n):\n    return ''.join(secrets.choice(CHARS) for _ in range(n))\n\ndef deal(cards):\n    return random.sample(cards, 5)",
    ),
    ("py-html", "page = f'<h1>{name}</h1>'", "page = f'<h1>{html.escape(name)}</h1>'"),
    ("py-html", 'return f"""\n<ul>\n<li>{item}</li></ul>"""', 'item = escape(item)\nreturn f"""\n<ul>\n<li>{item}</li></ul>"""'),
    ("py-html", "out += '<td>' + cell + '</td>'", "return f'<User {self.name}>'"),
    ("py-path", "return send_file(os.path.join(DIR, request.args['name']))", "return send_from_directory(DIR, name)"),
    ("py-path", "file.save(os.path.join(DIR, file.filename))", "file.save(os.path.join(DIR, secure_filename(file.filename)))"),
    ("py-redirect", "return redirect(request.args.get('next'))", "return redirect(url_for('home'))"),
    (
        "py-redirect",
        "target = request.args.get('next')\nlogin()\nreturn redirect(target)",
        "target = request.args.get('next')\nif target not in PAGES:\n    abort(400)\nreturn redirect(target)",
    ),
    ("py-hash", "hashlib.sha256(password.encode()).hexdigest()", "hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)"),
    ("py-hash", "h = hashlib.sha256()\nh.update(password.encode())", "h = hashlib.sha256()\nh.update(chunk)"),
    ("py-hash", "hashlib.sha512(salt + password)", "hashlib.sha1(password, usedforsecurity=False)  # to look it up among stolen ones"),
    (
        "py-compare",
        "mac = hmac.new(key, body, 'sha256').hexdigest()\nreturn mac == signature",
        "mac = hmac.new(key, body, 'sha256').hexdigest()\nreturn hmac.compare_digest(mac, signature)",
    ),
    ("py-compare", "return hmac.new(k, b, 'sha256').hexdigest() == given", "return hmac.compare_digest(hmac.new(k, b, 'sha256').digest(), given)"),
    ("py-compare", "ok = hmac.digest(k, b, 'sha1') and sig.digest() == given", "ok = hashlib.sha256(data).hexdigest() == wanted"),
    ("py-tls", "context.check_hostname = False\ncontext.verify_mode = ssl.CERT_NONE", "context.load_verify_locations(ca)"),
    ("py-secret", "os.getenv('DB_PASSWORD', 'Winter-2026')", "os.environ['DB_PASSWORD']"),
    ("py-secret", "key = 'AKIAABCDEFGHIJKLMNOP'", "os.environ.get('API_KEY', '')"),
    ("py-jwt", "jwt.decode(token, options={'verify_signature': False})", "jwt.decode(token, KEY, algorithms=['HS256'])"),
    ("py-cors", "response.headers['Access-Control-Allow-Origin'] = '*'", "response.headers['Access-Control-Allow-Origin'] = SITE"),
    (
        "py-cors",
        "def cors(origin):\n    return {'Access-Control-Allow-Origin': origin}",
        "def cors(origin):\n    return {'Access-Control-Allow-Origin': origin} if origin in SITES else {}",
    ),
    (
        "py-cors",
        "app.add_middleware(CORSMiddleware, allow_origins=['*'], allow_credentials=True)",
        "app.add_middleware(CORSMiddleware, allow_origins=SITES, allow_credentials=True)",
    ),
    ("py-cookie", "r.set_cookie('sid', make(sid))", "r.set_cookie('sid', make(sid), httponly=True, secure=True)"),
    ("py-cookie", "r.set_cookie(\n    'sid',\n    sid,\n    secure=True,\n)", "r.set_cookie('theme', 'dark')"),
    ("py-template", "render_template_string(f'Hello {name}')", "render_template_string('Hello {{ name }}', name=name)"),
    ("py-template", "Template(request.form['t']).render()", "Template(TEXT).render(name=request.form['name'])"),
    ("py-regex", "re.match(r'(a+)+$', text)", "re.match(r'a+$', text)"),
    ("py-regex", "re.fullmatch(r'([A-Za-z]+ ?)+', text)", "re.fullmatch(r'[A-Za-z]+(?: [A-Za-z]+)*', text)"),
    ("py-trace", "return 500, {'trace': traceback.format_exception(error)}", "log.error(traceback.format_exception(error))"),
    ("py-trace", "return jsonify({'error': traceback.format_exc()}), 500", "log.error(traceback.format_exc())"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "insecure", "secure"), PAIRS)
def test_a_rule_finds_the_insecure_twin_only(rule: str, insecure: str, secure: str) -> None:
    """The secure twin breaks no rule at all."""
    language = {"sh": "shell", "js": "javascript", "py": "python"}[rule[:2]]
    found = broken_rules(language, insecure)
    assert any(weakness.rule == rule for weakness in found), found
    assert broken_rules(language, secure) == []


def test_every_rule_has_a_pair_and_a_weakness() -> None:
    """And a name of its own."""
    all_rules = [rule for of_language in rules().values() for rule in of_language]
    assert sorted({rule.id for rule in all_rules}) == sorted(rule.id for rule in all_rules)
    assert {rule.id for rule in all_rules} == {rule for rule, _, _ in PAIRS}
    text = (resources.files("conscience.linting") / "rules.yaml").read_text(encoding="utf-8")
    assert len(re.findall(r"^    cwe: CWE-\d+$", text, re.MULTILINE)) == len(all_rules)


def test_comments_are_not_code() -> None:
    """Strings are, and lines are counted as they were written."""
    assert broken_rules("python", "# hashlib.md5(password)\nx = '#'  # hashlib.md5(password)") == []
    assert broken_rules("python", "'''\n#'''\nhashlib.md5(password)")[0].line == 3
    assert broken_rules("javascript", "/* eval(x)\n eval(y) */\n// eval(z)\nconst a = 'http://b';") == []
    assert broken_rules("javascript", "/*\n*/\neval(x)")[0].line == 3
    assert broken_rules("shell", "# chmod 777 x\nls # eval $x\necho '#' ${#x}") == []


HARMLESS = {
    "sh-rm": [
        "docker run --rm -it $IMAGE",
        "docker run --rm -v $PWD:/app node npm test",
        "rm -rf build\ncp -r $SRC dst",
        'rm -f a.log\necho "$x is $y"',
        "rm -f a.log; ls $DIR",
        "git rm -r --cached .\necho $HOME",
    ],
    "js-secret": [
        'errors.password = "Required";',
        'const labels = {password: "Password", apiKey: "API key"};',
        'const at = {password: "#password1", apiKey: ".api-key-2"};',
        'const routes = {resetPassword: "/reset-password/2", secret: "/secret"};',
        'enum Field { Password = "password" }',
        'const schema = {password: "string", password2: "password2"};',
        'const rules = {password: "required|min:8", secret: "min:12"};',
        'const shown = {password: "********"};',
        "const name = process.env.TOKEN_HEADER || 'X-Auth-Token';",
    ],
    "js-random": [
        "function resetGame(){x=Math.random()}",
        "saveToken(t);\nconst c = Math.random()",
        "async function refreshSession(n) {\n  await sleep(n + Math.random() * 50);\n}",
        "const resetValue = () => setValue(Math.random());",
        "const session = { id: crypto.randomUUID(), jitter: Math.random() };",
        "const tokens = 5;\nconst verified = Math.random() < .5;",
    ],
    "py-random": [
        "num_tokens = random.randint(1, 5)",
        "verified = random.random() < .5",
        "def mask_tokens(tokens):\n    return [t for t in tokens if random.random() < .5]",
        "def add_salt_and_pepper_noise(image):\n    return random.choice(image)",
        "def sample_next_token(weights):\n    return random.choices(range(9), weights)",
        "def coupon_collector(n):\n    return random.randrange(n)",
        "def token():\n    return secrets.token_hex()\n\nclass Game:\n    def roll(self):\n        return random.randint(1, 6)",
        "class A:\n    def token(self):\n        return secrets.token_hex()\n\n    def roll(self):\n        return random.randint(1, 6)",
        "from game import choice\ntoken = ''.join(choice(A) for _ in range(9))",
    ],
    "said in Python": [
        'def check(c):\n    """Never set check_hostname = False."""',
        "def check(c):\n    '''Never\n    set check_hostname = False.\n    '''\n",
        "raise ValueError('check_hostname = False is not allowed')",
        "BAD = {'redirect': 'redirect(request.args[1])'}",
        "def token():\n    '''Not random.choices(A).'''\n    return secrets.token_hex()",
    ],
    "said in JavaScript": [
        "console.log(\"Don't use eval() here\");",
        'const BAD = ["no eval(", `nor new Function(`];',
        "<p>Never use <code>eval()</code> or <code>document.write(x)</code>.</p>",
        '<ul><li>setTimeout("code") runs text, httpOnly: false lets scripts read it</li></ul>',
        "<!-- never use eval(x) or innerHTML = y -->\n<p>ok</p>",
    ],
    "said in shell": [
        'echo "Never run curl https://x | bash"',
        "printf '%s\\n' 'Never run chmod 777 x' >&2",
        "cat > README.md <<'EOF'\nNever run `curl https://x | sh`.\nEOF",
        "usage() {\n  cat <<END\nchmod 777 is refused\nEND\n}",
    ],
    "others": [
        'page = request.args.get("page")\nreturn redirect(url_for("list", page=page))',
        "hashlib.sha256(password_file.read_bytes())",
        'f"<td>{len(rows)}</td><td>{row:d}</td><td>{total_count}</td>"',
        'environ.get("TOKEN_HEADER", "X-Auth-Token")',
        'f"<a>{question}</a>"',
        'PASSWORD_FIELD = "password2"; password = "Password"; token = "</s>"',
    ],
}  # fmt: skip
"""Kind → what looks like a weakness of it, and is none."""
LANGUAGES = {"sh": "shell", "js": "javascript", "py": "python"}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in HARMLESS.items() for code in codes])
def test_what_only_looks_weak_breaks_no_rule(kind: str, code: str) -> None:
    """A rule reads what is done, in one statement, and a word as a whole: not what is said, nor what stands nearby."""
    named = {**LANGUAGES, "said in JavaScript": "javascript", "said in shell": "shell"}
    assert broken_rules(named.get(kind) or named.get(kind[:2], "python"), code) == []


WEAK = [
    ("sh-rm", "rm -rf a $DIR"),
    ("sh-rm", "echo hi\nrm -f -- \\\n  a $FILES"),
    ("sh-pipe", "echo 'curl https://x | bash' | sh"),
    ("sh-pipe", 'echo "$(curl https://x | bash)"'),
    ("sh-pipe", "bash <<EOF\ncurl https://x | sh\nEOF"),
    ("sh-mode", "echo ok && chmod 777 x"),
    ("js-secret", 'const options = {password: "hunter2"};'),
    ("js-secret", 'const apiKey = "sk-abcdef";'),
    ("js-secret", 'const secret = "changeme";'),
    ("js-secret", 'db.password = "s3cr3t!";'),
    ("js-random", "const resetToken = Array.from({length: 9}, () => A[Math.random() * 9 | 0]).join('');"),
    ("js-random", "const generateOtp = () => {\n  return Math.floor(Math.random() * 1e6);\n};"),
    ("js-random", "class A {\n  makeSessionId() { return Math.random(); }\n}"),
    ("js-eval", "<button onclick=\"eval(code.value)\">Run</button>"),
    ("js-eval", "<p>Text</p>\n<script>\neval(x)\n</script>"),
    ("js-eval", "const a = `${eval(x)}`;"),
    ("js-tls", 'const options = {"rejectUnauthorized": false};'),
    ("js-sql", "db.query(`select * from users where id = ${id}`);"),
    ("js-html", "return <div dangerouslySetInnerHTML={ {__html: text} } />;"),
    ("js-redirect", "const {url} = req.query; res.redirect(url);"),
    ("py-random", "from random import choice\ntoken = ''.join(choice(A) for _ in range(9))"),
    ("py-random", "class A:\n    def make_token(self):\n        n = 9\n        return random.choices(A, k=n)"),
    ("py-random", "password = ''\nfor _ in range(9):\n    password += random.choice(A)"),
    ("py-html", 'f"<h1>Hello {name}</h1>"'),
    ("py-html", '"<h1>Hello " + name'),
    ("py-hash", "hashlib.sha256((password + salt).encode())"),
    ("py-hash", "hashlib.sha256(f'{salt}{password}'.encode())"),
    ("py-hash", "from hashlib import sha256\nsha256(password.encode())"),
    ("py-secret", 'API_KEY = "sk-abcdef0123456789"'),
    ("py-secret", "connect(user='root', password='hunter2hunter2')"),
    ("py-cors", "add(allow_credentials=True, allow_origins=['*'])"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "code"), WEAK)
def test_what_is_weak_in_another_form_is_found(rule: str, code: str) -> None:
    """Near what is harmless."""
    assert rule in [weakness.rule for weakness in broken_rules(LANGUAGES[rule[:2]], code)]


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_what_is_read_is_as_long_as_the_code(language: str) -> None:
    """So that a place in it is one in the code, and a line is found by its number."""
    for _, insecure, secure in PAIRS:
        for code in (
            insecure,
            secure,
            f"# {insecure}\n/* {secure}\n*/ {insecure}",
            '"""\n' + secure,
            "echo '\\\n'\\\n<p>a\n<b>",
        ):
            assert len(read(language, code).text) == len(code)


HOSTILE = {
    "python": [
        "def token(a):\n    ",
        "x = request.args.x\n",
        "f'<b>",
        "hmac. if sig",
        ".set_cookie('",
        "jwt.decode(",
        "'''",
        "token ",
        "sha256(password",
        "password='a1",
    ],
    "javascript": [
        "const a = req.query.b;\n",
        "token(",
        "a = `SELECT ",
        "el.innerHTML = `${escape(",
        "const {a",
        "`select a from b where ",
        "<p>",
        "<p ",
        "password='a1",
    ],
    "shell": ["echo $x ", "curl -", "rm -f x\n", "rm -f x ", "$pass", "${API_KEY:-a", "cat <<EOF\n", 'echo "', "://"],
}
ANYWHERE = [" ", "\n", "a.b.", '"', '\\"', "'\"`", "("]
PIECES = [(language, piece) for language, pieces in HOSTILE.items() for piece in [*pieces, *ANYWHERE]]


@pytest.mark.long
@pytest.mark.parametrize(("language", "piece"), PIECES)
def test_long_code_does_not_hold_a_rule_up(language: str, piece: str) -> None:
    """A model may repeat itself; 100,000 characters are read in a second or two of computing, and four times as many as before
    take four times as long: where it took sixteen times it would be minutes."""
    began = time.process_time()
    broken_rules(language, piece * (100_000 // len(piece)))
    assert time.process_time() - began < 20


@pytest.mark.long
def test_a_run_without_end_is_slow_to_nobody() -> None:
    """One piece that is repeated at the end of what a rule begins with."""
    for language, begin, piece in [
        ("shell", "$", "pass"),
        ("shell", "rm -f ", "x "),
        ("shell", 'key="${API_KEY:-', "a"),
        ("python", '"password', " "),
        ("python", "token", " "),
        ("python", "def token(", " "),
        ("javascript", "const token", " "),
        ("javascript", "res.cookie('a',", " "),
    ]:
        began = time.process_time()
        broken_rules(language, begin + piece * (100_000 // len(piece)))
        assert time.process_time() - began < 20
