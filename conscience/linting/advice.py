"""What to do instead, by weakness: a small model mends what it is told, not what it is told about."""

from __future__ import annotations

import re
from collections.abc import Mapping

from conscience.linting.weakness import Weakness

ADVICE: Mapping[int, str] = {
    20: "Read XML with the package defusedxml.",
    22: "Resolve the path, and refuse it where it leaves the folder.",
    78: "Pass the command as a list of arguments, without a shell and without eval.",
    79: "Escape values before they become HTML, or set them as text.",
    80: "Escape values before they become HTML.",
    88: "Put -- before arguments that come from outside.",
    89: "Pass the values as query parameters.",
    94: "Run no text as code; parse it.",
    95: "Run no text as code; parse it, with ast.literal_eval or JSON.parse.",
    208: "Compare secrets in constant time, with hmac.compare_digest or crypto.timingSafeEqual.",
    209: "Keep the details of errors in the log, and answer with a plain message.",
    214: "Give passwords to programs by their environment or a file, not as arguments.",
    250: "Run without the rights of root.",
    259: "Read the password from the environment.",
    295: "Leave the certificate check on; give the path of a certificate that is to be trusted.",
    319: "Use an encrypted connection.",
    326: "Use keys of today's length.",
    327: "Use a hash or cipher of today: sha256, or scrypt with a random salt for passwords, or AES-GCM.",
    328: "Use sha256, or scrypt with a random salt for passwords.",
    330: "Draw secrets with the module secrets, or crypto.randomBytes.",
    338: "Draw secrets with the module secrets, or crypto.randomBytes, or from /dev/urandom.",
    346: "Compare the origin of a message with the one that is expected.",
    347: "Verify the signature.",
    377: "Make temporary files with tempfile.mkstemp, or mktemp.",
    400: "Give the call a timeout of some seconds.",
    434: "Check the type and the size of what is uploaded, and give it a name of your own.",
    489: "Leave debug mode off.",
    494: "Check the download against a known digest before it is run.",
    502: "Read the data with json, or yaml.safe_load.",
    532: "Keep passwords and tokens out of the log.",
    601: "Redirect to addresses of your own only.",
    605: "Bind to 127.0.0.1.",
    732: "Give rights to the owner alone, such as 0o600.",
    798: "Read the password, key or token from the environment.",
    915: "Copy the fields that may be set one by one.",
    916: "Hash passwords with scrypt and a random salt.",
    918: "Ask only addresses on a list of your own.",
    942: "Allow the origins that are needed, by name.",
    943: "Check that the values are texts before they become a query.",
    1004: "Set httpOnly on the cookie.",
    1321: "Refuse the keys __proto__, constructor and prototype.",
    1333: "Use a regular expression without nested repetition.",
    1336: "Pass values to the template as variables, and do not build the template of them.",
}
"""Number of a weakness in MITRE's list → a sentence."""

OF_RULES: Mapping[str, str] = {
    "B202": "Give extractall the argument filter='data', which refuses what leaves the folder.",
    "B307": "Read the text with ast.literal_eval, or walk the tree of ast.parse, and never run it.",
    "B310": "Fetch with requests.get and a timeout: urllib opens files, too.",
    "B411": "Call monkey_patch() of defusedxml.xmlrpc before anything is served or asked.",
    "B413": "Use the package cryptography.",
    "B614": "Load with weights_only=True.",
    "B615": "Give the argument revision, a commit that is known.",
    "B701": "Give the environment autoescape=True.",
    "js-eval": "Parse the text, with JSON.parse or a small parser of its own, and never run it.",
    "js-random": "Take each random number from crypto.randomInt of the module crypto, in place of Math.random.",
    "py-compare": "Compare with hmac.compare_digest.",
    "py-cookie": "Set the cookie with httponly=True, secure=True and samesite='Lax'.",
    "py-cors": "Send the origin back only where it is on a list of those that are needed.",
    "py-hash": "Hash the password with hashlib.scrypt and a salt from os.urandom, and keep the salt with it.",
    "py-html": "Put every value through html.escape before it becomes HTML.",
    "py-path": "Resolve the path, and refuse it where it leaves the folder; take names of uploads with secure_filename.",
    "py-random": "Draw it with secrets.choice or secrets.token_urlsafe, in place of random.",
    "py-secret": "Read it from os.environ, without a default.",
    "py-tls": "Leave check_hostname and verify_mode alone; give load_verify_locations a certificate that is to be trusted.",
    "sh-argument": "Give the password in the environment (MYSQL_PWD, PGPASSWORD) or on standard input (--password-stdin).",
    "sh-cipher": "Give openssl enc -pbkdf2 -iter 600000, where it decrypts as well.",
    "sh-eval": 'Run the words as they are, as "$@", without eval.',
    "sh-hash": "Use sha256sum; hash passwords with openssl passwd -6, which salts them.",
    "sh-mode": "Give rights to the owner alone: 700 for folders and programs, 600 for files.",
    "sh-names": "Hand names on with find -print0 and xargs -0, or loop over a glob.",
    "sh-pipe": "Download to a file, check it with sha256sum against a known digest, and only then run it.",
    "sh-psql": "Give psql the value as -v name=\"$value\", and the statement with :'name' on standard input.",
    "sh-random": "Read the random characters from /dev/urandom, in place of $RANDOM.",
    "sh-rm": 'Quote the path, put -- before it, and stop where it is empty: rm -rf -- "${dir:?}".',
    "sh-sqlite": r"Double the quotes of the value first, value=${value//\'/\'\'}, and keep it between single quotes.",
    "sh-temp": 'Make the file with mktemp: file="$(mktemp)".',
    "sh-tls": "Leave the check on: curl --cacert FILE, wget --ca-certificate=FILE, or ssh with the host in known_hosts.",
}
"""Rule → a sentence, where the language or the function says it better."""


_XML = re.compile(r"Using xml\.(?:(?:etree\.c?|dom\.|sax\.(?=expatreader))(?=\w+\.)|(?=sax\.))(\w+\.\w+) ")
"""Of bandit's message about a function that reads XML, its name where ``defusedxml`` has the like of it."""


def advice_on(weakness: Weakness) -> str | None:
    """What to do instead of something weak; None where nothing is known of it."""
    if reads_xml := _XML.match(weakness.message):
        return f"Read the XML with defusedxml.{reads_xml[1]}."
    return OF_RULES.get(weakness.rule) or ADVICE.get(weakness.cwe)
