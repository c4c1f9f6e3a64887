#!/usr/bin/env python3
"""OpenStack's Keystone in one process, for tests: version 3, Fernet tokens, SQLite.

usage: keystone_server.py FOLDER SWIFT-URL [FOLDER-OF-ANOTHER]
Prints its port and the id of an application credential, whose secret is
`appsecret`, when it answers; ends when its standard input does. With the folder
of another that runs it knows the same users and trusts the same tokens.
FAULT_TOKEN_LIFE is the life of its own tokens in seconds.

`demo` with `demopass` is a member of the project `demo`, and `stranger` with
`strangerpass` of no project; `swift` with `swiftpass` looks at others' tokens.
"""
import json
import os
import sqlite3
import sys
import threading
import urllib.request
from socketserver import ThreadingMixIn
from wsgiref import simple_server

from cryptography.fernet import Fernet

own, swift = os.path.abspath(sys.argv[1]), sys.argv[2]
folder = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else own
is_first = folder == own


class Server(ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass

    def address_string(self):
        return self.client_address[0]


server = Server(("127.0.0.1", 0), Handler)
url = f"http://127.0.0.1:{server.server_port}/v3"
database = os.path.join(folder, "keystone.db")
config = os.path.join(own, "keystone.conf")
with open(config, "w", encoding="utf-8") as file:
    file.write(f"""[DEFAULT]
log_file = {own}/keystone.log
[database]
connection = sqlite:///{database}?timeout=30
sqlite_synchronous = false
[token]
provider = fernet
expiration = {os.environ.get("FAULT_TOKEN_LIFE", "3600")}
allow_expired_window = 0
[fernet_tokens]
key_repository = {folder}/tokens
[fernet_receipts]
key_repository = {folder}/receipts
[credential]
key_repository = {folder}/credentials
[cache]
enabled = false
[identity]
password_hash_rounds = 4
[oslo_policy]
enforce_scope = false
enforce_new_defaults = false
""")
if is_first:
    for name in ("tokens", "receipts", "credentials"):
        os.makedirs(os.path.join(folder, name), mode=0o700)
        for number in "01":
            with open(os.path.join(folder, name, number), "wb") as file:
                file.write(Fernet.generate_key())
    # Without it readers keep writers out, and requests fail with "database is locked".
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")

sys.argv = ["keystone"]
from keystone.server.flask import core

app = core.initialize_application("public", config_files=[config])
if is_first:
    from keystone.cmd import bootstrap
    from keystone.common import sql

    # What the migrations lead to, in a hundredth of their time.
    with sql.session_for_write() as session:
        sql.ModelBase.metadata.create_all(session.get_bind())
    # The application has loaded them, and they are loaded once.
    bootstrap.backends.load_backends = dict
    first = bootstrap.Bootstrapper()
    first.admin_username, first.admin_password, first.admin_role_name = "admin", "adminpass", "admin"
    first.project_name, first.service_name, first.region_id = "admin", "keystone", "RegionOne"
    first.public_url = first.internal_url = first.admin_url = url
    first.bootstrap()

server.set_app(app)
threading.Thread(target=server.serve_forever, daemon=True).start()


def login(name, project):
    user = {"name": name, "domain": {"id": "default"}, "password": name + "pass"}
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    headers, _ = ask(None, "POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
    return headers["X-Subject-Token"]


def ask(token, method, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, method=method, data=data, headers={"Content-Type": "application/json"})
    if token:
        request.add_header("X-Auth-Token", token)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
        return answer.headers, json.loads(text) if text else None


def make(token, kind, **about):
    return ask(token, "POST", f"/{kind[0]}", {kind[1]: about})[1][kind[1]]["id"]


credential = "-"
if is_first:
    admin = login("admin", "admin")
    roles = {role["name"]: role["id"] for role in ask(admin, "GET", "/roles")[1]["roles"]}
    projects = {name: make(admin, ("projects", "project"), name=name, domain_id="default") for name in ("service", "demo")}
    users = {name: make(admin, ("users", "user"), name=name, password=name + "pass", domain_id="default")
             for name in ("swift", "demo", "stranger")}
    for name, project, role in (("swift", "service", "admin"), ("swift", "service", "service"), ("demo", "demo", "member")):
        ask(admin, "PUT", f"/projects/{projects[project]}/users/{users[name]}/roles/{roles[role]}")
    service = make(admin, ("services", "service"), type="object-store", name="swift")
    make(admin, ("endpoints", "endpoint"), service_id=service, interface="public", region_id="RegionOne",
         url=swift + "/v1/AUTH_%(project_id)s")
    credential = make(login("demo", "demo"), (f"users/{users['demo']}/application_credentials", "application_credential"),
                      name="tests", secret="appsecret")

print(server.server_port, credential, flush=True)
# Whoever started this has gone when the pipe closes.
sys.stdin.buffer.read()
os._exit(0)
